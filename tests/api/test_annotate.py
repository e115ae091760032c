"""Control maps over HTTP, with the worker's code called in place of its process, and the table of bad input."""

import json

import numpy as np
import pytest

from studio.errors import ForbiddenError, JobError, WorkerError
from studio.jobs.maps import Maps
from studio.worker.annotate import annotate
from tests.api.kit import png
from tests.control.pictures import square

NOWHERE = "0" * 64


@pytest.fixture
def asked(studio, monkeypatch):
    """The questions that reached the worker, with who asked."""
    heard, maps = [], Maps()

    def answer(question, owner):
        heard.append((question, owner))
        asked = maps.ask(question, owner)
        maps.heard(annotate(question, studio.registry.annotators, studio.assets.open_image))
        return maps.wait(asked)

    monkeypatch.setattr(studio.dispatcher, "annotate", answer)
    return heard


@pytest.fixture
def sheet(studio):
    return studio.assets.put_image(square())


def test_the_annotators_are_listed_with_their_sliders(local):
    rows = {row["name"]: row for row in local.get("/api/v1/annotators").json()}
    assert {"canny", "scribble", "softedge", "lineart", "invert", "tile", "shuffle"} <= set(rows)
    assert set(rows["canny"]) == {"name", "label", "kind", "options", "needs"}
    slider = rows["canny"]["options"][0]
    assert (slider["name"], slider["default"], slider["min"], slider["max"]) == ("low_threshold", 100, 0, 254)
    assert slider["label"]


def test_a_map_is_made_kept_and_described(studio, local, sheet, asked):
    answer = local.post("/api/v1/annotate", json={"asset": sheet, "annotator": "canny", "options": {}, "page": "p"})
    assert answer.status_code == 201
    made = answer.json()
    assert (made["annotator"], made["options"]) == ("canny", {"low_threshold": 100, "high_threshold": 200})
    drawn = np.asarray(studio.assets.open_image(made["map"]))
    assert drawn.shape == (128, 128, 3)
    assert set(np.unique(drawn)) == {0, 255}
    assert [(question.page, owner) for question, owner in asked] == [("('local', 'p')", "local")]
    assert local.get(f"/api/v1/assets/{made['map']}").status_code == 200


def test_a_control_kind_stands_for_its_default_annotator(local, sheet, asked):
    assert local.post("/api/v1/annotate", json={"asset": sheet, "annotator": "edges"}).json()["annotator"] == "canny"


def test_the_map_can_be_used_in_a_request_with_what_made_it(local, sheet, asked):
    made = local.post("/api/v1/annotate", json={"asset": sheet, "annotator": "scribble"}).json()
    unit = {"kind": "scribble", "map": made["map"], "source": sheet, "annotator": made["annotator"]}
    unit["annotator_options"] = list(made["options"].items())
    kept = local.post("/api/v1/jobs", json={"prompt": "x", "controls": [unit]}).json()["params"]["controls"][0]
    assert (kept["source"], kept["annotator"], kept["annotator_options"]) == (sheet, "scribble", [["threshold", 32.0]])


def test_guests_annotate_their_own_pictures_alone(ann, bob, asked):
    mine = ann.post("/api/v1/assets", content=png()).json()["id"]
    question = {"asset": mine, "annotator": "invert"}
    made = ann.post("/api/v1/annotate", json=question).json()["map"]
    assert ann.get(f"/api/v1/assets/{made}").status_code == 200
    assert bob.get(f"/api/v1/assets/{made}").status_code == 404
    assert bob.post("/api/v1/annotate", json=question).status_code == 422
    assert [owner for _, owner in asked] == ["ann"]


def test_strangers_are_not_served(stranger):
    assert stranger.post("/api/v1/annotate", json={}).status_code in (401, 403)


BAD = [
    ("an unknown annotator", {"annotator": "spell"}, "annotator", "There is no annotator 'spell'."),
    ("no annotator", {"annotator": None}, "annotator", "annotator must be text."),
    ("no picture", {"asset": NOWHERE}, "", "is not here"),
    ("a path", {"asset": "../../etc/passwd"}, "", "is not here"),
    ("a picture that is a number", {"asset": 3}, "asset", "asset must be text."),
    ("an option out of range", {"options": {"low_threshold": 300}}, "low_threshold", "not between 0 and 254"),
    ("an option below its range", {"options": {"low_threshold": -1}}, "low_threshold", "not between 0 and 254"),
    ("low above high", {"options": {"low_threshold": 220}}, "low_threshold", "not below high_threshold, 200."),
    ("an unknown option", {"options": {"depth": 1}}, "depth", "Canny edges has no option 'depth'."),
    ("an option as text", {"options": {"low_threshold": "x"}}, "low_threshold", "low_threshold must be a number"),
    ("an option that is true", {"options": {"low_threshold": True}}, "low_threshold", "must be a number"),
    ("options as a list", {"options": [1]}, "options", "options must be an object of numbers by name."),
    ("an option of an annotator without", {"annotator": "invert", "options": {"x": 1}}, "x", "has no option 'x'."),
    ("an unknown field", {"colour": 1}, "colour", "Unknown field 'colour'."),
    ("a page that is a number", {"page": 1}, "page", "page must be text."),
    ("a long page", {"page": "x" * 101}, "page", "more than 100 characters"),
]


@pytest.mark.parametrize(("changed", "field", "said"), [pytest.param(*row[1:], id=row[0]) for row in BAD])
def test_bad_input_is_refused_in_a_sentence_before_the_worker_is_bothered(local, sheet, asked, changed, field, said):
    answer = local.post("/api/v1/annotate", json={"asset": sheet, "annotator": "canny"} | changed)
    body = answer.json()
    assert answer.status_code == 422, body
    assert said in body["detail"]
    assert body.get("field", "") == field
    assert not asked


@pytest.mark.parametrize("text", ["{", "[]", '{"asset": NaN}', '{"annotator": "canny"}', "{}"])
def test_a_body_that_is_no_question_is_refused(local, asked, text):
    answer = local.post("/api/v1/annotate", content=text.encode())
    assert answer.status_code == 422
    assert answer.json()["detail"].endswith(".")


def test_nan_is_no_option(local, sheet, asked):
    text = json.dumps({"asset": sheet, "annotator": "canny", "options": {"low_threshold": float("nan")}})
    answer = local.post("/api/v1/annotate", content=text.encode())
    assert (answer.status_code, answer.json()["field"]) == (422, "low_threshold")


@pytest.mark.parametrize(
    ("error", "status"),
    [(JobError("A newer map."), 409), (WorkerError("It ended."), 422), (ForbiddenError("No."), 403)],
)
def test_what_the_worker_cannot_do_has_its_status(studio, local, sheet, monkeypatch, error, status):
    def refuse(question, owner):
        raise error

    monkeypatch.setattr(studio.dispatcher, "annotate", refuse)
    answer = local.post("/api/v1/annotate", json={"asset": sheet, "annotator": "canny"})
    assert (answer.status_code, answer.json()["detail"]) == (status, str(error))


def test_without_a_running_worker_it_says_so_at_once(local, sheet):
    answer = local.post("/api/v1/annotate", json={"asset": sheet, "annotator": "canny"})
    assert (answer.status_code, answer.json()["detail"]) == (422, "The generation process does not run.")


def test_a_picture_that_was_damaged_on_the_disk_is_told(studio, local, sheet, asked):
    studio.assets.path(sheet).write_bytes(b"\x89PNG nothing")
    answer = local.post("/api/v1/annotate", json={"asset": sheet, "annotator": "canny"})
    assert answer.status_code == 422
    assert "damaged" in answer.json()["detail"]

"""Control maps over HTTP, with the worker's code called in place of its process, and the table of bad input."""

import json

import numpy as np
import pytest

from studio.errors import ForbiddenError, JobError, WorkerError
from studio.hookspecs import AnnotatorSpec, WeightsSpec
from studio.skeleton import clean_pose
from tests.api.kit import answer_maps, png
from tests.control.pictures import square
from tests.control.readers import save_reader

NOWHERE = "0" * 64


@pytest.fixture
def asked(studio, monkeypatch):
    """The questions that reached the worker, with who asked."""
    return answer_maps(studio, monkeypatch)


@pytest.fixture
def sheet(studio):
    return studio.assets.put_image(square())


def test_the_annotators_are_listed_with_their_sliders(local):
    rows = {row["name"]: row for row in local.get("/api/v1/annotators").json()}
    assert {"canny", "scribble", "softedge", "lineart", "invert", "tile", "shuffle"} <= set(rows)
    assert set(rows["canny"]) == {"name", "label", "kind", "options", "needs", "download"}
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


def test_a_photo_of_people_gives_a_map_and_a_pose(studio, local, sheet, asked):
    save_reader(studio.settings.paths.models / "annotators")
    made = local.post("/api/v1/annotate", json={"asset": sheet, "annotator": "starter_pose"}).json()
    assert set(made) == {"map", "annotator", "options", "people", "canvas_width", "canvas_height"}
    assert (made["canvas_width"], made["canvas_height"]) == (128, 128)
    assert clean_pose(made)["people"] == made["people"]


FAR = AnnotatorSpec(
    name="far",
    label="Far",
    kind="edges",
    module="studio.control.canny",
    weights=(
        WeightsSpec(name="far.pth", repo="o/r", file="x/far.pth", megabytes=29.4),
        WeightsSpec(name="b", repo="o/b"),
    ),
)


@pytest.fixture
def far(studio):
    """An annotator whose weights are somewhere else."""
    studio.registry.annotators["far"] = FAR
    return studio.settings.paths.models / "annotators"


def test_what_needs_a_download_says_so_and_names_what_works_at_once(local, sheet, far, asked):
    answer = local.post("/api/v1/annotate", json={"asset": sheet, "annotator": "far"})
    body = answer.json()
    assert (answer.status_code, body["field"]) == (422, "annotator")
    assert body["detail"] == "Far needs a download of about 29 MB."
    assert "annotate far FILE" in body["hint"]
    assert "What works at once: canny." in body["hint"]
    assert not asked


def test_the_list_says_what_can_be_downloaded(local, far):
    def shown(name):
        row = next(row for row in local.get("/api/v1/annotators").json() if row["name"] == name)
        return row["needs"], row["download"]

    assert shown("far") == ("a download of about 29 MB", True)
    assert shown("canny") == ("", False)
    (far / "far.pth").touch()
    assert shown("far") == ("a download", True)
    (far / "b").mkdir()
    assert shown("far")[0] == "a download"  # a folder without a description is not whole
    (far / "b" / "config.json").touch()
    assert shown("far") == ("", False)


def test_a_download_of_an_annotator_asks_for_each_file(studio, local, far, monkeypatch):
    heard = []
    monkeypatch.setattr(studio.downloads, "add", lambda body, user, at_machine: heard.append(body) or {"id": "1"})
    assert local.post("/api/v1/annotators/far/download").status_code == 201
    assert heard == [
        {"repo": "o/r", "file": "x/far.pth", "kind": "annotator"},
        {"repo": "o/b", "file": "", "kind": "annotator"},
    ]
    assert local.post("/api/v1/annotators/canny/download").json() == []
    assert local.post("/api/v1/annotators/spell/download").status_code == 422


def test_guests_download_nothing(ann, far):
    assert ann.post("/api/v1/annotators/far/download").status_code == 403


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

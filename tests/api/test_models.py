import json

import pytest

from studio.errors import ModelNotFoundError
from studio.models import Models
from studio.services import Studio
from tests.api.kit import png
from tests.library.kit import write_model


@pytest.fixture
def oil(studio):
    """A model that nobody knows what it is, with a preview, and its row."""
    file = write_model(studio.settings.paths.models / "loras" / "oil.safetensors")
    file.with_suffix(".preview.png").write_bytes(png())
    studio.library.refresh()
    return next(entry for entry in studio.library.entries() if entry.name == "oil")


def find(client, **query):
    return client.get("/api/v1/models", params=query).json()


def test_models_come_in_pages_with_counts(local, oil):
    page = find(local, limit=1)
    assert (len(page["models"]), page["total"]) == (1, len(find(local)["models"]))
    assert sum(page["counts"]["kind"].values()) == page["total"]
    assert [row["name"] for row in find(local, q="OIL")["models"]] == ["oil"]
    assert find(local, kind="checkpoint", sort="size")["counts"]["base"].keys() == {find(local)["models"][-1]["base"]}


@pytest.mark.parametrize("query", [{"sort": "beauty"}, {"limit": 0}, {"offset": -1}, {"usable": "perhaps"}])
def test_a_query_that_makes_no_sense_is_refused(local, query):
    answer = local.get("/api/v1/models", params=query)
    assert (answer.status_code, answer.json()["field"]) == (422, next(iter(query)))


def test_details_say_where_it_lies_and_how_we_know(local, oil):
    found = local.get(f"/api/v1/models/{oil.key}").json()
    assert found["path"] == str(oil.path)
    assert (found["tensors"], found["duplicates"], found["last_used"]) == (1, [], None)
    assert found["way_out"]
    assert local.get("/api/v1/models/gone").status_code == 404


def test_notes_and_corrections_are_kept_and_found(local, oil):
    changes = {"favourite": True, "tags": ["paint", "paint", " "], "kind": "lora", "notes": "thick \ud800"}
    row = local.patch(f"/api/v1/models/{oil.key}", content=json.dumps(changes)).json()
    assert (row["favourite"], row["tags"], row["kind"]) == (True, ["paint"], "lora")
    assert find(local, q="thick", favourite=True)["total"] == 1
    assert local.get(f"/api/v1/models/{oil.key}").json()["corrected"] == ["kind"]


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "poem"},
        {"base": "sd9"},
        {"control_kind": "../etc"},
        {"prediction_type": 7},
        {"favourite": 1},
        {"tags": "oil"},
        {"tags": ["x" * 201]},
        {"trigger_words": ["x"] * 201},
        {"notes": "x" * 20_001},
        {"path": "/etc/passwd"},
    ],
)
def test_a_change_that_makes_no_sense_is_refused_and_names_its_field(local, oil, changes):
    answer = local.patch(f"/api/v1/models/{oil.key}", json={"favourite": True} | changes)
    assert (answer.status_code, answer.json()["field"]) == (422, next(iter(changes)))
    assert not find(local, favourite=True)["total"]


def test_a_preview_is_a_small_picture_and_a_broken_one_is_none(local, oil):
    answer = local.get(f"/api/v1/models/{oil.key}/preview")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp")
    oil.preview.write_bytes(b"no picture")
    assert local.get(f"/api/v1/models/{oil.key}/preview").status_code == 404
    oil.preview.unlink()
    assert local.get(f"/api/v1/models/{oil.key}/preview").status_code == 404


def test_guests_see_usable_models_and_no_path_or_note(studio, ann, oil):
    for entry in studio.library.entries():
        studio.library.change(entry.key, {"favourite": True, "tags": ["secret"], "notes": "secret"})
    page = find(ann)
    assert page["models"]
    assert all(row["usable"] and not row["favourite"] and not row["tags"] for row in page["models"])
    assert find(ann, q="secret")["total"] == 0
    key = page["models"][0]["key"]
    texts = ann.get("/api/v1/models").text + ann.get(f"/api/v1/models/{key}").text
    assert "secret" not in texts
    assert str(studio.library.get(key).path.parent) not in texts
    for hidden in ("", "/preview"):
        assert ann.get(f"/api/v1/models/{oil.key}{hidden}").status_code == 404


def test_guests_change_nothing_and_start_no_scan(ann, oil):
    assert ann.patch(f"/api/v1/models/{oil.key}", json={"favourite": True}).status_code == 403
    assert ann.post("/api/v1/models/scan").status_code == 403


def test_a_scan_is_told_as_it_goes_and_finds_new_files(studio, local):
    told = []
    studio.models = Models(studio.library, studio.settings.paths.thumbnails, told.append)
    write_model(studio.settings.paths.models / "loras" / "new.safetensors")
    assert local.post("/api/v1/models/scan").status_code == 202
    assert studio.models.scanner.wait(60)
    assert find(local, q="new")["total"] == 1
    assert {event["type"] for event in told} == {"scan"}
    assert local.get("/api/v1/models/scan").json() == told[-1]
    assert told[-1].items() >= {"state": "done", "done": told[-1]["total"]}.items()


def test_choosing_returns_at_once_and_the_last_choice_is_warmed_up(studio, monkeypatch):
    warmed = []
    monkeypatch.setattr(studio.dispatcher, "prefetch", lambda checkpoint, controls=(): warmed.append(checkpoint.name))
    monkeypatch.setattr(studio.library, "start_hashing", lambda found: True)
    monkeypatch.setattr(studio, "warm_up", lambda found: None)
    studio.prefetch()
    first = studio.selected
    studio.prefetch(controls=("scribble",))
    Studio.warm_up(studio, first)
    assert not warmed
    Studio.warm_up(studio, studio.selected)
    assert warmed == ["starter-desk"]


def test_a_chosen_model_that_cannot_be_read_is_left_to_the_job(studio, monkeypatch):
    def refuse(entry):
        raise ModelNotFoundError("gone")

    studio.prefetch()
    monkeypatch.setattr(studio.library, "location", refuse)
    studio.warm_up(studio.selected)

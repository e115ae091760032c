import json
from dataclasses import replace

import pytest

from studio.errors import ModelNotFoundError
from studio.messages import Identified, Prefetch, Resident
from studio.models import Models, plain_text
from studio.warming import Warming
from tests.api.kit import png
from tests.library.cases import AUTOENCODERS, CHECKPOINTS, CONTROLS
from tests.library.headers import UPSCALERS, write, write_case
from tests.library.kit import write_model

NAME = "control_v11p_sd15_canny"
STARTER = tuple(f"controlnet-{kind}" for kind in ("depth", "edges", "pose", "scribble", "segments"))


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


def test_rows_and_details_say_what_does_not_fit_the_checkpoint_as_the_jobs_do(studio, local):
    write_case(studio.settings.paths.models / "controlnet", CONTROLS["control-sd1"])
    studio.library.refresh()
    rows = {row["name"]: row for row in find(local, kind="controlnet", checkpoint="starter-desk")["models"]}
    assert {name: row["fits"] for name, row in rows.items()} == {NAME: False} | dict.fromkeys(STARTER, True)
    assert all(row["fits"] for row in find(local, kind="controlnet")["models"])
    found = local.get(f"/api/v1/models/{rows[NAME]['key']}", params={"checkpoint": "starter-desk"}).json()
    map_id = local.post("/api/v1/assets", content=png()).json()["id"]
    wanted = {"prompt": "a", "controls": [{"kind": "scribble", "model": NAME, "map": map_id}]}
    refused = local.post("/api/v1/jobs", json=wanted)
    assert refused.status_code == 422
    assert found["misfit"] == f"{refused.json()['detail']} {refused.json()['hint']}"
    assert "misfit" not in local.get(f"/api/v1/models/{rows['controlnet-scribble']['key']}").json()


@pytest.mark.parametrize("said", ["starter", "unknown", "sd1"])
def test_an_embedding_of_another_width_is_no_word_of_the_checkpoint_and_that_is_said_everywhere(studio, local, said):
    starter = next(entry for entry in studio.library.entries("checkpoint") if entry.usable)
    write(studio.settings.paths.models / "embeddings" / "oil.safetensors", {"emb_params": (2, 1024)})
    studio.library.refresh()
    (row,) = find(local, kind="embedding")["models"]
    local.patch(f"/api/v1/models/{row['key']}", json={"base": starter.base if said == "starter" else said})
    made = local.post("/api/v1/jobs", json={"prompt": "an oil lamp"}).json()
    assert made["params"]["embeddings"] == []
    (row,) = find(local, kind="embedding", checkpoint=starter.name)["models"]
    assert not row["fits"]
    shown = local.get(f"/api/v1/models/{row['key']}", params={"checkpoint": starter.name}).json()["misfit"]
    said_of_it, words, _ = made["warnings"][0].partition(" In the prompt")
    assert words
    assert shown.startswith(said_of_it)
    assert ("width 1024" in shown) == (said != "sd1")


def test_details_ask_the_worker_about_an_upscaler_once_and_show_its_answer(studio, local, ann):
    asked = []
    studio.models.ask = lambda path, mark: asked.append(Identified(path, mark, True, "ESRGAN", 4, (3, 3)))
    file = write(studio.settings.paths.models / "upscalers" / "big.safetensors", UPSCALERS["Real-ESRGAN"])
    studio.library.refresh()
    (row,) = find(local, kind="upscaler")["models"]
    first = local.get(f"/api/v1/models/{row['key']}").json()
    assert (first["family"], first["scale"], first["channels"]) == ("Real-ESRGAN", 0, [])
    assert [question.path for question in asked] == [str(file)]
    assert not studio.models.identified(replace(asked[0], looked=False))
    assert local.get(f"/api/v1/models/{row['key']}").json() == first
    assert studio.models.identified(asked[0]) == row["key"]
    shown = local.get(f"/api/v1/models/{row['key']}").json()
    assert (shown["family"], shown["scale"], shown["channels"]) == ("ESRGAN", 4, [3, 3])
    assert len(asked) == 2
    assert ann.get(f"/api/v1/models/{row['key']}").status_code == 404


def test_nothing_is_read_for_a_request_that_is_refused(studio, local, monkeypatch):
    write_case(studio.settings.paths.models / "vae", AUTOENCODERS["vae-sdxl"])
    studio.library.refresh()
    monkeypatch.setattr(studio.library, "content_id", lambda entry: pytest.fail("it was read"))
    assert local.post("/api/v1/jobs", json={"prompt": "a", "vae": "sdxl_vae"}).status_code == 422


def test_memory_is_freed_by_the_owner_alone_and_not_while_it_is_in_use(studio, local, ann, monkeypatch):
    held = Resident(models=(), memory={"process": 5})
    monkeypatch.setattr(studio.dispatcher, "free", lambda: held)
    assert local.post("/api/v1/free").json() == {"models": [], "memory": {"process": 5}}
    assert ann.post("/api/v1/free").status_code == 403
    monkeypatch.setattr(studio.dispatcher, "free", lambda: None)
    assert local.post("/api/v1/free").status_code == 409


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "<p>Better at <b>everything</b>.</p><p>Use &lt;7 steps.<br/>Or 8.</p>",
            "Better at everything.\nUse <7 steps.\nOr 8.",
        ),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
    ],
)
def test_a_description_is_shown_without_its_tags(text, expected):
    assert plain_text(text) == expected


def test_a_checkpoint_without_its_control_model_is_warmed_up_alone(studio):
    write_case(studio.settings.paths.models / "checkpoints", CHECKPOINTS["sdxl"])
    studio.library.refresh()
    studio.library.start_hashing = lambda found: True
    studio.warming.warm_up = lambda chosen: None
    studio.prefetch("model", ("scribble",))
    assert [entry.name for entry in studio.warming.chosen.entries] == ["model"]
    assert "no scribble ControlNet for SDXL" in str(studio.control_trouble("scribble", "model"))
    assert studio.control_trouble("scribble", None) is None


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
    warmed, warming = [], studio.warming
    monkeypatch.setattr(studio.dispatcher, "prefetch", lambda models: warmed.append(models.checkpoint.name))
    monkeypatch.setattr(studio.library, "start_hashing", lambda entries: True)
    monkeypatch.setattr(warming, "warm_up", lambda chosen: None)
    studio.prefetch()
    first = warming.chosen
    studio.prefetch(controls=("scribble",))
    Warming.warm_up(warming, first)
    assert not warmed
    Warming.warm_up(warming, warming.chosen)
    assert warmed == ["starter-desk"]


def test_the_autoencoder_that_is_chosen_is_warmed_up_too(studio, monkeypatch):
    warmed = []
    monkeypatch.setattr(studio.dispatcher, "prefetch", warmed.append)
    monkeypatch.setattr(studio.library, "start_hashing", lambda entries: False)
    monkeypatch.setattr(studio.library, "location", lambda entry: entry.name)
    write_case(studio.settings.paths.models / "checkpoints", CHECKPOINTS["sdxl"])
    write_case(studio.settings.paths.models / "vae", AUTOENCODERS["vae-sdxl"])
    studio.library.refresh()
    for name in ("", "sdxl_vae", "not here"):
        studio.prefetch("model", vae=name)
    assert warmed == [Prefetch("model"), Prefetch("model", vae="sdxl_vae"), Prefetch("model")]


def test_a_chosen_model_that_cannot_be_read_is_left_to_the_job(studio, monkeypatch):
    def refuse(entry):
        raise ModelNotFoundError("gone")

    studio.prefetch()
    monkeypatch.setattr(studio.library, "location", refuse)
    studio.warming.warm_up(studio.warming.chosen)

import json
from dataclasses import replace
from io import BytesIO

import pytest
from PIL import Image

from studio.access import LOCAL_USER
from tests.trainings.conftest import FAKE, PATIENCE

RUNS = "/api/v1/training/runs"


@pytest.fixture
def mug(studio):
    """A dataset of five pictures, and a small program in place of the process that trains."""
    studio.trainings.command = FAKE
    folder = studio.datasets.create("mug")
    for number in range(5):
        buffer = BytesIO()
        Image.effect_noise((128, 128), 40 + number).convert("RGB").save(buffer, "PNG")
        (folder / f"{number}.png").write_bytes(buffer.getvalue())
    yield folder
    studio.trainings.close()


def body(trigger="steady", **more):
    return {
        "name": "green mug",
        "dataset": "mug",
        "class_word": "cup",
        "trigger": trigger,
        "settings": {"steps": 3},
    } | more


def ended(studio, answer):
    assert answer.status_code == 201, answer.json()
    return studio.trainings.wait(answer.json()["id"], LOCAL_USER, PATIENCE)


def test_what_is_advised_is_trained_and_shown(studio, local, mug):
    advice = local.post("/api/v1/training/advice", json=body()).json()
    assert (advice["params"]["method"], advice["params"]["checkpoint"]) == ("lora", "starter-desk")
    assert {reason["field"] for reason in advice["reasons"]} >= {"method", "learning_rate", "steps"}
    assert len(local.get("/api/v1/training/methods").json()) == 8
    view = ended(studio, local.post(RUNS, json=body()))
    assert (view["state"], view["params"]["dataset_id"]) == ("done", studio.datasets.content_id("mug"))
    shown = local.get(f"{RUNS}/{view['id']}").json()
    assert shown["log"][-1]["event"] == "done"
    assert local.get(RUNS).json() == [{name: value for name, value in shown.items() if name != "log"}]
    picture = local.get(f"{RUNS}/{view['id']}/files/{shown['cover']}")
    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/png")
    assert local.get(f"{RUNS}/{view['id']}/header").json() == {"ss_network_dim": "4"}
    rows = local.get("/api/v1/models", params={"q": "green mug"}).json()["models"]
    assert [row["key"] for row in rows] == [shown["results"][0]["key"]]
    assert local.post(f"{RUNS}/{view['id']}/keep", json={"step": 3}).json()["kept"] == 3
    assert local.post(f"{RUNS}/{view['id']}/keep", json={"step": 4}).status_code == 404
    assert local.post(f"{RUNS}/{view['id']}/pause").status_code == 409
    assert local.post(f"{RUNS}/{view['id']}/dance").status_code == 409
    assert local.delete(f"{RUNS}/{view['id']}").json()["deleted"]
    assert local.get(RUNS).json() == []


def test_what_is_wrong_is_named(local, mug):
    for changed, field in (
        ({"dataset": "gone"}, "dataset"),
        ({"settings": {"steps": 0}}, "steps"),
        ({"name": ""}, "name"),
    ):
        answer = local.post(RUNS, json=body(**changed))
        assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert local.get(f"{RUNS}/none").status_code == 404


def test_events_carry_the_run(studio, local, mug):
    heard = []
    places = studio.trainings.places
    studio.trainings.places = replace(places, tell=lambda event, owner: heard.append((event, owner)))
    ended(studio, local.post(RUNS, json=body()))
    told = [event for event, owner in heard if event["type"] == "training" and owner == "local"]
    assert json.dumps(told[-1])
    assert told[-1]["run"]["state"] == "done"
    assert {"phase", "step", "saved", "done"} <= {event["event"]["event"] for event in told if "event" in event}


def test_guests_train_nothing(ann):
    assert ann.get(RUNS).status_code == 403
    assert ann.post(RUNS, json=body()).status_code == 403
    assert ann.post("/api/v1/training/advice", json=body()).status_code == 403

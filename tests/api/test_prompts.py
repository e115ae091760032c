"""The prompt inspector over HTTP, with the worker's code called in place of its process."""

import pytest

from studio.jobs.maps import Maps
from studio.worker.tokenize import tokenize


@pytest.fixture
def asked(studio, monkeypatch):
    """The questions that reached the worker."""
    heard, maps = [], Maps()

    def answer(question, owner):
        heard.append(question)
        waiting = maps.ask(question, owner)
        maps.heard(tokenize(question))
        return maps.wait(waiting)

    monkeypatch.setattr(studio.dispatcher, "tokenize", answer)
    return heard


def test_a_prompt_is_read_with_everything_drawn(local, asked):
    body = {"prompt": "a {red|red} [house:tree:0.5] # home", "negative_prompt": "dark", "num_inference_steps": 8}
    view = local.post("/api/v1/prompt", json=body).json()
    assert view["prompt"] == "a red [house:tree:0.5] "
    assert view["steps"] == 8
    told, untold = view["lines"]
    assert [(span["first"], span["last"]) for span in told["spans"]] == [(1, 4), (5, 8)]
    words = [[chip["text"] for chip in span["windows"][0]] for span in told["spans"]]
    assert words == [["a", "red", "house"], ["a", "red", "tree"]]
    assert untold["negative"]
    assert not view["warnings"]


def test_tags_that_name_nothing_say_why_and_mistakes_are_told(local, asked):
    view = local.post("/api/v1/prompt", json={"prompt": "a (house <lora:nowhere:0.5> __none__"}).json()
    (network,) = view["networks"]
    assert (network["kind"], network["name"], network["weight"]) == ("lora", "nowhere", 0.5)
    assert "nowhere" in network["why"]
    assert any("never closed" in line for line in view["warnings"])
    assert any("none" in line for line in view["warnings"])


def test_steps_are_those_that_run(local, asked):
    body = {"prompt": "a", "num_inference_steps": 20, "init_image": "0" * 64, "strength": 0.5}
    assert local.post("/api/v1/prompt", json=body).json()["steps"] == 10


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"prompt": 3}, "prompt"),
        ({"promt": "a"}, "promt"),
        ({"prompt": "a", "num_inference_steps": 0}, "num_inference_steps"),
    ],
)
def test_a_wrong_request_is_refused(local, asked, body, field):
    answer = local.post("/api/v1/prompt", json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert not asked


def test_a_checkpoint_that_is_not_there_is_refused(local, asked):
    answer = local.post("/api/v1/prompt", json={"prompt": "a", "checkpoint": "nowhere"})
    assert answer.status_code == 422
    assert not asked

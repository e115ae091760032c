"""The prompt inspector over HTTP, with the worker's code called in place of its process."""

import pytest
import torch
from safetensors.torch import save_file

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


def test_regions_and_the_way_of_weighing_are_told(local, asked):
    regions = [{"color": "#ff0000", "words": "a {fog|fog} <lora:cat>", "weight": 0.5}, {"color": "#00ff00"}]
    control = {"kind": "regions", "map": "0" * 64, "regions": regions}
    body = {"prompt": "a house", "prompt_weighting": "comfy", "controls": [control]}
    view = local.post("/api/v1/prompt", json=body).json()
    (region,) = view["regions"]
    assert (region["color"], region["weight"], region["spans"][0]["text"]) == ("#ff0000", 0.5, "a fog")
    assert view["weighting"] == "comfy"
    assert any("in a region switches nothing on" in line for line in view["warnings"])
    assert asked[0].regions == ("a fog",)


def test_embeddings_inside_of_the_stack_are_named(local, asked, studio):
    folder = studio.settings.paths.models / "loras"
    stem = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    tensors = {f"{stem}.lora_down.weight": torch.zeros(1, 768), f"{stem}.lora_up.weight": torch.zeros(320, 1)}
    save_file(tensors | {"bundle_emb.wax-style.clip_l": torch.zeros(2, 768)}, folder / "wax.safetensors")
    studio.library.refresh()
    for body in (
        {"prompt": "a wax-style", "adapters": [{"name": "wax"}]},
        {"prompt": "a wax-style <lora:wax> <lora:cat:999>"},
    ):
        assert local.post("/api/v1/prompt", json=body).json()["embeddings"] == ["wax-style"]
    assert local.post("/api/v1/prompt", json={"prompt": "a wax-style"}).json()["embeddings"] == []


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

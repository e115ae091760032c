"""Regional prompts from params to the picture: with the text encoder, maps, adapters and windows of tokens."""

from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch._dynamo.testing import CompileCounter

from studio.engine.turbo import Turbo
from studio.params import ControlUnit, Region
from tests import tiny
from tests.engine.conftest import IMAGES
from tests.engine.latents import assert_agree, latents_of

RED, BLUE = "#e6553c", "#3c78e6"
PICTURES = {
    "red": lambda: Image.new("RGB", (tiny.SIZE, tiny.SIZE), RED),
    "halves": lambda: _halves((tiny.SIZE, tiny.SIZE)),
    "large halves": lambda: _halves((4 * tiny.SIZE, 4 * tiny.SIZE)),
    "black": lambda: Image.new("RGB", (tiny.SIZE, tiny.SIZE)),
}
HOUSE, BOAT = Region(color=RED, words="a house"), Region(color=BLUE, words="a boat")


def _halves(size):
    image = Image.new("RGB", size, RED)
    image.paste(BLUE, (size[0] // 2, 0, *size))
    return image


@pytest.fixture
def latents(engine, models, monkeypatch):
    engine.load_image = engine.conditions.load_image = lambda name: (PICTURES | IMAGES)[name]()
    return lambda params: latents_of(engine, models, monkeypatch, params)


def asked(*regions, shown="halves", controls=(), params=None, **fields):
    unit = ControlUnit(kind="regions", map=shown, regions=regions, **fields)
    return tiny.params(controls=(unit, *controls), negative_prompt="", **params or {})


def plain(prompt="a cat", **fields):
    return tiny.params(prompt=prompt, negative_prompt="", **fields)


LONG = " ".join("a house by the sea".replace(" ", "") for _ in range(3))  # more tokens than one window takes


@pytest.mark.parametrize("words", ["a house", "(a house:1.3) [x:y:0.5]", LONG])
def test_a_region_that_covers_all_is_the_picture_of_its_words(latents, words):
    covered = latents(asked(replace(HOUSE, words=words), shown="red"))
    assert_agree(covered, latents(plain(words)))


def test_without_guidance_too(latents):
    covered = latents(asked(HOUSE, shown="red", params={"guidance_scale": 1.0}))
    assert_agree(covered, latents(plain("a house", guidance_scale=1.0)))


SILENT = {
    "no regions": asked(),
    "no words": asked(replace(HOUSE, words=""), replace(BOAT, words="")),
    "no weight": asked(replace(HOUSE, weight=0.0)),
    "no area": asked(HOUSE, shown="black"),
    "scale 0": asked(HOUSE, conditioning_scale=0.0),
    "no step": asked(HOUSE, control_guidance_start=0.3, control_guidance_end=0.4),
}


@pytest.mark.parametrize("params", SILENT.values(), ids=SILENT.keys())
def test_regions_that_say_nothing_are_the_identical_picture(latents, params):
    assert torch.equal(latents(params), latents(plain()))


def test_two_halves_differ_from_either_and_a_larger_map_says_the_same(latents):
    both = latents(asked(HOUSE, BOAT, softness=0.0))
    assert_agree(latents(asked(BOAT, HOUSE, softness=0.0, shown="large halves")), both)
    for other in (plain(), plain("a house"), plain("a boat")):
        assert not torch.allclose(latents(other), both)
    assert not torch.allclose(latents(asked(HOUSE, BOAT, softness=0.1)), both)


def test_pictures_of_a_batch_are_as_each_alone(latents):
    together = latents(asked(HOUSE, BOAT, params={"count": 2}))
    alone = [latents(asked(HOUSE, BOAT, params={"seed": seed})) for seed in (3, 4)]
    assert_agree(together, torch.cat(alone))


def test_joined_prompts_have_the_regions_too(latents):
    joined = latents(asked(HOUSE, shown="red", params={"prompt": "a cat AND a dog :0.5"}))
    assert_agree(joined, latents(plain("a house AND a house :0.5")))


def test_a_controlnet_works_beside_regions(latents):
    net = ControlUnit(kind="scribble", map="house", model="control", model_id="id-control")
    both = latents(asked(HOUSE, BOAT, controls=(net,)))
    assert not torch.allclose(both, latents(asked(HOUSE, BOAT)))
    assert not torch.allclose(both, latents(plain(controls=(net,))))


def test_a_part_made_anew_sees_its_part_of_the_map(engine, models):
    """The mask is the left half, which the red region covers whole."""
    engine.load_image = engine.conditions.load_image = lambda name: (PICTURES | IMAGES)[name]()
    inside = {"init_image": "photo", "mask_image": "mask", "mask_padding": 0, "mask_blur": 0, "strength": 0.9}
    params = [asked(HOUSE, shown=shown, softness=0.0, params=inside) for shown in ("halves", "red")]
    first, second = (engine.generate(one, models).pictures[0] for one in params)
    assert (abs(first.astype(int) - second).mean()) < abs(first.astype(int) - 128).mean()


def test_notes_on_words_are_handed_up(engine, models):
    engine.load_image = engine.conditions.load_image = lambda name: PICTURES[name]()
    heavy = engine.generate(asked(replace(HOUSE, words="(a house:1000)")), models)
    assert any("more than words can have" in line for line in heavy.warnings)


def test_compiled_blocks_stay_valid_and_give_the_same(engine, models, latents):
    without, regional = latents(plain()), latents(asked(HOUSE, BOAT))
    counter = CompileCounter()
    engine.turbo = Turbo(torch.device("cpu"), backend=counter)
    latents(plain())
    engine.turbo.tend()
    codes = counter.frame_count
    assert codes
    assert_agree(latents(asked(HOUSE, BOAT)), regional)
    assert_agree(latents(plain()), without)
    assert counter.frame_count == codes

"""What is kept of a first picture, and what is made of it. Agreement with diffusers is measured on latents, in fp32."""

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionInpaintPipeline
from PIL import Image, ImageDraw

from studio.engine.conditions import to_unit_range
from studio.engine.generate import encode
from studio.inpainting import changeable, feathered, region
from studio.params import ControlUnit
from tests import tiny
from tests.engine.latents import assert_agree, latents_of

SIDES = (80, 60)
BOX = (26, 16, 58, 48)  # SIDES has a region of 32 x 32 around SPOT
SPOT = (34, 24, 49, 39)
CONTROL = ControlUnit(kind="scribble", map="lines", model="control", model_id="id-control")


def large():
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (SIDES[1], SIDES[0], 3), dtype=np.uint8))


def drawn(size, draw):
    image = Image.new("L", size)
    draw(ImageDraw.Draw(image))
    return image


def spot():
    return drawn(SIDES, lambda d: d.rectangle(SPOT, fill=255))


def lines():
    return drawn(SIDES, lambda d: d.line((0, 10, 80, 50), fill=255, width=3)).convert("RGB")


IMAGES = {
    "large": large,
    "spot": spot,
    "lines": lines,
    "part": lambda: large().crop(BOX),
    "part-spot": lambda: spot().crop(BOX),
    "part-lines": lambda: lines().crop(BOX),
    "square": lambda: large().resize((tiny.SIZE, tiny.SIZE)),
    "round": lambda: drawn((tiny.SIZE, tiny.SIZE), lambda d: d.ellipse((3, 5, 24, 29), fill=255)),
    "hair": lambda: drawn((tiny.SIZE, tiny.SIZE), lambda d: d.line((7, 3, 7, 29), fill=255)),
    "clear": lambda: Image.new("RGBA", SIDES, (255, 255, 255, 0)),
}


@pytest.fixture(scope="module")
def places(pipe, folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("given")
    pipe.save_pretrained(root / "fill")
    tiny.tiny_inpainting_unet().save_pretrained(root / "fill" / "unet")
    found = [tiny.location(folder / "tiny"), tiny.location(root / "fill")]
    found.append(tiny.location(folder / "control", "controlnet"))
    return {place.id: place for place in found}


@pytest.fixture
def engine(engine):
    engine.load_image = engine.conditions.load_image = lambda name: IMAGES[name]()
    return engine


@pytest.fixture
def latents(engine, places, monkeypatch):
    return lambda **changed: latents_of(engine, places, monkeypatch, params(**changed))


@pytest.fixture
def made(engine, places):
    return lambda **changed: engine.generate(params(**changed), places).pictures


def params(checkpoint="tiny", **changed):
    given = {"init_image": "square", "mask_image": "round", "strength": 0.75}
    return tiny.params(checkpoint_id=f"id-{checkpoint}", **given | changed)


def masked(**changed):
    return {"init_image": "large", "mask_image": "spot", **changed}


@pytest.mark.parametrize("strength", [0.5, 1.0])
@pytest.mark.parametrize("checkpoint", ["tiny", "fill"])
def test_a_round_mask_agrees_with_diffusers(latents, engine, places, checkpoint, strength):
    held = engine.store.checkpoint(places[f"id-{checkpoint}"])
    picture, painted = to_unit_range(IMAGES["square"]()) * 2 - 1, IMAGES["round"]()
    kept = picture * (to_unit_range(painted)[:, :1] < 0.5)
    pipe = StableDiffusionInpaintPipeline.from_pretrained(places[f"id-{checkpoint}"].path, safety_checker=None)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    theirs = pipe(
        "a cat",
        negative_prompt="dog",
        image=encode(held, picture),
        masked_image_latents=encode(held, kept),
        mask_image=painted,
        height=tiny.SIZE,
        width=tiny.SIZE,
        strength=strength,
        num_inference_steps=4,
        guidance_scale=5.0,
        generator=torch.Generator().manual_seed(3),
        output_type="latent",
    ).images
    assert_agree(latents(checkpoint=checkpoint, strength=strength), theirs)


@pytest.mark.parametrize("blur", [0, 1, 2])
@pytest.mark.parametrize("checkpoint", ["tiny", "fill"])
def test_outside_the_mask_the_picture_is_the_sources_own_bytes(made, checkpoint, blur):
    (picture,) = made(checkpoint=checkpoint, mask_blur=blur)
    kept = np.asarray(feathered(changeable(IMAGES["round"](), (tiny.SIZE, tiny.SIZE)), blur)) == 0
    source = np.asarray(IMAGES["square"]())
    assert kept.sum() > 50
    assert np.array_equal(picture[kept], source[kept])
    assert np.abs(picture[~kept].astype(int) - source[~kept]).mean() > 5


@pytest.mark.parametrize("padding", [0, 8, 400])
def test_the_painted_part_alone_leaves_a_picture_of_any_size_as_it_was(made, padding):
    (picture,) = made(**masked(mask_padding=padding, mask_blur=2))
    soft = np.asarray(feathered(spot(), 2))
    assert picture.shape == (SIDES[1], SIDES[0], 3)
    assert np.array_equal(picture[soft == 0], np.asarray(large())[soft == 0])
    assert not np.array_equal(picture[soft == 255], np.asarray(large())[soft == 255])


def test_the_painted_part_alone_is_as_if_its_region_were_the_picture(made, latents):
    assert region(spot(), 8, (tiny.SIZE, tiny.SIZE)) == BOX
    alone = {"init_image": "part", "mask_image": "part-spot"}
    assert_agree(latents(**masked(mask_padding=8, mask_blur=0)), latents(**alone))
    (whole,), (part,) = made(**masked(mask_padding=8, mask_blur=0)), made(**alone, mask_blur=0)
    assert np.array_equal(whole[BOX[1] : BOX[3], BOX[0] : BOX[2]], part)


def test_a_map_of_the_whole_picture_is_cut_as_the_picture_is(latents):
    alone = latents(init_image="part", mask_image="part-spot", controls=(on("part-lines"),))
    assert_agree(latents(**masked(mask_padding=8, mask_blur=0, controls=(on("lines"),))), alone)
    assert not torch.allclose(alone, latents(init_image="part", mask_image="part-spot"), atol=1e-3)


def test_the_mask_of_a_control_is_cut_too(latents):
    here = latents(init_image="part", mask_image="part-spot", controls=(on("part-lines", mask="part-spot"),))
    assert_agree(latents(**masked(mask_padding=8, mask_blur=0, controls=(on("lines", mask="spot"),))), here)


def on(name, **fields):
    return ControlUnit(kind="scribble", map=name, model="control", model_id="id-control", **fields)


def test_without_a_mask_padding_and_blur_change_nothing(made):
    plain = made(mask_image=None)[0]
    assert np.array_equal(made(mask_image=None, mask_padding=8, mask_blur=9)[0], plain)


@pytest.mark.parametrize("fill", ["fill", "noise", "nothing"])
def test_what_the_painted_part_begins_from_counts_below_a_strength_of_one(latents, fill):
    plain = latents()
    begun = latents(fill=fill)
    assert not torch.allclose(begun, plain, atol=1e-2)
    if fill != "fill":  # whose colours the autoencoder sees from beside the mask, too
        assert torch.equal(latents(fill=fill, strength=1.0), latents(strength=1.0))


@pytest.mark.parametrize("fill", ["original", "fill", "noise", "nothing"])
@pytest.mark.parametrize("scheduler", ["ddim", "euler_a"])
def test_a_batch_is_as_its_pictures_one_by_one(latents, fill, scheduler):
    together = latents(count=2, fill=fill, scheduler=scheduler)
    single = torch.cat([latents(seed=3 + i, fill=fill, scheduler=scheduler) for i in range(2)])
    assert_agree(together, single)


def test_a_stroke_finer_than_the_latents_is_not_lost(made):
    (picture,) = made(mask_image="hair", mask_blur=0)
    changed = (picture != np.asarray(IMAGES["square"]())).any(2)
    assert changed[3:30, 7].any()
    assert not np.delete(changed, 7, axis=1).any()


def test_what_is_transparent_in_the_source_is_white_paper(made):
    (picture,) = made(init_image="clear", mask_image="spot", mask_padding=0, mask_blur=0)
    assert (picture[0] == 255).all()

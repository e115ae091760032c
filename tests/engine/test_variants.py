"""SDXL and inpainting checkpoints: latents agree with diffusers' pipelines, in fp32."""

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionInpaintPipeline, StableDiffusionXLControlNetPipeline

from studio.engine.conditions import to_unit_range
from studio.engine.generate import encode
from studio.params import ControlUnit
from tests import tiny
from tests.engine.conftest import house, mask, photo
from tests.engine.latents import assert_agree, latents_of

SEED = 3


@pytest.fixture(scope="module")
def large():
    return tiny.tiny_sdxl_pipeline()


@pytest.fixture(scope="module")
def found(large, pipe, tmp_path_factory):
    root = tmp_path_factory.mktemp("variants")
    large.save_pretrained(root / "large")
    tiny.tiny_controlnet(large.unet).save_pretrained(root / "large-control")
    pipe.save_pretrained(root / "fill")
    tiny.tiny_inpainting_unet().save_pretrained(root / "fill" / "unet")
    places = [tiny.location(root / "large"), tiny.location(root / "fill")]
    places.append(tiny.location(root / "large-control", "controlnet"))
    return {place.id: place for place in places}


def run(pipe, **kwargs):
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    common = {"num_inference_steps": 4, "guidance_scale": 5.0, "output_type": "latent"}
    return pipe("a cat", generator=torch.Generator().manual_seed(SEED), **common | kwargs).images


def sized(**more):
    return {"height": tiny.SIZE, "width": tiny.SIZE, **more}


def of_large(**changed):
    return tiny.params(checkpoint="large", checkpoint_id="id-large", **changed)


@pytest.mark.parametrize("negative", ["dog", None])
def test_sdxl_agrees_with_diffusers(engine, found, large, monkeypatch, negative):
    theirs = run(large, **sized(negative_prompt=negative))
    assert_agree(latents_of(engine, found, monkeypatch, of_large(negative_prompt=negative or "")), theirs)


def test_sdxl_without_guidance_agrees(engine, found, large, monkeypatch):
    theirs = run(large, **sized(guidance_scale=1.0))
    assert_agree(latents_of(engine, found, monkeypatch, of_large(guidance_scale=1.0)), theirs)


def test_sdxl_skips_layers_as_diffusers_does(engine, found, large, monkeypatch):
    theirs = run(large, **sized(negative_prompt="dog", clip_skip=1))
    ours = latents_of(engine, found, monkeypatch, of_large(clip_skip=1))
    # diffusers skips layers in the prompt alone and leaves the negative one whole
    whole = latents_of(engine, found, monkeypatch, of_large())
    assert not torch.allclose(ours, whole, atol=1e-4)
    assert not torch.allclose(theirs, whole, atol=1e-4)


def test_sdxl_with_a_controlnet_agrees(engine, found, large, monkeypatch):
    control = engine.store.control(found["id-large-control"])
    pipe = StableDiffusionXLControlNetPipeline(
        **{k: v for k, v in large.components.items() if k not in ("image_encoder", "feature_extractor")},
        controlnet=control,
        add_watermarker=False,
    )
    theirs = run(pipe, **sized(negative_prompt="dog", image=to_unit_range(house())))
    unit = ControlUnit(kind="scribble", map="house", model="large-control", model_id="id-large-control")
    assert_agree(latents_of(engine, found, monkeypatch, of_large(controls=(unit,))), theirs)


def of_fill(**changed):
    return tiny.params(checkpoint="fill", checkpoint_id="id-fill", **changed)


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_an_inpainting_checkpoint_agrees_with_diffusers(engine, found, monkeypatch, strength):
    checkpoint = engine.store.checkpoint(found["id-fill"])
    picture = to_unit_range(photo()) * 2 - 1
    kept = picture * (to_unit_range(mask().convert("L"))[:, :1] < 0.5)
    pipe = StableDiffusionInpaintPipeline.from_pretrained(found["id-fill"].path, safety_checker=None)
    theirs = run(
        pipe,
        image=encode(checkpoint, picture),
        masked_image_latents=encode(checkpoint, kept),
        mask_image=mask(),
        negative_prompt="dog",
        **sized(strength=strength),
    )
    ours = latents_of(engine, found, monkeypatch, of_fill(init_image="photo", mask_image="mask", strength=strength))
    assert_agree(ours, theirs)


def test_an_inpainting_checkpoint_makes_pictures_from_words_alone(engine, found):
    first, second = (engine.generate(of_fill(prompt=words), found).pictures[0] for words in ("a cat", "a dog"))
    assert not np.array_equal(first, second)

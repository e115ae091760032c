"""The laws of a generation. Agreement with diffusers is measured on latents, in fp32."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    StableDiffusionControlNetPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
)
from PIL import Image
from torch._dynamo.testing import CompileCounter

from studio.engine.conditions import to_unit_range
from studio.engine.generate import CancelledError, Watch, batches_of, decode, encode
from studio.engine.turbo import Turbo
from studio.engine.units.controlnet import ControlNetUnit
from studio.engine.units.unit import Residuals, StepInput
from studio.errors import ModelNotFoundError
from studio.params import WEIGHTINGS, ControlUnit, Region
from studio.registry import load_registry
from tests import tiny
from tests.engine.conftest import house, mask, photo
from tests.engine.latents import assert_agree, latents_of

CONTROL = ControlUnit(kind="scribble", map="house", model="control", model_id="id-control")
SEED = 3
OTHERS = ("id-tiny", "id-other")


@pytest.fixture
def latents(engine, models, monkeypatch):
    return lambda params: latents_of(engine, models, monkeypatch, params)


def stock(pipe, **kwargs):
    """A diffusers pipeline's latents for the words and the noise of `tiny.params()`."""
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(SEED)
    common = {"num_inference_steps": 4, "guidance_scale": 5.0, "negative_prompt": "dog", "output_type": "latent"}
    return pipe("a cat", generator=generator, **common | kwargs).images


def components(pipe):
    return {**pipe.components, "requires_safety_checker": False}


def test_text_to_image_agrees_with_diffusers(latents, pipe):
    theirs = stock(pipe, height=tiny.SIZE, width=tiny.SIZE)
    assert_agree(latents(tiny.params()), theirs)


def test_without_guidance_it_agrees_too(latents, pipe):
    theirs = stock(pipe, height=tiny.SIZE, width=tiny.SIZE, guidance_scale=1.0)
    assert_agree(latents(tiny.params(guidance_scale=1.0)), theirs)


def embeds(pipe, text, skipped):
    """As diffusers' clip_skip, which in 0.42 fails on the text encoder of transformers 5.6 and later."""
    ids = pipe.tokenizer(text, padding="max_length", return_tensors="pt").input_ids
    encoder = pipe.text_encoder
    return encoder.final_layer_norm(encoder(ids, output_hidden_states=True).hidden_states[-1 - skipped])


def test_clip_skip_leaves_out_the_last_layers(latents, pipe):
    with torch.no_grad():
        told, untold = embeds(pipe, "a cat", 1), embeds(pipe, "dog", 1)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    theirs = pipe(
        prompt_embeds=told,
        negative_prompt_embeds=untold,
        num_inference_steps=4,
        guidance_scale=5.0,
        height=tiny.SIZE,
        width=tiny.SIZE,
        generator=torch.Generator().manual_seed(SEED),
        output_type="latent",
    ).images
    ours = latents(tiny.params(clip_skip=1))
    assert_agree(ours, theirs)
    assert not torch.allclose(ours, latents(tiny.params()), atol=1e-3)


def test_how_words_weigh_is_chosen_by_the_request(latents):
    """Not at all, a weighed word counts as any other; the other ways give each their own picture."""
    plain = latents(tiny.params())
    made = [latents(tiny.params(prompt="a (cat:1.5)", prompt_weighting=mode)) for mode in WEIGHTINGS]
    assert torch.equal(made[-1], plain)
    others = [plain, *made[:3]]
    assert not any(torch.allclose(a, b, atol=1e-3) for i, a in enumerate(others) for b in others[:i])


@pytest.mark.parametrize(("scale", "start", "end"), [(1.0, 0.0, 1.0), (0.6, 0.0, 0.5), (1.3, 0.25, 1.0)])
def test_controlnet_agrees_with_diffusers(latents, pipe, engine, models, scale, start, end):
    control = engine.store.control(models["id-control"])
    theirs = stock(
        StableDiffusionControlNetPipeline(**components(pipe), controlnet=control),
        image=to_unit_range(house()),
        controlnet_conditioning_scale=scale,
        control_guidance_start=start,
        control_guidance_end=end,
    )
    unit = replace(CONTROL, conditioning_scale=scale, control_guidance_start=start, control_guidance_end=end)
    ours = latents(tiny.params(controls=(unit,)))
    assert_agree(ours, theirs)
    assert not torch.allclose(ours, latents(tiny.params()), atol=1e-3)


@pytest.mark.parametrize("strength", [0.5, 0.75, 1.0])
def test_image_to_image_agrees_with_diffusers(latents, pipe, engine, models, strength):
    given = encode(engine.store.checkpoint(models["id-tiny"]), to_unit_range(photo()) * 2 - 1)
    theirs = stock(StableDiffusionImg2ImgPipeline(**components(pipe)), image=given, strength=strength)
    assert_agree(latents(tiny.params(init_image="photo", strength=strength)), theirs)


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_inpainting_agrees_with_diffusers(latents, pipe, engine, models, strength):
    given = encode(engine.store.checkpoint(models["id-tiny"]), to_unit_range(photo()) * 2 - 1)
    theirs = stock(
        StableDiffusionInpaintPipeline(**components(pipe)),
        image=given,
        masked_image_latents=given,
        mask_image=mask(),
        height=tiny.SIZE,
        width=tiny.SIZE,
        strength=strength,
    )
    assert_agree(latents(tiny.params(init_image="photo", mask_image="mask", strength=strength)), theirs)


def test_inpainting_leaves_what_the_mask_keeps(latents, engine, models):
    given = encode(engine.store.checkpoint(models["id-tiny"]), to_unit_range(photo()) * 2 - 1)
    ours = latents(tiny.params(init_image="photo", mask_image="mask"))
    half = ours.shape[3] // 2
    torch.testing.assert_close(ours[..., half:], given[..., half:])
    assert not torch.allclose(ours[..., :half], given[..., :half], atol=1e-2)


def test_the_same_params_give_the_same_bytes(engine, models):
    first, second = (engine.generate(tiny.params(controls=(CONTROL,)), models).pictures[0] for _ in range(2))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("scheduler", ["ddim", "euler_a", "dpmpp_2m_sde", "lcm"])
def test_a_batch_is_as_its_pictures_one_by_one(latents, scheduler):
    together = latents(tiny.params(count=3, scheduler=scheduler))
    single = torch.cat([latents(tiny.params(seed=SEED + i, scheduler=scheduler)) for i in range(3)])
    assert_agree(together, single)
    assert not torch.allclose(together[0], together[1], atol=1e-2)


def test_more_pictures_than_a_batch_each_have_their_seed(engine, models):
    made = engine.generate(tiny.params(count=5), models)
    assert made.seeds == [3, 4, 5, 6, 7]
    assert len({picture.tobytes() for picture in made.pictures}) == 5


@pytest.mark.parametrize("name", sorted(load_registry().schedulers))
def test_every_scheduler_runs_with_each_of_its_sigmas(latents, name):
    for sigmas in load_registry().schedulers[name].sigmas:
        assert torch.isfinite(latents(tiny.params(scheduler=name, sigmas=sigmas))).all()


def count_rows(engine, models, params):
    """The batch sizes with which the UNet is called."""
    rows = []
    checkpoint = engine.store.checkpoint(models["id-tiny"])
    hook = checkpoint.unet.register_forward_pre_hook(lambda _module, args: rows.append(len(args[0])))
    engine.generate(params, models)
    hook.remove()
    return rows


def test_guidance_one_skips_the_unconditional_pass(engine, models):
    assert count_rows(engine, models, tiny.params(guidance_scale=1.0)) == [1] * 4
    assert count_rows(engine, models, tiny.params(guidance_scale=5.0)) == [2] * 4


def test_guidance_one_ignores_the_negative_prompt(latents):
    told = latents(tiny.params(guidance_scale=1.0, negative_prompt="dog"))
    assert torch.equal(told, latents(tiny.params(guidance_scale=1.0, negative_prompt="bird")))
    guided = latents(tiny.params(negative_prompt="dog"))
    assert not torch.allclose(guided, latents(tiny.params(negative_prompt="bird")), atol=1e-4)


@pytest.mark.parametrize(
    ("unit", "calls"),
    [
        (CONTROL, 4),
        (replace(CONTROL, conditioning_scale=0.0), 0),
        (replace(CONTROL, control_guidance_end=0.5), 2),
        (replace(CONTROL, control_guidance_start=0.75), 1),
    ],
)
def test_a_controlnet_is_computed_only_where_it_is_on(engine, models, unit, calls):
    seen = []
    hook = engine.store.control(models["id-control"]).register_forward_pre_hook(lambda *_: seen.append(1))
    made = engine.generate(tiny.params(controls=(unit,)), models)
    hook.remove()
    assert len(seen) == calls
    assert list(made.costs) == ([unit.kind] if calls else [])
    assert all(0 < cost < made.seconds["denoise"] for cost in made.costs.values())


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_what_a_controlnet_makes_of_its_map_is_computed_once(engine, order):
    control = tiny.tiny_controlnet(tiny.tiny_pipeline().unet)
    control.register_to_config(controlnet_conditioning_channel_order=order)
    rng, layers, seen = torch.Generator().manual_seed(0), control.controlnet_cond_embedding, []
    layers.register_forward_pre_hook(lambda *_: seen.append(1))
    picture = torch.rand(1, 3, tiny.SIZE, tiny.SIZE, generator=rng)
    words = torch.randn(2, 8, control.config.cross_attention_dim, generator=rng)
    sample = torch.randn(2, 4, tiny.SIZE // tiny.FACTOR, tiny.SIZE // tiny.FACTOR, generator=rng)
    unit = ControlNetUnit(control, picture)
    with torch.no_grad():
        for index in range(2):
            said = Residuals()
            unit.contribute(StepInput(sample, torch.tensor(500 - index), words, index, 2), said)
        assert len(seen) == 1
        expected = control(sample, 499, words, controlnet_cond=picture, return_dict=False)
    assert said.down is not None
    for ours, theirs in zip((*said.down, said.middle), (*expected[0], expected[1]), strict=True):
        assert_agree(ours, theirs)
    assert control.controlnet_cond_embedding is layers


def test_scale_zero_changes_nothing(latents):
    off = replace(CONTROL, conditioning_scale=0.0)
    assert torch.equal(latents(tiny.params(controls=(off,))), latents(tiny.params()))


def test_two_units_add_up(latents):
    half = replace(CONTROL, conditioning_scale=0.5)
    assert_agree(latents(tiny.params(controls=(half, half))), latents(tiny.params(controls=(CONTROL,))))


def test_cancelling_ends_at_that_step_and_leaves_the_model_as_it_was(engine, models):
    before = engine.generate(tiny.params(), models).pictures[0]
    steps = []

    def stop_at_two(_step, done, _total, _checkpoint):
        steps.append(done)
        if done == 2:
            raise CancelledError

    with pytest.raises(CancelledError):
        engine.generate(tiny.params(controls=(CONTROL,)), models, Watch(step=stop_at_two))
    assert steps == [1, 2]
    assert np.array_equal(engine.generate(tiny.params(), models).pictures[0], before)


def test_pictures_of_a_job_may_be_told_different_words_and_each_is_as_if_made_alone(engine, models):
    said = ("a cup", "a cup", "a red tree")
    params = tiny.params(count=3, prompt="a cup", prompts=said)
    together = engine.generate(params, models)
    assert together.seeds == [params.seed, params.seed + 1, params.seed + 2]
    for index, picture in enumerate(together.pictures):
        alone = engine.generate(params.picture(index), models).pictures[0]
        assert np.abs(picture.astype(int) - alone).max() <= 1
    assert params.picture(2).prompt == "a red tree"


def test_regions_may_say_something_else_in_each_picture(engine, models):
    halves = Image.new("RGB", (tiny.SIZE, tiny.SIZE), "#ff0000")
    halves.paste((0, 0, 255), (tiny.SIZE // 2, 0, tiny.SIZE, tiny.SIZE))
    shown = replace(engine, load_image=lambda _: halves)
    regions = (Region(color="#ff0000", words="a cup"), Region(color="#0000ff"))
    control = ControlUnit(kind="regions", map="halves", regions=regions)
    params = tiny.params(count=3, controls=(control,), regional=(("a cup", ""), ("a cup", ""), ("a red tree", "fog")))
    together = shown.generate(params, models)
    for index, picture in enumerate(together.pictures):
        alone = shown.generate(params.picture(index), models).pictures[0]
        assert np.abs(picture.astype(int) - alone).max() <= 1
    other = shown.generate(replace(params, regional=()), models).pictures
    assert np.array_equal(together.pictures[0], other[0])
    assert not np.array_equal(together.pictures[2], other[2])


def test_neighbours_with_the_same_words_share_a_batch():
    said = [("a", "")] * 6 + [("b", "")] + [("a", "")]
    assert [(list(batch.pictures), batch.words[0]) for batch in batches_of(said)] == [
        ([0, 1, 2, 3], "a"),
        ([4, 5], "a"),
        ([6], "b"),
        ([7], "a"),
    ]


def test_turbo_computes_later_pictures_in_compiled_code_and_another_checkpoint_needs_none_anew(engine, models):
    torch._dynamo.reset()
    plain, other = (engine.generate(tiny.params(checkpoint_id=name), models).pictures[0] for name in OTHERS)
    counter = CompileCounter()
    engine.turbo = Turbo(torch.device("cpu"), counter)
    assert np.array_equal(engine.generate(tiny.params(), models).pictures[0], plain)
    assert counter.frame_count == 0
    engine.turbo.tend()
    made, ran = counter.frame_count, counter.op_count
    assert made > 0
    assert np.array_equal(engine.generate(tiny.params(), models).pictures[0], plain)
    assert np.array_equal(engine.generate(tiny.params(checkpoint_id=OTHERS[1]), models).pictures[0], other)
    assert (counter.frame_count, counter.op_count) == (made, ran)


def test_the_watch_hears_phases_and_every_step(engine, models):
    phases, steps = [], []
    watch = Watch(phase=phases.append, step=lambda _s, done, total, _c: steps.append((done, total)))
    engine.generate(tiny.params(count=5), models, watch)
    assert phases == ["loading", "encoding", "denoising", "decoding", "denoising", "decoding"]
    assert steps == [(i, 8) for i in range(1, 9)]


def test_the_last_guess_is_the_picture(engine, models):
    guesses = []
    watch = Watch(step=lambda step, *_: guesses.append(step.guess))
    made = engine.generate(tiny.params(guidance_scale=1.0, timestep_spacing="leading"), models, watch)
    checkpoint = engine.store.checkpoint(models["id-tiny"])
    shown = decode(checkpoint, guesses[-1], [])[0]
    assert np.abs(shown.astype(int) - made.pictures[0].astype(int)).mean() < 3


def test_long_prompts_are_read_window_by_window(latents):
    long = "a cat " * 40
    assert not torch.allclose(latents(tiny.params(prompt=long)), latents(tiny.params(prompt=long + "dog")), atol=1e-5)


def test_a_prompt_beyond_all_windows_says_so(engine, models):
    made = engine.generate(tiny.params(prompt="cat " * 3000), models)
    assert "the rest was left out" in made.warnings[0]


def test_another_checkpoint_is_copied_into_the_same_storage(engine, models):
    first = engine.generate(tiny.params(), models).pictures[0]
    unet = engine.store.current.unet
    places = [p.data_ptr() for p in unet.parameters()]
    other = engine.generate(tiny.params(checkpoint="other", checkpoint_id="id-other"), models).pictures[0]
    assert engine.store.current.unet is unet
    assert [p.data_ptr() for p in unet.parameters()] == places
    assert not np.array_equal(first, other)
    assert np.array_equal(engine.generate(tiny.params(), models).pictures[0], first)


def test_a_checkpoint_that_cannot_be_read_is_named(engine, models, tmp_path):
    broken = replace(models["id-tiny"], id="id-broken", name="broken", path=str(tmp_path))
    with pytest.raises(ModelNotFoundError, match="broken cannot be loaded"):
        engine.generate(tiny.params(checkpoint_id="id-broken"), {"id-broken": broken})


def test_half_precision_gives_nearly_the_same(engine, models):
    exact = engine.generate(tiny.params(controls=(CONTROL,)), models).pictures[0].astype(int)
    engine.store.free()
    engine.store.dtype = torch.bfloat16
    near = engine.generate(tiny.params(controls=(CONTROL,)), models).pictures[0].astype(int)
    assert np.abs(exact - near).mean() < 12

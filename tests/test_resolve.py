from dataclasses import replace

import pytest
from PIL import Image

from studio.errors import AssetError, BaseModelMismatchError, InvalidRequestError, ModelNotFoundError
from studio.library.index import Library
from studio.params import ControlUnit, GenerationParams, GenerationRequest, Region
from studio.registry import load_registry
from studio.resolve import Resolver
from studio.restored import as_typed
from studio.settings import load_settings
from tests.library.test_library import make_checkpoint, make_control

MAP = "a" * 64
SKETCH = ControlUnit(kind="scribble", map=MAP)


@pytest.fixture(scope="module")
def resolver(tmp_path_factory):
    settings = load_settings(tmp_path_factory.mktemp("resolve"))
    settings.paths.create()
    make_checkpoint(settings.paths.models / "checkpoints" / "big")
    make_checkpoint(settings.paths.models / "checkpoints" / "huge", width=2048)
    make_control(settings.paths.models / "controlnet" / "sd15_scribble")
    return Resolver(
        Library(settings),
        load_registry(),
        lambda asset: asset == MAP,
        lambda _: Image.linear_gradient("L").resize((128, 128)),
    )


def resolve(resolver, **fields):
    return resolver.resolve(GenerationRequest(**fields))


def test_blanks_are_filled_from_the_card(resolver):
    params, warnings = resolve(resolver, prompt="a red house", controls=(SKETCH,))
    assert (params.checkpoint, params.width, params.height) == ("starter-desk", 128, 128)
    assert (params.guidance_scale, params.timestep_spacing, params.num_inference_steps) == (5.0, "trailing", 20)
    assert len(params.checkpoint_id) == len(params.controls[0].model_id) == 64
    assert warnings == ()


def test_what_is_said_stays(resolver):
    params, _ = resolve(resolver, prompt="x", width=64, guidance_scale=1.0, scheduler="euler", sigmas="karras", seed=9)
    assert (params.width, params.guidance_scale, params.scheduler, params.sigmas, params.seed) == (
        64,
        1,
        "euler",
        "karras",
        9,
    )


def test_resolving_params_again_gives_the_same(resolver):
    params, _ = resolve(resolver, prompt="a red house", controls=(SKETCH,))
    assert resolver.resolve(params.to_request())[0] == params


@pytest.mark.parametrize("seed", [None, -1])
def test_a_blank_seed_is_drawn(resolver, seed):
    seeds = {resolve(resolver, prompt="x", seed=seed)[0].seed for _ in range(4)}
    assert len(seeds) > 1
    assert all(0 <= s < 2**32 for s in seeds)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"width": 0}, "width"),
        ({"height": 20_000}, "height"),
        ({"width": 63}, "width"),
        ({"num_inference_steps": 0}, "num_inference_steps"),
        ({"num_inference_steps": 100_000}, "num_inference_steps"),
        ({"guidance_scale": -1.0}, "guidance_scale"),
        ({"guidance_scale": 31.0}, "guidance_scale"),
        ({"count": 0}, "count"),
        ({"count": 65}, "count"),
        ({"seed": -2}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"clip_skip": 13}, "clip_skip"),
        ({"scheduler": "magic"}, "scheduler"),
        ({"scheduler": "ddim", "sigmas": "karras"}, "sigmas"),
        ({"timestep_spacing": "random"}, "timestep_spacing"),
        ({"mask_image": MAP}, "mask_image"),
        ({"init_image": MAP, "strength": 0.0}, "strength"),
        ({"init_image": MAP, "strength": 1.5}, "strength"),
        ({"prompt": "a" * 20_001}, "prompt"),
        ({"controls": (ControlUnit(kind="smell", map=MAP),)}, "controls"),
        ({"checkpoint": "huge"}, "checkpoint"),
    ],
)
def test_what_cannot_be_used_is_refused_naming_the_field(resolver, fields, field):
    with pytest.raises(InvalidRequestError) as refused:
        resolve(resolver, **{"prompt": "x"} | fields)
    assert refused.value.field == field
    assert refused.value.sentence()


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"prompt": "x", "width": 130}, "width was rounded from 130 to 128"),
        ({"prompt": "a\x00b\x07"}, "2 invisible control characters"),
        ({"prompt": ""}, "The prompt is empty"),
    ],
)
def test_what_is_put_right_is_said(resolver, fields, says):
    params, warnings = resolve(resolver, **fields)
    assert says in warnings[0]
    assert params.prompt in ("x", "ab", "")


def test_long_prompts_and_emoji_are_taken_as_they_are(resolver):
    text = "a red house \U0001f3e0 " * 600
    assert resolve(resolver, prompt=text)[0].prompt == text.strip()


def test_a_control_model_for_another_base_is_refused_before_the_run(resolver):
    wrong = ControlUnit(kind="scribble", map=MAP, model="sd15_scribble")
    with pytest.raises(BaseModelMismatchError, match=r"was made for SD 1\.5, and the checkpoint for the starter"):
        resolve(resolver, prompt="x", controls=(wrong,))


def test_the_control_model_follows_the_checkpoint(resolver):
    params, _ = resolve(resolver, prompt="x", checkpoint="big", controls=(SKETCH,))
    assert (params.controls[0].model, params.width, params.prediction_type) == ("sd15_scribble", 512, "v_prediction")


def test_a_picture_that_is_not_here_is_refused(resolver):
    with pytest.raises(AssetError, match="not here"):
        resolve(resolver, prompt="x", controls=(ControlUnit(kind="scribble", map="b" * 64),))


def test_an_unknown_checkpoint_is_refused_with_suggestions(resolver):
    with pytest.raises(ModelNotFoundError) as refused:
        resolve(resolver, checkpoint="bik")
    assert "big" in refused.value.hint


def test_each_picture_of_a_job_draws_its_own_words_as_if_it_were_made_alone(resolver):
    typed = "a {red|blue|green|pink|white|black} house, <lora:none:0>"
    params, _ = resolve(resolver, prompt="a {red|blue|green|pink|white|black} house", count=6, seed=3)
    assert len(set(params.prompts)) > 1
    assert params.prompt == params.prompts[0]
    for index in range(6):
        alone, _ = resolve(resolver, prompt="a {red|blue|green|pink|white|black} house", seed=3 + index)
        assert params.picture(index) == alone
    assert as_typed(params).prompt == "a {red|blue|green|pink|white|black} house"
    assert as_typed(replace(params, template=typed)).prompt == "a {red|blue|green|pink|white|black} house, "


def test_each_picture_of_a_job_draws_for_its_regions_too(resolver):
    words = "a {red|blue|green|pink|white|black} house"
    regions = (Region(color="#000000", words=words), Region(color="#ffffff"))
    control = ControlUnit(kind="regions", map=MAP, regions=regions)
    params, warnings = resolve(resolver, prompt="a park", controls=(control,), count=6, seed=3)
    assert len(set(params.regional)) > 1
    assert len(warnings) == len(set(warnings))
    for index in range(6):
        alone, _ = resolve(resolver, prompt="a park", controls=(control,), seed=3 + index)
        assert params.picture(index) == alone
        assert set(alone.texts()) < set(params.texts())
    assert GenerationParams.from_dict(params.to_dict()) == params
    with pytest.raises(InvalidRequestError, match="2 texts for each picture"):
        replace(params, regional=(("a",),) * 6)


def test_pictures_that_are_told_the_same_share_one_prompt(resolver):
    params, _ = resolve(resolver, prompt="a red house", count=4)
    assert (params.prompts, params.negative_prompts) == ((), ())


def test_a_prompt_for_each_picture_is_one_for_each(resolver):
    params, _ = resolve(resolver, prompt="a red house", count=2)
    with pytest.raises(InvalidRequestError, match="3 texts for 2 pictures"):
        replace(params, prompts=("a", "b", "c"))

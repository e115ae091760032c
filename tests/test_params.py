import json

import pytest

from studio.errors import InvalidRequestError
from studio.params import AdapterRef, ControlUnit, EmbeddingRef, GenerationParams, GenerationRequest

PARAMS = GenerationParams(
    prompt="a red house",
    checkpoint="starter-desk",
    checkpoint_id="ab" * 32,
    width=128,
    height=96,
    num_inference_steps=20,
    guidance_scale=5.0,
    scheduler="ddim",
    seed=7,
    controls=(ControlUnit(kind="scribble", map="cd" * 32, annotator_options=(("low", 0.5),)),),
    adapters=(AdapterRef(name="style", id="ef" * 32, weight=0.8, blocks=(("unet.mid_block", 0.5),), curve="rise"),),
    embeddings=(EmbeddingRef(name="bad-hands", id="12" * 32),),
    template="a {red|blue} house <lora:style:0.8>",
)


def test_params_come_back_from_json_as_they_were():
    assert GenerationParams.from_dict(json.loads(json.dumps(PARAMS.to_dict()))) == PARAMS


def test_params_of_another_version_are_refused_with_both_versions():
    with pytest.raises(InvalidRequestError, match=r"version 99; this studio reads version 1"):
        GenerationParams.from_dict(PARAMS.to_dict() | {"version": 99})


def test_a_request_made_from_params_asks_for_the_same():
    request = PARAMS.to_request()
    assert (request.seed, request.controls, request.checkpoint) == (7, PARAMS.controls, "starter-desk")


def test_whole_numbers_are_read_from_either_spelling():
    request = GenerationRequest.from_dict({"width": 128.0, "guidance_scale": 5})
    assert (request.width, request.guidance_scale) == (128, 5.0)


@pytest.mark.parametrize(
    ("data", "field", "says"),
    [
        ({"wdith": 3}, "wdith", "Unknown field"),
        ({"width": "wide"}, "width", "must be a whole number"),
        ({"width": True}, "width", "must be a whole number"),
        ({"width": 12.5}, "width", "must be a whole number"),
        ({"guidance_scale": float("nan")}, "guidance_scale", "finite"),
        ({"guidance_scale": float("inf")}, "guidance_scale", "finite"),
        ({"prompt": None}, "prompt", "must be text"),
        ({"controls": {"kind": "scribble"}}, "controls", "must be a list"),
        ({"controls": [{"map": "m"}]}, "kind", "missing"),
        ({"prompt_mode": "guess"}, "prompt_mode", "guess"),
        ({"prompt_weighting": "heavy"}, "prompt_weighting", "heavy"),
        ({"controls": [{"kind": "s", "map": "m", "conditioning_scale": 3}]}, "conditioning_scale", "between 0 and 2"),
        (
            {"controls": [{"kind": "s", "map": "m", "control_guidance_start": 0.9, "control_guidance_end": 0.2}]},
            "control_guidance_start",
            "start < end",
        ),
        ({"adapters": [{"name": "a", "weight": -9}]}, "weight", "between -4 and 4"),
        ({"adapters": [{"name": "a", "weight": 1e9}]}, "weight", "between -4 and 4"),
        ({"adapters": [{"name": "a", "weight": float("nan")}]}, "weight", "finite"),
        ({"adapters": [{"name": "a", "weight": "strong"}]}, "weight", "must be a number"),
        ({"adapters": [{"name": "a", "text_weight": 5}]}, "text_weight", "between -4 and 4"),
        ({"adapters": [{"name": "a", "kind": "embedding"}]}, "kind", "embedding"),
        ({"adapters": [{"name": "a", "curve": "wave"}]}, "curve", "wave"),
        ({"adapters": [{"name": "a", "start": 0.5, "end": 0.5}]}, "start", "start < end"),
        ({"adapters": [{"name": "a", "blocks": [["vae.mid", 1.0]]}]}, "blocks", "vae"),
        ({"adapters": [{"name": "a", "blocks": [["unet.mid_block", 9]]}]}, "blocks", "between -4 and 4"),
        ({"adapters": [{"name": "a", "blocks": [["unet.mid_block"]]}]}, "blocks", "2 values"),
        ({"adapters": [{"name": str(n)} for n in range(101)]}, "adapters", "101 adapters; at most 100"),
    ],
)
def test_a_wrong_request_is_refused_naming_the_field(data, field, says):
    with pytest.raises(InvalidRequestError, match=says) as refused:
        GenerationRequest.from_dict(data)
    assert refused.value.field == field
    assert refused.value.sentence().endswith(".")


def test_something_that_is_no_object_is_refused():
    with pytest.raises(InvalidRequestError, match="not an object"):
        GenerationRequest.from_dict(["prompt"])


def test_params_written_before_masks_had_settings_are_read():
    old = PARAMS.to_dict()
    for name in ("mask_padding", "mask_blur", "fill"):
        del old[name]
    assert GenerationParams.from_dict(old) == PARAMS


def test_params_written_before_adapters_had_settings_are_read():
    old = PARAMS.to_dict()
    for name in ("embeddings", "template", "negative_template"):
        del old[name]
    old["adapters"] = [{"name": "style", "id": "", "weight": 0.8}]
    read = GenerationParams.from_dict(old)
    assert read.adapters == (AdapterRef(name="style", weight=0.8),)
    assert (read.embeddings, read.template) == ((), "")


def test_every_adapter_and_embedding_is_among_the_models_that_are_needed():
    models = PARAMS.models()
    assert models["ef" * 32] == "style"
    assert models["12" * 32] == "bad-hands"


@pytest.mark.parametrize(
    ("name", "value"),
    [("mask_padding", -1), ("mask_padding", 513), ("mask_blur", -1), ("mask_blur", 65), ("fill", "stars")],
)
def test_settings_of_a_mask_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(InvalidRequestError) as refused:
        GenerationParams.from_dict(PARAMS.to_dict() | {name: value})
    assert refused.value.field == name

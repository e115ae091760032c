"""ControlNets are built as the shapes in their files say."""

import pytest
import torch
from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint
from safetensors.torch import load_file, save_file

from studio.engine.configs import control_config
from studio.engine.layouts import control_places
from studio.engine.skeletons import expected_shapes
from studio.engine.sources import open_control
from studio.errors import ModelNotFoundError
from tests.engine import narrow

PLAIN, CROSS = "DownBlock2D", "CrossAttnDownBlock2D"
COMMON = {"conditioning_embedding_out_channels": [4, 8, 12, 16], "cross_attention_dim": 24, "norm_num_groups": 32}
SD1 = COMMON | {"block_out_channels": [32, 64, 96, 96], "down_block_types": [CROSS, CROSS, CROSS, PLAIN]}
SD2 = SD1 | {
    "block_out_channels": [64, 128, 192, 192],
    "use_linear_projection": True,
    "attention_head_dim": [1, 2, 3, 3],
}
XL = COMMON | {
    "block_out_channels": [64, 128, 192],
    "down_block_types": [PLAIN, CROSS, CROSS],
    "transformer_layers_per_block": [1, 2, 10],
    "attention_head_dim": [1, 2, 3],
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
SMALL = XL | {
    "down_block_types": [PLAIN] * 3,
    "mid_block_type": "UNetMidBlock2D",
    "transformer_layers_per_block": 1,
}
CONFIGS = {"sd1": SD1, "sd2": SD2, "sdxl": XL}


@pytest.fixture(params=CONFIGS)
def control(request):
    """A base model and a ControlNet's tensors for it."""
    return request.param, narrow.tensors("ControlNetModel", CONFIGS[request.param])


def in_ldm(base, tensors, prefix):
    return {place.name: tensors[name] for name, place in control_places(base, prefix).items()}


@pytest.mark.parametrize("prefix", ["", "control_model."])
def test_a_controlnet_is_read_in_either_spelling(control, tmp_path, prefix):
    base, tensors = control
    save_file(in_ldm(base, tensors, prefix), tmp_path / "ldm.safetensors")
    save_file(tensors, tmp_path / "diffusers.safetensors")
    for name in ("ldm", "diffusers"):
        part = open_control(narrow.location(tmp_path / f"{name}.safetensors", base, "controlnet"))
        assert set(part.names()) == tensors.keys()
        assert all(torch.equal(part.tensor(key), tensor) for key, tensor in tensors.items())
        assert expected_shapes("ControlNetModel", part.config) == expected_shapes("ControlNetModel", CONFIGS[base])
        assert part.config.items() >= {k: v for k, v in CONFIGS[base].items() if k != "norm_num_groups"}.items()


def test_diffusers_reads_the_same_controlnet(control, tmp_path):
    base, tensors = control
    save_file(in_ldm(base, tensors, "control_model."), tmp_path / "ldm.safetensors")
    theirs = convert_controlnet_checkpoint(load_file(tmp_path / "ldm.safetensors"), {"layers_per_block": 2})
    forgotten = tensors.keys() - theirs.keys()  # diffusers 0.42 leaves SDXL's sizes out
    assert all(name.startswith("add_embedding.") for name in forgotten)
    assert theirs.keys() <= tensors.keys()
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in theirs.items())


def test_a_controlnet_without_attention_is_built_so():
    shapes = expected_shapes("ControlNetModel", SMALL)
    assert expected_shapes("ControlNetModel", control_config(shapes)) == shapes


def test_the_real_shapes_give_the_real_configuration():
    shapes = expected_shapes("ControlNetModel", {"cross_attention_dim": 768})
    found = control_config(shapes)
    assert found["conditioning_embedding_out_channels"] == [16, 32, 96, 256]
    assert found["block_out_channels"] == [320, 640, 1280, 1280]
    assert found["down_block_types"] == [CROSS, CROSS, CROSS, PLAIN]
    assert (found["attention_head_dim"], found["cross_attention_dim"]) == (8, 768)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("lora_controlnet", "ControlLoRA"),
        ("control_model.task_embedding", "union"),
        ("difference", "difference"),
        ("something.else", "no ControlNet"),
    ],
)
def test_what_is_no_plain_controlnet_is_refused(tmp_path, name, what):
    save_file({name: torch.zeros(2)}, tmp_path / "odd.safetensors")
    with pytest.raises(ModelNotFoundError, match=what):
        open_control(narrow.location(tmp_path / "odd.safetensors", "sd1", "controlnet"))

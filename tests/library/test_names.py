import pytest
import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_controlnet_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from transformers import CLIPTextConfig, CLIPTextModel

from studio.library import names
from studio.library.names import DIFFUSERS, LDM

XL = {
    "block_out_channels": [320, 640, 1280],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "transformer_layers_per_block": [1, 2, 10],
    "projection_class_embeddings_input_dim": 2816,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
}
CONFIGS = {
    "sd1": {},
    "sd2": {"use_linear_projection": True},
    "sdxl": XL,
    "sdxl-refiner": XL
    | {
        "block_out_channels": [384, 768, 1536, 1536],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        "transformer_layers_per_block": 4,
        "projection_class_embeddings_input_dim": 2560,
    },
}
UP = {
    "sdxl": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "sdxl-refiner": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
}


def shapes(state):
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def empty(table, prefix=""):
    return {f"{prefix}{name}": torch.empty(shape, device="meta") for name, shape in table.items()}


def made(cls, **config):
    with torch.device("meta"):
        return cls(**config)


@pytest.mark.parametrize("base", names.PLANS)
def test_a_unets_names_and_shapes_are_those_of_diffusers_in_both_spellings(base):
    up = {"up_block_types": UP[base]} if base in UP else {}
    unet = made(UNet2DConditionModel, cross_attention_dim=names.PLANS[base].width, **CONFIGS[base], **up)
    assert names.unet_names(base, DIFFUSERS) == shapes(unet.state_dict())
    ldm = empty(names.unet_names(base, LDM), "model.diffusion_model.")
    converted = convert_ldm_unet_checkpoint(ldm, dict(unet.config))
    assert shapes(converted) == names.unet_names(base, DIFFUSERS)


@pytest.mark.parametrize("base", ["sd1", "sd2", "sdxl"])
def test_a_control_nets_names_and_shapes_are_those_of_diffusers(base):
    control = made(ControlNetModel, cross_attention_dim=names.PLANS[base].width, **CONFIGS[base])
    assert names.control_names(base, DIFFUSERS) == shapes(control.state_dict())
    if base != "sdxl":  # diffusers' converter leaves out what SDXL adds
        ldm = empty(names.control_names(base, LDM), "control_model.")
        assert shapes(convert_controlnet_checkpoint(ldm, dict(control.config))) == shapes(control.state_dict())


def test_a_vaes_names_are_those_of_diffusers_in_both_spellings():
    blocks = {"down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}
    vae = made(AutoencoderKL, block_out_channels=[128, 256, 512, 512], layers_per_block=2, **blocks)
    expected = shapes(vae.state_dict())
    ours = {name: shape[: len(expected[name])] for name, shape in names.vae_names(DIFFUSERS).items()}
    assert ours == expected  # but for the 1x1 convolutions that diffusers keeps as matrices
    converted = convert_ldm_vae_checkpoint(empty(names.vae_names(LDM), "first_stage_model."), dict(vae.config))
    assert shapes(converted) == expected


def test_a_text_encoders_names_are_those_of_transformers():
    sizes = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    state = made(CLIPTextModel, config=CLIPTextConfig(vocab_size=49408, **sizes)).state_dict()
    ours = {name.removeprefix("text_model."): shape for name, shape in names.clip_names(768, 12).items()}
    assert ours == {name.removeprefix("text_model."): shape for name, shape in shapes(state).items()}


def test_open_clips_names_become_those_of_transformers():
    sizes = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16}
    encoder = made(CLIPTextModel, config=CLIPTextConfig(vocab_size=49408, **sizes))
    state = empty(names.open_clip_names(1024, 24), "cond_stage_model.model.")
    converted = convert_open_clip_checkpoint(encoder, state, prefix="cond_stage_model.model.")
    ours = {name.removeprefix("text_model.") for name in converted} - {"embeddings.position_ids"}
    assert ours == {name.removeprefix("text_model.") for name in encoder.state_dict()}

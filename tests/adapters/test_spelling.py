"""Every spelling leads to the right parameter, on the real classes' trees and on the known base models' names."""

from functools import cache

import pytest
import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from studio.adapters.spelling import layers_of
from studio.library.names import DIFFUSERS, LDM, PLANS, clip_names, unet_names

TEXT_SIZES = {"hidden_size": 8, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2}
DOWN = "down_blocks.{}.attentions.{}.transformer_blocks.0.{}"
Q = "unet." + DOWN.format(1, 0, "attn2.to_q")
OUT = "unet." + DOWN.format(1, 0, "attn2.to_out.0")
KOHYA_Q = "down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_q"
LDM_Q = "input_blocks_4_1_transformer_blocks_0_attn2_to_q"
TEXT_Q = "encoder.layers.1.self_attn.q_proj"
KOHYA_TEXT_Q = "text_model_encoder_layers_1_self_attn_q_proj"


def tree(part, module):
    """The names of a module's parameters as the studio has them."""
    return {f"{part}.{name.removeprefix('text_model.')}" for name, _ in module.named_parameters()}


@cache
def small_sd1():
    """SD 1's form at the smallest sizes."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(block_out_channels=(8, 16, 32, 32), norm_num_groups=2, cross_attention_dim=8)
        text = CLIPTextModel(CLIPTextConfig(**TEXT_SIZES))
    return tree("unet", unet) | tree("text_encoder", text)


@cache
def small_sdxl():
    """SDXL's form at the smallest sizes."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            block_out_channels=(8, 16, 32),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10),
            norm_num_groups=2,
            cross_attention_dim=8,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=56,
        )
        text = CLIPTextModel(CLIPTextConfig(**TEXT_SIZES))
        text_2 = CLIPTextModelWithProjection(CLIPTextConfig(**TEXT_SIZES, projection_dim=8))
    return tree("unet", unet) | tree("text_encoder", text) | tree("text_encoder_2", text_2)


def known(base):
    """Every parameter of a base model."""
    names = {f"unet.{name}" for name in unet_names(base, DIFFUSERS)}
    encoders = {
        "sd1": (("text_encoder", 768, 12),),
        "sd2": (("text_encoder", 1024, 23),),
        "sdxl": (("text_encoder", 768, 12), ("text_encoder_2", 1280, 32)),
        "sdxl-refiner": (("text_encoder_2", 1280, 32),),
    }[base]
    for part, width, layers in encoders:
        names |= {f"{part}.{name.removeprefix('text_model.')}" for name in clip_names(width, layers)}
    return names


STEMS = {
    # kohya-ss/sd-scripts, in diffusers' block names and in LDM's
    f"lora_unet_{KOHYA_Q}": Q,
    f"lora_unet_{LDM_Q}": Q,
    "lora_unet_input_blocks_4_1_proj_in": "unet.down_blocks.1.attentions.0.proj_in",
    "lora_unet_input_blocks_0_0": "unet.conv_in",
    "lora_unet_input_blocks_3_0_op": "unet.down_blocks.0.downsamplers.0.conv",
    "lora_unet_input_blocks_4_0_in_layers_2": "unet.down_blocks.1.resnets.0.conv1",
    "lora_unet_input_blocks_4_0_in_layers_0": "unet.down_blocks.1.resnets.0.norm1",
    "lora_unet_middle_block_1_transformer_blocks_0_ff_net_0_proj": (
        "unet.mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj"
    ),
    "lora_unet_output_blocks_5_1_proj_out": "unet.up_blocks.1.attentions.2.proj_out",
    "lora_unet_output_blocks_5_2_conv": "unet.up_blocks.1.upsamplers.0.conv",
    "lora_unet_time_embed_0": "unet.time_embedding.linear_1",
    "lora_unet_out_2": "unet.conv_out",
    "oft_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_out_0": OUT,
    # LyCORIS
    f"lycoris_{KOHYA_Q}": Q,
    f"lycoris_{KOHYA_TEXT_Q}": f"text_encoder.{TEXT_Q}",
    # diffusers: old processors, later names, PEFT's; and without a start, as its first scripts saved
    Q.replace("to_q", "processor.to_q"): Q,
    OUT.replace("to_out.0", "processor.to_out"): OUT,
    Q: Q,
    OUT: OUT,
    Q.removeprefix("unet."): Q,
    Q.removeprefix("unet.").replace("to_q", "processor.to_q"): Q,
    f"text_encoder.text_model.{TEXT_Q}": f"text_encoder.{TEXT_Q}",
    f"text_encoder.{TEXT_Q}": f"text_encoder.{TEXT_Q}",
    "text_encoder.text_model.encoder.layers.1.self_attn.to_q": f"text_encoder.{TEXT_Q}",
    "text_encoder.text_model.encoder.layers.1.self_attn.to_out": "text_encoder.encoder.layers.1.self_attn.out_proj",
    f"base_model.model.{Q}": Q,
    f"base_model.model.{Q.removeprefix('unet.')}": Q,
    f"base_model.model.text_model.{TEXT_Q}": f"text_encoder.{TEXT_Q}",
    # LDM's and ComfyUI's
    "diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_q": Q,
    "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_q": Q,
    f"clip_l.transformer.text_model.{TEXT_Q}": f"text_encoder.{TEXT_Q}",
    f"text_encoders.clip_l.transformer.text_model.{TEXT_Q}": f"text_encoder.{TEXT_Q}",
    # OneTrainer
    "unet.input_blocks.4.1.transformer_blocks.0.attn2.to_q": Q,
    f"clip_l.text_model.{TEXT_Q}": f"text_encoder.{TEXT_Q}",
    # none of these
    "lora_unet_down_blocks_7_attentions_0_proj_in": "",
    "lora_unet_": "",
    "lora_prior_unet_down_blocks_1_attentions_0_proj_in": "",
    "lora_transformer_single_transformer_blocks_0_attn_to_q": "",
    "": "",
    ".": "",
}
ONE = {
    f"lora_te_{KOHYA_TEXT_Q}": f"text_encoder.{TEXT_Q}",
    f"lora_te1_{KOHYA_TEXT_Q}": "",
    f"lora_te2_{KOHYA_TEXT_Q}": "",
}
TWO = {
    f"lora_te_{KOHYA_TEXT_Q}": "",
    f"lora_te1_{KOHYA_TEXT_Q}": f"text_encoder.{TEXT_Q}",
    f"lora_te2_{KOHYA_TEXT_Q}": f"text_encoder_2.{TEXT_Q}",
    f"text_encoder_2.text_model.{TEXT_Q}": f"text_encoder_2.{TEXT_Q}",
    f"clip_g.transformer.text_model.{TEXT_Q}": f"text_encoder_2.{TEXT_Q}",
    "lora_te2_text_projection": "text_encoder_2.text_projection",
    "lora_unet_label_emb_0_0": "unet.add_embedding.linear_1",
    "lora_unet_input_blocks_7_1_transformer_blocks_9_ff_net_2": (
        "unet.down_blocks.2.attentions.0.transformer_blocks.9.ff.net.2"
    ),
    "lora_unet_output_blocks_2_2_conv": "unet.up_blocks.0.upsamplers.0.conv",
}


@pytest.mark.parametrize("stem", {**STEMS, **ONE})
def test_each_spelling_leads_to_its_layer_in_sd1(stem):
    assert layers_of(small_sd1()).find(stem) == {**STEMS, **ONE}[stem]


@pytest.mark.parametrize("stem", {**STEMS, **TWO})
def test_each_spelling_leads_to_its_layer_in_sdxl(stem):
    assert layers_of(small_sdxl()).find(stem) == {**STEMS, **TWO}[stem]


@pytest.mark.parametrize("base", PLANS)
def test_every_layer_of_a_base_model_is_found_in_diffusers_names_and_in_ldms(base):
    layers = layers_of(known(base))
    for names in (unet_names(base, DIFFUSERS), unet_names(base, LDM)):
        for name, right in zip(names, unet_names(base, DIFFUSERS), strict=True):
            layer, right = name.rpartition(".")[0], f"unet.{right.rpartition('.')[0]}"
            assert layers.find(f"lora_unet_{layer.replace('.', '_')}") == right
            assert layers.find(f"diffusion_model.{layer}") == right


@pytest.mark.parametrize("base", ["sd1", "sd2", "sdxl"])
def test_every_layer_of_text_encoders_is_found(base):
    layers = layers_of(known(base))
    starts = {"text_encoder": "lora_te1_" if base == "sdxl" else "lora_te_", "text_encoder_2": "lora_te2_"}
    for name in known(base):
        part, _, rest = name.rpartition(".")[0].partition(".")
        if part in starts:
            assert layers.find(f"{starts[part]}text_model_{rest.replace('.', '_')}") == f"{part}.{rest}"
            assert layers.find(f"{part}.text_model.{rest}") == f"{part}.{rest}"


def test_no_two_layers_have_one_spelling():
    """Flattened names lose where the dots were."""
    for base in PLANS:
        flat = [name.replace(".", "_") for name in unet_names(base, DIFFUSERS)]
        assert len(set(flat)) == len(flat)
        assert len({name.replace(".", "_") for name in unet_names(base, LDM)}) == len(flat)


def test_a_unet_of_another_build_has_no_ldm_names():
    """The starter's, for one: its blocks would be counted otherwise."""
    fewer = {name for name in small_sd1() if "down_blocks.0.resnets.1" not in name}
    assert layers_of(fewer).find(f"lora_unet_{KOHYA_Q}") == Q
    assert layers_of(fewer).find(f"lora_unet_{LDM_Q}") == ""

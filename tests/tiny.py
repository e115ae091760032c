"""Tiny random models: real classes at the smallest sizes, built in memory or in a folder, no download."""

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    ControlNetUnionModel,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from studio.messages import ModelLocation
from studio.params import GenerationParams

HIDDEN = 16
SIZE = 32
FACTOR = 2


def tiny_unet(seed: int = 0) -> UNet2DConditionModel:
    torch.manual_seed(seed)
    return UNet2DConditionModel(
        block_out_channels=(8, 16),
        layers_per_block=1,
        sample_size=SIZE // FACTOR,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=HIDDEN,
        norm_num_groups=2,
        attention_head_dim=2,
    )


def tiny_controlnet(unet: UNet2DConditionModel) -> ControlNetModel:
    """A ControlNet whose zero convolutions are filled: a fresh one outputs zeros and proves nothing."""
    torch.manual_seed(2)
    control = ControlNetModel.from_unet(unet, conditioning_channels=3, conditioning_embedding_out_channels=(4, 8))
    control.controlnet_cond_embedding.blocks[1].stride = (FACTOR, FACTOR)
    zeros = (*control.controlnet_down_blocks, control.controlnet_mid_block, control.controlnet_cond_embedding.conv_out)
    for block in zeros:
        torch.nn.init.normal_(block.weight, std=0.3)
    return control


def tiny_union(unet: UNet2DConditionModel) -> ControlNetUnionModel:
    """A ControlNet for six kinds of map, filled as well."""
    torch.manual_seed(6)
    config = {name: unet.config[name] for name in ("block_out_channels", "layers_per_block", "down_block_types")}
    union = ControlNetUnionModel(
        **config,
        cross_attention_dim=HIDDEN,
        norm_num_groups=2,
        attention_head_dim=2,
        conditioning_embedding_out_channels=(4, 8),
        transformer_layers_per_block=1,
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=8 * 6,
        num_attention_heads=2,
        num_trans_channel=8,
        num_proj_channel=8,
        num_trans_head=2,
        num_control_type=6,
    ).eval()
    for block in (*union.controlnet_down_blocks, union.controlnet_mid_block):
        torch.nn.init.normal_(block.weight, std=0.3)
    return union


def tiny_pipeline(seed: int = 0) -> StableDiffusionPipeline:
    unet = tiny_unet(seed)
    torch.manual_seed(seed + 1)
    vae = AutoencoderKL(
        block_out_channels=(4, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=2,
    )
    chars = [chr(i) for i in range(33, 127)]
    tokens = [*chars, *(c + "</w>" for c in chars), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=[], model_max_length=16)
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            hidden_size=HIDDEN,
            intermediate_size=32,
            num_attention_heads=2,
            num_hidden_layers=3,
            vocab_size=len(tokens),
            max_position_embeddings=16,
            bos_token_id=len(tokens) - 2,
            eos_token_id=len(tokens) - 1,
            pad_token_id=len(tokens) - 1,
        )
    )
    pipe = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            steps_offset=1,
            clip_sample=False,
            set_alpha_to_one=False,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def tiny_inpainting_unet() -> UNet2DConditionModel:
    """A UNet that takes a mask and what it keeps beside the latents."""
    torch.manual_seed(5)
    return UNet2DConditionModel(**{**tiny_unet().config, "in_channels": 9})


def tiny_sdxl_pipeline(seed: int = 0) -> StableDiffusionXLPipeline:
    """SDXL's structure: two text encoders side by side, a pooled prompt and sizes."""
    small = tiny_pipeline(seed)
    torch.manual_seed(seed + 7)
    sizes = {**small.text_encoder.config.to_dict(), "projection_dim": HIDDEN}
    unet = UNet2DConditionModel(
        block_out_channels=(8, 16),
        layers_per_block=1,
        sample_size=SIZE // FACTOR,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=2 * HIDDEN,
        norm_num_groups=2,
        attention_head_dim=2,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=HIDDEN + 6 * 8,
    )
    pipe = StableDiffusionXLPipeline(
        vae=small.vae,
        text_encoder=small.text_encoder,
        text_encoder_2=CLIPTextModelWithProjection(CLIPTextConfig(**sizes)),
        tokenizer=small.tokenizer,
        tokenizer_2=small.tokenizer,
        unet=unet,
        scheduler=small.scheduler,
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def location(folder: Path, kind: str = "checkpoint") -> ModelLocation:
    return ModelLocation(folder.name, f"id-{folder.name}", str(folder), kind, "tiny", {"native_size": SIZE})


def params(**changed: object) -> GenerationParams:
    plain = {
        "prompt": "a cat",
        "negative_prompt": "dog",
        "checkpoint": "tiny",
        "checkpoint_id": "id-tiny",
        "width": SIZE,
        "height": SIZE,
        "num_inference_steps": 4,
        "guidance_scale": 5.0,
        "scheduler": "ddim",
        "seed": 3,
    }
    return GenerationParams(**plain | changed)

"""How the networks of each base model are built: what a file of weights alone does not say.

Source: the configurations that come with the diffusers folders of SD 1.5, SD 2.1, SDXL base and SDXL refiner.
"""

from collections.abc import Mapping
from typing import Any

Config = dict[str, Any]
Shape = tuple[int, ...]

CLIP = {
    "vocab_size": 49408,
    "max_position_embeddings": 77,
    "layer_norm_eps": 1e-5,
    "bos_token_id": 49406,
    "eos_token_id": 49407,
    "pad_token_id": 49407,
}
CLIP_L = CLIP | {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "hidden_act": "quick_gelu",
    "projection_dim": 768,
}
# SD 2 reads the last layer but one, so diffusers builds 23 of the 24.
OPEN_CLIP_H = CLIP | {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_attention_heads": 16,
    "num_hidden_layers": 23,
    "hidden_act": "gelu",
    "projection_dim": 512,
    "pad_token_id": 0,
}
OPEN_CLIP_G = CLIP | {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_attention_heads": 20,
    "num_hidden_layers": 32,
    "hidden_act": "gelu",
    "projection_dim": 1280,
    "pad_token_id": 0,
}
PLAIN, CROSS = "DownBlock2D", "CrossAttnDownBlock2D"
UNET: Config = {
    "in_channels": 4,
    "out_channels": 4,
    "layers_per_block": 2,
    "block_out_channels": [320, 640, 1280, 1280],
    "down_block_types": [CROSS, CROSS, CROSS, PLAIN],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "norm_num_groups": 32,
    "sample_size": 64,
}
# attention_head_dim of diffusers' UNets is the number of heads; from SD 2 on each head is 64 wide.
HEAD_WIDTH = 64
UNET_2 = UNET | {"cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20], "use_linear_projection": True}
TEXT_TIME: Config = {
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "sample_size": 128,
}
UNET_XL = UNET | {
    **TEXT_TIME,
    "block_out_channels": [320, 640, 1280],
    "down_block_types": [PLAIN, CROSS, CROSS],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "cross_attention_dim": 2048,
    "attention_head_dim": [5, 10, 20],
    "transformer_layers_per_block": [1, 2, 10],
    "projection_class_embeddings_input_dim": 2816,
}
UNET_REFINER = UNET | {
    **TEXT_TIME,
    "block_out_channels": [384, 768, 1536, 1536],
    "down_block_types": [PLAIN, CROSS, CROSS, PLAIN],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "cross_attention_dim": 1280,
    "attention_head_dim": [6, 12, 24, 24],
    "transformer_layers_per_block": 4,
    "projection_class_embeddings_input_dim": 2560,
}
VAE: Config = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 2,
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "norm_num_groups": 32,
    "sample_size": 512,
    "scaling_factor": 0.18215,
}
VAE_XL = VAE | {"sample_size": 1024, "scaling_factor": 0.13025, "force_upcast": True}
CLASSES = {
    "unet": "UNet2DConditionModel",
    "vae": "AutoencoderKL",
    "text_encoder": "CLIPTextModel",
    "text_encoder_2": "CLIPTextModelWithProjection",
}
CONFIGS: dict[str, dict[str, Config]] = {
    "sd1": {"unet": UNET, "vae": VAE, "text_encoder": CLIP_L},
    "sd2": {"unet": UNET_2, "vae": VAE, "text_encoder": OPEN_CLIP_H},
    "sdxl": {"unet": UNET_XL, "vae": VAE_XL, "text_encoder": CLIP_L, "text_encoder_2": OPEN_CLIP_G},
    "sdxl-refiner": {"unet": UNET_REFINER, "vae": VAE_XL, "text_encoder_2": OPEN_CLIP_G},
}
# The schedule of noise that all of them were trained on.
NOISE: Config = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "timestep_spacing": "leading",
    "prediction_type": "epsilon",
}


def control_config(shapes: Mapping[str, Shape]) -> Config:
    """The configuration of a ControlNet, from the shapes of its tensors under diffusers' names.

    Raises: KeyError, naming the tensor that every ControlNet has and this one does not.
    """
    levels = range(_count(shapes, "down_blocks."))
    depths = [_count(shapes, f"down_blocks.{level}.attentions.0.transformer_blocks.") for level in levels]
    middle = _count(shapes, "mid_block.attentions.0.transformer_blocks.")
    channels = [shapes[f"down_blocks.{level}.resnets.0.conv1.weight"][0] for level in levels]
    width = _first(shapes, ".attn2.to_k.weight", (UNET["cross_attention_dim"],))[-1]
    linear = len(_first(shapes, ".proj_in.weight", ())) == 2
    hint = "controlnet_cond_embedding"
    steps = [f"{hint}.blocks.{2 * step + 1}.weight" for step in range(_count(shapes, f"{hint}.blocks.") // 2)]
    added = shapes.get("add_embedding.linear_1.weight")
    return {
        "in_channels": shapes["conv_in.weight"][1],
        "conditioning_channels": shapes[f"{hint}.conv_in.weight"][1],
        "conditioning_embedding_out_channels": [shapes[name][0] for name in (f"{hint}.conv_in.weight", *steps)],
        "layers_per_block": _count(shapes, "down_blocks.0.resnets."),
        "block_out_channels": channels,
        "down_block_types": [CROSS if depth else PLAIN for depth in depths],
        "mid_block_type": "UNetMidBlock2DCrossAttn" if middle else "UNetMidBlock2D",
        "transformer_layers_per_block": [*(depth or 1 for depth in depths[:-1]), middle or depths[-1] or 1],
        "cross_attention_dim": width,
        "attention_head_dim": [size // HEAD_WIDTH for size in channels] if linear else 8,
        "use_linear_projection": linear,
        **({} if added is None else _text_time(added)),
    }


def _text_time(added: Shape) -> Config:
    return {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": TEXT_TIME["addition_time_embed_dim"],
        "projection_class_embeddings_input_dim": added[1],
    }


def _count(shapes: Mapping[str, Shape], start: str) -> int:
    """How many numbers follow `start` in the names."""
    return len({name[len(start) :].split(".", 1)[0] for name in shapes if name.startswith(start)})


def _first(shapes: Mapping[str, Shape], end: str, default: Shape) -> Shape:
    return next((shape for name, shape in shapes.items() if name.endswith(end)), default)

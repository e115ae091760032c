"""Checkpoints with the block structure of the real ones and narrow layers: random tensors, and the files they make."""

import torch

from studio.engine.configs import CLASSES, CONFIGS
from studio.engine.save import save_checkpoint
from studio.engine.skeletons import expected_shapes
from studio.messages import ModelLocation

CLIP = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "vocab_size": 50, "projection_dim": 16}
CLIP_2 = CLIP | {"hidden_size": 24, "projection_dim": 24}  # diffusers tells SDXL's two encoders apart by their widths
LEVELS = {"sd1": (8, 16, 32, 32), "sd2": (8, 16, 32, 32), "sdxl": (8, 16, 32), "sdxl-refiner": (8, 16, 32, 32)}
XL = {"addition_time_embed_dim": 4, "projection_class_embeddings_input_dim": 40, "cross_attention_dim": 32}


def configs(base):
    """The base model's configurations with other widths."""
    unet = {"block_out_channels": list(LEVELS[base]), "norm_num_groups": 4, "cross_attention_dim": 16}
    unet |= {"attention_head_dim": 2} | (XL if base.startswith("sdxl") else {})
    narrow = {
        "unet": unet,
        "vae": {"block_out_channels": [4, 8, 16, 16], "norm_num_groups": 2},
        "text_encoder": CLIP,
        "text_encoder_2": CLIP_2,
    }
    return {name: config | narrow[name] for name, config in CONFIGS[base].items()}


def tensors(class_name, config, dtype=torch.float16, seed=0):
    """Random tensors for every name of the class."""
    rng = torch.Generator().manual_seed(seed)
    shapes = expected_shapes(class_name, config)
    return {name: torch.randn(shape, generator=rng).to(dtype) for name, shape in shapes.items()}


def parts(base, dtype=torch.float16):
    """A whole checkpoint, as tensors by part and name."""
    return {
        name: tensors(CLASSES[name], config, dtype, seed=number)
        for number, (name, config) in enumerate(configs(base).items())
    }


def write(file, base, dtype=torch.float16):
    """A checkpoint as one file; its parts."""
    made = parts(base, dtype)
    save_checkpoint(made, base, file)
    return made


def location(file, base, kind="checkpoint", **card):
    return ModelLocation(file.stem, f"id-{file.stem}", str(file), kind, base, card)

"""Where each tensor of diffusers' classes lies in a single file, in the layout of the original repositories (LDM).

UNet, ControlNet and autoencoder are renamed tensor by tensor, by the tables in library/names.py. Text encoders are
renamed by rule: transformers' own names for CLIP-L, open_clip's for the others, which keep q, k and v in one tensor.
"""

import re
from functools import lru_cache
from typing import NamedTuple

from studio.library.names import DIFFUSERS, LDM, control_names, unet_names, vae_names

Shape = tuple[int, ...]
UNET, VAE, CONTROL, CLIP, OPEN_CLIP = "unet", "vae", "control", "clip", "open_clip"
CONTROL_PREFIX = "control_model."
PREFIXES = {
    "sd1": {
        "unet": ("model.diffusion_model.", UNET),
        "vae": ("first_stage_model.", VAE),
        "text_encoder": ("cond_stage_model.transformer.", CLIP),
    },
    "sd2": {
        "unet": ("model.diffusion_model.", UNET),
        "vae": ("first_stage_model.", VAE),
        "text_encoder": ("cond_stage_model.model.", OPEN_CLIP),
    },
    "sdxl": {
        "unet": ("model.diffusion_model.", UNET),
        "vae": ("first_stage_model.", VAE),
        "text_encoder": ("conditioner.embedders.0.transformer.", CLIP),
        "text_encoder_2": ("conditioner.embedders.1.model.", OPEN_CLIP),
    },
    "sdxl-refiner": {
        "unet": ("model.diffusion_model.", UNET),
        "vae": ("first_stage_model.", VAE),
        "text_encoder_2": ("conditioner.embedders.0.model.", OPEN_CLIP),
    },
}
# Where some programs put a part instead: SD-Turbo, which is an SD 2, was trained by SDXL's.
OTHER_PREFIXES = {("sd2", "text_encoder"): "conditioner.embedders.0.model."}
# Begins the names in CLIPTextModelWithProjection, and those in CLIPTextModel before transformers 5.6.
TEXT_MODEL = "text_model."
OPEN_CLIP_TOP = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.weight": "ln_final.weight",
    "final_layer_norm.bias": "ln_final.bias",
}
OPEN_CLIP_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
SAME, TRANSPOSED, CONV = "same", "transposed", "conv"
THIRDS = ("first third", "second third", "last third")
LAYER = re.compile(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
# The autoencoder's attention under other names that files and folders have.
LDM_ATTENTION = {"q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
OLD_ATTENTION = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
# What files hold beside their parts, and nobody needs.
NEEDLESS = re.compile(
    r"(model_ema|embedding_manager|first_stage_model\.(loss|model_ema)|loss|denoiser|depth_model)\."
    r"|(alphas|betas|log|posterior|sqrt)_?\w*$|lvlb_weights$|(v_pred|ztsnr|global_step)$"
    r"|.*(\.position_ids|\.logit_scale|\.attn_mask|\.text_projection)$"
    r"|cond_stage_model\.model\.transformer\.resblocks\.23\."
)


class Place(NamedTuple):
    """Where a tensor lies: the name in the file, and how the stored one becomes ours."""

    name: str
    form: str = SAME


@lru_cache(maxsize=8192)  # a few base models; each swap asks for all of one
def places_of(name: str, base: str, spelling: str, prefix: str = "") -> tuple[Place, ...]:
    """Where the tensor that diffusers or transformers call `name` lies; then, where some programs put it.

    Raises: KeyError, if that base model has no such tensor.
    """
    place = _place_of(name, base, spelling)
    found = [place, *(Place(other, place.form) for other in _other_names(place.name, spelling))]
    return tuple(Place(prefix + place.name, place.form) for place in found)


def folder_places(name: str) -> list[Place]:
    """Where the tensor lies in a diffusers folder; then, where other versions of diffusers and transformers put it."""
    if found := re.fullmatch(r"(.+\.attentions\.\d+\.)(to_[qkv]|to_out\.0)(\.\w+)", name):
        return [Place(name), Place(f"{found[1]}{OLD_ATTENTION[found[2]]}{found[3]}")]
    return [Place(name), Place(TEXT_MODEL + name), Place(name.removeprefix(TEXT_MODEL))]


def control_places(base: str, prefix: str) -> dict[str, Place]:
    """Where each tensor of a ControlNet for that base model lies, by diffusers' names."""
    return {name: Place(prefix + found) for name, found in _table(base, CONTROL).items()}


@lru_cache(maxsize=16)
def _table(base: str, spelling: str) -> dict[str, str]:
    if spelling == VAE:
        return dict(zip(vae_names(DIFFUSERS), vae_names(LDM), strict=True))
    names = unet_names if spelling == UNET else control_names
    return dict(zip(names(base, DIFFUSERS), names(base, LDM), strict=True))


def _place_of(name: str, base: str, spelling: str) -> Place:
    if spelling == CLIP:
        return Place(TEXT_MODEL + name.removeprefix(TEXT_MODEL))
    if spelling == OPEN_CLIP:
        return _open_clip(name.removeprefix(TEXT_MODEL))
    attention = spelling == VAE and re.search(r"\.attentions\.\d\.to_\w+(\.0)?\.weight$", name)
    return Place(_table(base, spelling)[name], CONV if attention else SAME)


def _other_names(name: str, spelling: str) -> list[str]:
    if spelling == CLIP:
        return [name.removeprefix(TEXT_MODEL)]
    if spelling == VAE and ".attn_1." in name:
        start, _, end = name.rpartition(".attn_1.")
        part, _, kind = end.rpartition(".")
        return [f"{start}.attn_1.{LDM_ATTENTION[part]}.{kind}"] if part in LDM_ATTENTION else []
    return []


def _open_clip(name: str) -> Place:
    if name == "text_projection.weight":
        return Place("text_projection", TRANSPOSED)
    if name in OPEN_CLIP_TOP:
        return Place(OPEN_CLIP_TOP[name])
    found = LAYER.fullmatch(name)
    if found is None:
        raise KeyError(name)
    layer, part, kind = found.groups()
    start = f"transformer.resblocks.{layer}"
    if third := re.fullmatch(r"self_attn\.([qkv])_proj", part):
        return Place(f"{start}.attn.in_proj_{kind}", THIRDS["qkv".index(third[1])])
    return Place(f"{start}.{OPEN_CLIP_LAYER[part]}.{kind}")

"""Checkpoints in one file: UNet, text encoders and VAE in LDM's layout, or a UNet alone."""

import math
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace

from studio.library.card import Card
from studio.library.identity import BASE_NAMES, Identity
from studio.library.names import (
    BASES_BY_WIDTH,
    DIFFUSERS,
    LDM,
    Names,
    clip_names,
    open_clip_names,
    unet_names,
    vae_names,
)
from studio.library.rules.subject import SURE, Fit, Subject, fit

UNET = "model.diffusion_model."
VAE = "first_stage_model."
CONV_IN = ("input_blocks.0.0.weight", "conv_in.weight")  # in each spelling
VARIANTS = {4: "normal", 9: "inpaint", 5: "depth", 8: "edit"}
USABLE_VARIANTS = ("normal", "inpaint")
USABLE_BASES = ("sd1", "sd2", "sdxl")
MORE_CHANNELS = {
    "depth": "Checkpoints that take a depth map beside the picture (5 channels) cannot be used yet.",
    "edit": "Checkpoints that edit by instruction (8 channels) cannot be used yet.",
}


@dataclass(frozen=True)
class Encoder:
    """A text encoder of a base model: where it lies, and what it is made of."""

    prefix: str
    names: Names
    optional: bool = False


def _clip(prefix: str, start: str = "text_model.") -> Encoder:
    return Encoder(prefix, {start + name.removeprefix("text_model."): s for name, s in clip_names(768, 12).items()})


def _big(prefix: str) -> Encoder:
    return Encoder(prefix, {**open_clip_names(1280, 32), "text_projection": (1280, 1280)})


ENCODERS: dict[str, tuple[tuple[Encoder, ...], ...]] = {  # for each base, the ways in which they are stored
    "sd1": (  # early programs left out what wraps the encoder
        (_clip("cond_stage_model.transformer."),),
        (_clip("cond_stage_model.transformer.", start=""),),
    ),
    "sd2": (  # only 23 of 24 layers are used; some programs leave the last one out
        (Encoder("cond_stage_model.model.", open_clip_names(1024, 23)),),
        (Encoder("conditioner.embedders.0.model.", open_clip_names(1024, 23)),),
    ),
    "sdxl": (
        (_clip("conditioner.embedders.0.transformer."), _big("conditioner.embedders.1.model.")),
        (_clip("conditioner.embedders.0.transformer.", start=""), _big("conditioner.embedders.1.model.")),
    ),
    "sdxl-refiner": ((Encoder("conditioner.embedders.0.model.", open_clip_names(1280, 32)),),),
}
TEXT_ROOTS = ("cond_stage_model", "conditioner")
OTHER_NETWORKS = (  # parts of networks that are built around a UNet like ours, and make it another one
    ("label_emb", "an input that only unCLIP models have"),
    ("encoder_hid_proj", "an input for another text encoder, as Kolors has"),
    *(
        (mark, "layers over time: it makes videos")
        for mark in ("time_stack", "time_mixer", "temporal", "motion_module")
    ),
)
ADDED = (  # parts that were put into a UNet of ours
    ("fuser", "GLIGEN's layers"),
    ("_ip.weight", "an IP-Adapter's layers"),
    ("lora_", "a LoRA's matrices beside its weights"),
    ("cond_proj", "an input for the guidance scale"),
    ("scale_weight", "weights that were scaled to 8 bits"),
)
BY_EDM = {
    "edm_mean": "Checkpoints that were trained by EDM's rules, such as Playground 2.5, cannot be used yet.",
    "edm_vpred.sigma_max": "Checkpoints that were trained by EDM's rules, such as CosXL, cannot be used yet.",
}
NATIVE_SIZES = {"sd1": 512, "sd2": 512, "sdxl": 1024, "sdxl-refiner": 1024}
SPREAD_KEY = f"{UNET}output_blocks.11.1.transformer_blocks.0.norm1.bias"
SPREAD = 0.09


def recognise(subject: Subject) -> Identity | None:
    """A checkpoint, or a UNet alone; None if it is none."""
    for spelling, prefix, first, last in (
        (LDM, UNET, "input_blocks.", "output_blocks."),
        (LDM, "", "input_blocks.", "output_blocks."),
        (DIFFUSERS, "", "down_blocks.", "up_blocks."),
    ):
        if _has(subject, f"{prefix}{first}") and _has(subject, f"{prefix}{last}"):
            return _unet(subject, spelling, prefix)
    return None


def _has(subject: Subject, prefix: str) -> bool:
    return subject.roots.get(prefix.partition(".")[0], 0) > 0 and subject.under(prefix)


def _unet(subject: Subject, spelling: int, prefix: str) -> Identity | None:
    widths = {
        info.shape[1:2]
        for name, info in subject.tensors.items()
        if name.startswith(prefix) and name.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))
    }
    width = next(iter(widths))[0] if len(widths) == 1 and () not in widths else 0
    base = BASES_BY_WIDTH.get(width, "")
    if not base:
        about = f"of widths {sorted(widths)[:4]}" if len(widths) > 1 else f"of width {width}"
        reason = f"Its UNet reads texts {about}, which is none of SD 1, SD 2 and SDXL."
        return _named(subject, "unknown", 0, width, reason) if widths else None
    expected = unet_names(base, spelling)
    found = fit(subject, expected, prefix, (CONV_IN[spelling],))
    channels = subject.size(f"{prefix}{CONV_IN[spelling]}", 1)
    more = [name for name in subject.tensors if name.startswith(prefix) and name[len(prefix) :] not in expected]
    if found.share < SURE or found.wrong:
        reason = f"Its UNet is not that of {BASE_NAMES[base]}, though as wide: {found.fault}."
        return _named(subject, "unknown", channels, width, reason)
    if other := _mark(more, OTHER_NETWORKS) or _foreign_text(subject, base):
        return _named(subject, "unknown", channels, width, other)
    reason = _refusal(subject, base, channels, prefix) or _mark(more, ADDED)
    return _named(subject, base, channels, width, reason or _incomplete("UNet", found))


def _mark(names: list[str], table: tuple[tuple[str, str], ...]) -> str:
    return next(
        (f"Its UNet has {what}, and cannot be used yet." for mark, what in table for name in names if mark in name), ""
    )


def _incomplete(what: str, found: Fit) -> str:
    return f"Its {what} is incomplete: {found.fault}." if found.fault else ""


def _named(subject: Subject, base: str, channels: int, width: int, reason: str) -> Identity:
    found = Identity(
        kind="checkpoint",
        base=base,
        variant=VARIANTS.get(channels, "unknown") if channels else "normal",
        precision=subject.precision,
        usable=not reason,
        reason=reason,
        width=width,
        trigger_words=subject.triggers,
        evidence=f"Its UNet reads texts of width {width} and takes {channels} channels." if channels else "",
    )
    if base == "unknown":
        return replace(found, possible=())
    prediction, zero, how = _prediction(subject, base, found.variant)
    found = replace(
        found, prediction_type=prediction, zero_snr=zero, evidence=f"{found.evidence} {how}".strip(), usable=not reason
    )
    return replace(found, card=_card(subject, found))


def _card(subject: Subject, found: Identity) -> Card:
    """Defaults for a checkpoint that says nothing of them itself."""
    size = 768 if (found.base, found.prediction_type) == ("sd2", "v_prediction") else NATIVE_SIZES[found.base]
    said = re.fullmatch(r"(\d{3,4})(x\1)?", subject.header.metadata.get("modelspec.resolution", ""))
    return Card(
        name=subject.name,
        base=found.base,
        native_size=int(said[1]) // 8 * 8 if said else size,
        prediction_type=found.prediction_type or "epsilon",
        timestep_spacing="trailing" if found.zero_snr else "leading",
    )


def _foreign_text(subject: Subject, base: str) -> str:
    """Why the text encoder is not that of the UNet's base model; "" if it is, or if there is none."""
    ways = ENCODERS[base]
    known = {encoder.prefix for way in ways for encoder in way}
    others = {encoder.prefix for ways in ENCODERS.values() for way in ways for encoder in way} - known
    if any(_has(subject, prefix) for prefix in others) and not any(_has(subject, prefix) for prefix in known):
        return f"Its UNet is that of {BASE_NAMES[base]}, its text encoder is not."
    return ""


def _refusal(subject: Subject, base: str, channels: int, prefix: str) -> str:
    variant = VARIANTS.get(channels, "unknown")
    if base not in USABLE_BASES:
        return "The SDXL refiner cannot be used yet: it only finishes what a base checkpoint began."
    if variant not in USABLE_VARIANTS:
        return MORE_CHANNELS.get(variant, f"Its UNet takes {channels} channels; only 4 and 9 can be used.")
    if by_edm := next((reason for mark, reason in BY_EDM.items() if mark in subject.tensors), ""):
        return by_edm
    if prefix != UNET or not any(subject.roots.get(root) for root in TEXT_ROOTS):
        return "It holds a UNet without text encoder, which cannot be used yet: take the whole checkpoint."
    ways = [[fit(subject, encoder.names, encoder.prefix) for encoder in way] for way in ENCODERS[base]]
    nearest = max(ways, key=lambda way: sum(found.share for found in way))
    if fault := next(filter(None, (_incomplete("text encoder", found) for found in nearest)), ""):
        return fault
    if not _has(subject, VAE):
        return "It holds no VAE, and cannot be used yet without: take a file that has one."
    return _incomplete("VAE", fit(subject, vae_names(LDM), VAE))


def _prediction(subject: Subject, base: str, variant: str) -> tuple[str, bool, str]:
    """What the UNet predicts, whether its schedule ends in pure noise, and how we know.

    Source: the marks `v_pred` and `ztsnr`, and the spread of one tensor for SD 2, are ComfyUI's
        (comfy/supported_models.py, SDXL.model_type and SD20.model_type); `parameterization` is LDM's, in the .yaml that
        A1111 keeps beside a file.
    """
    tensors, said = subject.tensors, subject.header.metadata
    zero = ends_in_noise(tensors, said)
    if "edm_mean" in tensors:
        return "", zero, "A mark in the file says that it was trained by EDM's rules."
    if "v_pred" in tensors or "edm_vpred.sigma_max" in tensors:
        return "v_prediction", zero, "A mark in the file says that it predicts v."
    for name in ("modelspec.prediction_type", "modelspec.predict_key"):
        if (value := said.get(name, "").lower()) in ("v", "v_prediction"):
            return "v_prediction", zero, "Its metadata says that it predicts v."
        if value == "epsilon":
            return "epsilon", zero, "Its metadata says that it predicts the noise."
    if re.search(r"""parameterization:\s*["']?v\b""", subject.beside()):
        return "v_prediction", zero, "The .yaml beside it says that it predicts v."
    prediction, how = _by_spread(subject, variant) if base == "sd2" else ("epsilon", "Nothing says that it predicts v.")
    return prediction, zero, how


def ends_in_noise(names: Container[str], metadata: Mapping[str, str]) -> bool:
    """Whether a file says that its schedule ends in pure noise: by ComfyUI's mark, or by kohya's metadata."""
    return "ztsnr" in names or metadata.get("ss_zero_terminal_snr", "").lower() == "true"


def _by_spread(subject: Subject, variant: str) -> tuple[str, str]:
    if variant != "normal":
        return "epsilon", "No SD 2 checkpoint with more than 4 channels predicts v."
    values = subject.values(SPREAD_KEY) if SPREAD_KEY in subject.tensors else ()
    mean = math.fsum(values) / len(values) if values else 0.0
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values)) if values else 0.0
    if not 0 < spread < math.inf:
        return "", "Whether it predicts the noise or v, as SD 2 checkpoints may, cannot be told: set it here."
    prediction = "v_prediction" if spread > SPREAD else "epsilon"
    what = "v" if prediction == "v_prediction" else "the noise"
    return (
        prediction,
        f"By the spread of one of its tensors ({spread:.3f}) it predicts {what}; correct it if that is wrong.",
    )

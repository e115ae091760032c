"""VAE and TAESD: what turns latents into pictures and back."""

import re
from dataclasses import replace

from studio.library.identity import Identity
from studio.library.names import DIFFUSERS, LDM, Names, Shape, vae_names
from studio.library.rules.subject import LIKELY, Subject, fit

ROOTS = {"encoder", "decoder", "quant_conv", "post_quant_conv", "loss", "model_ema", "first_stage_model"}
LAYOUTS = ((LDM, "first_stage_model."), (LDM, ""), (DIFFUSERS, ""))
OLD_ATTENTION = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}  # diffusers before 0.17
SDXL_NAME = r"sdxl|(^|[^a-z0-9])xl([^a-z0-9]|$)"
SD1_NAME = r"vae-ft-(mse|ema)|kl-f8"
SHARED = "SD 1, SD 2 and SDXL share its layout"
TINY_SIZE = 64


def recognise(subject: Subject) -> Identity | None:
    """A VAE or a TAESD; None if it is neither."""
    return _vae(subject) or _taesd(subject)


def _vae(subject: Subject) -> Identity | None:
    if not subject.roots.keys() <= ROOTS:
        return None
    best = max((fit(subject, names, prefix) for names, prefix in _layouts()), key=lambda found: found.share)
    if best.share < LIKELY:
        return None
    base, how = _base(subject)
    found = Identity(kind="vae", base=base, precision=subject.precision, evidence=f"It is built like a VAE; {how}.")
    latents = max(subject.size(f"{prefix}decoder.conv_in.weight", 1) for prefix in ("", "first_stage_model."))
    if latents not in (0, 4):
        reason = f"Its latents have {latents} channels: it is for newer models than the studio knows."
        return replace(found, base="unknown", reason=reason, possible=())
    reason = f"It is incomplete: {best.fault}." if best.fault else ""
    return replace(found, usable=not reason, reason=reason)


def _layouts() -> list[tuple[Names, str]]:
    old = {_old(name): shape for name, shape in vae_names(DIFFUSERS).items()}
    return [*((vae_names(spelling), prefix) for spelling, prefix in LAYOUTS), (old, "")]


def _old(name: str) -> str:
    attention = re.sub(r"\b(to_q|to_k|to_v|to_out\.0)\b", lambda part: OLD_ATTENTION[part[0]], name)
    return attention if ".attentions." in name else name


def _base(subject: Subject) -> tuple[str, str]:
    """A guess by the file's name: only the numbers differ."""
    if subject.said_base:
        return subject.said_base, "its metadata says for which base model"
    if subject.name_has(SDXL_NAME):
        return "sdxl", f"{SHARED}, and its name says SDXL"
    if subject.name_has(SD1_NAME):
        return "sd1", f"{SHARED}, and its name is that of one for SD 1 and SD 2"
    return "unknown", f"{SHARED}, and only its pictures tell for which it is"


def _taesd(subject: Subject) -> Identity | None:
    """A tiny autoencoder, whole or a half of it.

    Source: madebyollin/taesd, taesd.py; diffusers, models/autoencoders/autoencoder_tiny.py.
    """
    latents = _halves(subject)
    if not latents:
        return None
    tiny = "Tiny autoencoders are for previews; the studio cannot use them yet."
    base = "sdxl" if subject.name_has(r"taesd_?xl") else "unknown"
    how = "its name says SDXL" if base == "sdxl" else f"{SHARED}"
    if latents != {4}:
        base, how, tiny = (
            "unknown",
            "its latents are not of 4 channels",
            "It is for newer models than the studio knows.",
        )
    return Identity(
        kind="taesd",
        base=base,
        precision=subject.precision,
        reason=tiny,
        evidence=f"It is built like a TAESD; {how}.",
        possible=None if latents == {4} else (),
    )


def _halves(subject: Subject) -> set[int]:
    """Latent channels of the encoder and of the decoder that are there; empty if it is no TAESD."""
    if subject.roots.keys() - {"encoder", "decoder"} and not _numbered(subject):
        return set()
    starts = ("", "encoder.layers.", "decoder.layers.", "encoder.", "decoder.")
    found: set[int] = set()
    for start in starts:
        first, second = (subject.shape(f"{start}{place}.weight") for place in (0, 1))
        inner = subject.shape(f"{start}1.conv.0.weight")
        if first == (TINY_SIZE, 3, 3, 3) and inner[:2] == (TINY_SIZE, TINY_SIZE):
            found.add(subject.size(f"{start}14.weight", 0))
        for shape, block in ((second, 3), (first, 2)):  # diffusers numbers the decoder without its clamp
            if _is_decoder(shape) and subject.shape(f"{start}{block}.conv.0.weight")[:2] == (TINY_SIZE, TINY_SIZE):
                found.add(shape[1])
    return found


def _numbered(subject: Subject) -> bool:
    return all(root.isdigit() for root in subject.roots)


def _is_decoder(shape: Shape) -> bool:
    return len(shape) == 4 and shape[0] == TINY_SIZE and shape[1] != 3

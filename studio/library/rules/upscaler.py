"""Upscalers, by the names of their tensors; the worker, where spandrel is, says more of them.

Source: spandrel 0.4.2, architectures/*/__init__.py (`detect`), which will load them.
"""

from dataclasses import dataclass, replace

from studio.library.identity import Identity
from studio.library.rules.subject import Subject

PREFIXES = ("", "module.", "netG.", "model_g.", "generator.", "params_ema.", "params.")
SWIN = ("layers.0.residual_group.blocks.0.norm1.weight", "layers.0.residual_group.blocks.0.mlp.fc1.bias")
SWIN_INDEX = "layers.0.residual_group.blocks.0.attn.relative_position_index"
WINDOWS = ("layers.0.blocks.0.attn.attns.0.rpe_biases", "before_RG.1.weight", "conv_first.weight")
ARCHITECTURES = (  # the most special first
    ("ESRGAN", ("model.0.weight", "model.1.sub.0.RDB1.conv1.0.weight")),
    ("ESRGAN+", ("model.0.weight", "model.1.sub.0.RDB1.conv1x1.weight")),
    ("Real-ESRGAN", ("conv_first.weight", "body.0.rdb1.conv1.weight", "conv_body.weight", "conv_last.weight")),
    ("RRDBNet", ("conv_first.weight", "RRDB_trunk.0.RDB1.conv1.weight", "trunk_conv.weight", "conv_last.weight")),
    ("HAT", ("conv_first.weight", *SWIN, "layers.0.residual_group.overlap_attn.relative_position_bias_table")),
    ("Swin2SR", ("conv_first.weight", *SWIN, SWIN_INDEX, "patch_embed.proj.weight")),
    ("SwinIR", ("conv_first.weight", *SWIN, SWIN_INDEX)),
    ("SwinIR", ("conv_first.1.weight", *SWIN, SWIN_INDEX)),
    ("DAT", (*WINDOWS, "layers.0.blocks.0.ffn.fc1.weight", "layers.0.blocks.0.attn.dwconv.0.weight")),
    ("RGT", (*WINDOWS, "layers.0.blocks.0.gamma", "layers.0.blocks.0.mlp.fc1.weight")),
    ("DRCT", ("conv_first.weight", "layers.0.swin1.norm1.weight", "layers.0.adjust1.weight")),
    ("ATD", ("conv_first.weight", "relative_position_index_SA", "layers.0.residual_group.td")),
    ("GRL", ("conv_first.weight", "norm_start.weight", "norm_end.weight")),
    ("SPAN", ("conv_1.sk.weight", "block_1.c1_r.sk.weight", "conv_cat.weight", "upsampler.0.weight")),
    ("OmniSR", ("residual_layer.0.residual_layer.0.layer.0.fn.0.weight", "input.weight", "up.0.weight")),
    ("PLKSR", ("feats.0.weight", "feats.1.refine.weight")),
    ("SCUNet", ("m_head.0.weight", "m_tail.0.weight")),
    ("Real-CUGAN", ("unet1.conv1.conv.0.weight", "unet1.conv1_down.weight", "unet2.conv1.conv.0.weight")),
    ("MoSR", ("gblocks.0.weight", "gblocks.1.norm.weight", "gblocks.1.fc1.weight")),
)
REASON = "Upscalers cannot be used yet: enlarging comes with a later version."


@dataclass(frozen=True)
class Described:
    """What spandrel says of a file: the architecture, "" if it knows none; by how much a side grows; the channels that
    go in and come out."""

    family: str = ""
    scale: int = 0
    channels: tuple[int, int] = (0, 0)


def confirmed(identity: Identity, said: Described) -> Identity:
    """The identity with what spandrel said; where it knows nothing, the names of the tensors stand."""
    if not said.family or identity.kind not in ("upscaler", "unknown"):
        return replace(identity, asked=True)
    return replace(
        identity,
        kind="upscaler",
        family=said.family,
        scale=said.scale,
        channels=said.channels,
        reason=REASON,
        evidence=f"spandrel, which reads upscalers, takes it for {said.family}.",
        possible=(),
        asked=True,
    )


def recognise(subject: Subject) -> Identity | None:
    """An upscaler; None if it is none that is known here."""
    for prefix in PREFIXES:
        for family, names in ARCHITECTURES:
            if all(f"{prefix}{name}" in subject.tensors for name in names):
                return _named(subject, family)
        if _is_compact(subject, prefix):
            return _named(subject, "Real-ESRGAN Compact")
    return None


def _is_compact(subject: Subject, prefix: str) -> bool:
    """A plain row of convolutions with activations between: body.0 takes a picture, body.1 is an activation's slope."""
    return (
        subject.shape(f"{prefix}body.0.weight")[1:] in ((3, 3, 3), (1, 3, 3))
        and len(subject.shape(f"{prefix}body.1.weight")) == 1
        and all(name.removeprefix(prefix).startswith("body.") for name in subject.tensors)
    )


def _named(subject: Subject, family: str) -> Identity:
    return Identity(
        kind="upscaler",
        family=family,
        precision=subject.precision,
        reason=REASON,
        evidence=f"Its tensors have the names of {family}'s.",
        possible=(),  # it enlarges any picture
    )

"""ControlNets and their kin, and T2I-Adapters."""

from dataclasses import dataclass, replace

from studio.library.header import shown
from studio.library.identity import BASE_NAMES, Identity, guess_control_kind
from studio.library.names import BASES_BY_WIDTH, DIFFUSERS, LDM, PLANS, control_names
from studio.library.rules.subject import SURE, Subject, fit

LAYOUTS = (  # spelling, prefix, what only a ControlNet has in it
    (LDM, "control_model.", ("control_model.zero_convs.", "control_model.input_hint_block.")),
    (LDM, "", ("zero_convs.", "input_hint_block.")),
    (DIFFUSERS, "", ("controlnet_cond_embedding.", "controlnet_down_blocks.")),
)
CONV_IN = {LDM: "input_blocks.0.0.weight", DIFFUSERS: "conv_in.weight"}
HINT = {LDM: "input_hint_block.0.weight", DIFFUSERS: "controlnet_cond_embedding.conv_in.weight"}
USABLE_BASES = ("sd1", "sd2", "sdxl")
TEXT_WIDTHS = ("attn2.to_k.weight", "attn2.to_v.weight")
UNION = ("task_embedding", "transformer_layes", "spatial_ch_projs", "control_add_embedding")
CONTROL_KIND = "maquette.control_kind"  # in the metadata of files that were trained here
UNSHUFFLED = {64: "sd1", 192: "sd1", 256: "sdxl", 768: "sdxl"}  # 8x8 or 16x16 pixels, of one channel or three


@dataclass(frozen=True)
class Sort:
    """A control model that is no plain ControlNet."""

    family: str
    marks: tuple[str, ...]
    reason: str


SORTS = (
    Sort(
        "control-lora", ("lora_controlnet",), "ControlLoRA files cannot be used yet: they need their checkpoint's UNet."
    ),
    Sort("union", UNION, "Union ControlNets, which take many kinds of hints, cannot be used yet."),
    Sort("lllite", ("lllite_unet", "lllite_dit"), "ControlNet-LLLite files cannot be used yet."),
    Sort("difference", ("difference",), "It holds only what differs from a checkpoint, and cannot be used yet."),
)


def recognise(subject: Subject) -> Identity | None:
    """A ControlNet, one of its kin or a T2I-Adapter; None if it is none."""
    sort = next((sort for sort in SORTS if any(subject.under(mark) for mark in sort.marks)), None)
    if sort and sort.family == "lllite":
        return replace(_named(subject, _lllite_base(subject), 0, sort.reason), family=sort.family)
    for spelling, prefix, marks in LAYOUTS:
        if any(subject.under(mark) for mark in marks) and not subject.under("motion_modules"):
            found = _control_net(subject, spelling, prefix)
            return replace(found, usable=False, reason=sort.reason, family=sort.family) if sort else found
    return _t2i_adapter(subject)


def _control_net(subject: Subject, spelling: int, prefix: str) -> Identity:
    widths = {
        info.shape[1:2]
        for name, info in subject.tensors.items()
        if name.startswith(prefix) and name.endswith((*TEXT_WIDTHS, "attn2.to_k.down", "attn2.to_v.down"))
    }
    added = subject.size(f"{prefix}{('label_emb.0.0.weight', 'add_embedding.linear_1.weight')[spelling]}", 1)
    if not widths and added == PLANS["sdxl"].added:  # the small ones for SDXL read no text
        return _named(
            subject, "sdxl", 0, "ControlNets that are smaller than SDXL's can be used only as diffusers folders."
        )
    width = next(iter(widths))[0] if len(widths) == 1 and () not in widths else 0
    base = BASES_BY_WIDTH.get(width, "unknown")
    if base not in USABLE_BASES or added not in (0, PLANS[base].added):
        return _named(subject, "unknown", width, "It is for none of SD 1, SD 2 and SDXL by the texts that it reads.")
    if subject.under("lora_controlnet"):
        return _named(subject, base, width, "")
    found = fit(subject, control_names(base, spelling), prefix, (CONV_IN[spelling], HINT[spelling]))
    channels = (subject.size(f"{prefix}{HINT[spelling]}", 1), subject.size(f"{prefix}{CONV_IN[spelling]}", 1))
    if found.fault:
        unlike = found.wrong or found.share < SURE
        what = f"is not built like a ControlNet of {BASE_NAMES[base]}" if unlike else "is incomplete"
        return _named(subject, base if added or not unlike else "unknown", width, f"It {what}: {found.fault}.")
    if channels != (3, 4):
        return _named(
            subject, base, width, f"Its hints have {channels[0]} channels; only pictures (3) can be used yet."
        )
    return _named(subject, base, width, "")


def _lllite_base(subject: Subject) -> str:
    """LLLite files name the UNet's modules: only SDXL's has more than one block in a transformer."""
    return "sdxl" if any("transformer_blocks_1_" in name for name in subject.tensors) else "unknown"


def _named(subject: Subject, base: str, width: int, reason: str) -> Identity:
    return Identity(
        kind="controlnet",
        base=base,
        control_kind=_kind(subject),
        precision=subject.precision,
        usable=not reason,
        reason=reason,
        width=width,
        evidence=f"It is a ControlNet that reads texts of width {width}." if width else "It is a kind of ControlNet.",
    )


def _kind(subject: Subject) -> str:
    """The kind of map that it is for: as it says, or as its name does."""
    return shown(subject.header.metadata.get(CONTROL_KIND, "")) or guess_control_kind(subject.name)


def _t2i_adapter(subject: Subject) -> Identity | None:
    """A T2I-Adapter as its authors spell it, or as diffusers does.

    Source: TencentARC/T2I-Adapter, ldm/modules/encoders/adapter.py; diffusers, models/adapter.py.
    """
    prefix = "adapter." if subject.roots.keys() == {"adapter"} else ""
    words = {"adapter"} if prefix else {"conv_in", "body"}
    if subject.roots.keys() - words:
        return None
    if subject.shape(f"{prefix}body.0.out_conv.weight"):
        family, first = "light", subject.shape(f"{prefix}body.0.in_conv.weight")
    elif any(subject.shape(f"{prefix}body.0.{name}.weight") for name in ("block1", "resnets.0.block1")):
        family, first = "full", subject.shape(f"{prefix}conv_in.weight")
    else:
        return None
    base = UNSHUFFLED.get(first[1] if len(first) == 4 else 0, "unknown")
    if family == "full" and len(first) == 4 and first[0] != 320:
        base = "unknown"
    return Identity(
        kind="t2i_adapter",
        base=base,
        family="xl" if base == "sdxl" else family,
        control_kind=_kind(subject),
        precision=subject.precision,
        usable=base != "unknown",
        reason="" if base != "unknown" else "It is no T2I-Adapter for SD 1 or SDXL.",
        evidence=f"It is built like a T2I-Adapter, and takes {first[1] if len(first) > 1 else 'no'} channels.",
    )

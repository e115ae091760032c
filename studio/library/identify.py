"""What a model folder is, from its configuration and the headers of its files; no tensor is read."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from studio.library.card import Card

BASES_BY_WIDTH = {768: "sd1", 1024: "sd2", 2048: "sdxl"}
DTYPES = {"F64": "fp64", "F32": "fp32", "F16": "fp16", "BF16": "bf16", "F8_E4M3": "fp8", "F8_E5M2": "fp8"}
CONTROL_WORDS = {
    "scribble": ("scribble", "sketch"),
    "canny": ("canny",),
    "depth": ("depth",),
    "pose": ("openpose", "pose"),
    "segments": ("seg",),
    "lineart": ("lineart",),
    "softedge": ("softedge", "hed"),
    "normal": ("normal",),
    "mlsd": ("mlsd",),
    "tile": ("tile",),
    "shuffle": ("shuffle",),
    "inpaint": ("inpaint",),
}
DESCRIPTIONS = ("model_index.json", "config.json")
HEADER_MAX = 100_000_000
VARIANT = re.compile(r"\.(fp16|fp32|bf16|non_ema|ema)[.-]")
WEIGHTED = ("unet", "vae", "text_encoder")
UNREADABLE = (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError)


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What was found. reason says why something is not usable; unknown is an answer."""

    kind: str = "unknown"
    base: str = "unknown"
    variant: str = "normal"
    control_kind: str = ""
    prediction_type: str = ""
    precision: str = "unknown"
    usable: bool = False
    reason: str = ""
    card: Card | None = None


def identify_folder(folder: Path) -> Identity:
    """A diffusers checkpoint folder, a ControlNet folder, or unknown with the reason."""
    try:
        if (folder / "model_index.json").is_file():
            return _checkpoint(folder)
        if (folder / "config.json").is_file():
            return _component(folder)
    except UNREADABLE as error:
        return Identity(reason=f"Its description cannot be read: {error}.")
    return Identity(reason="It has no model_index.json and no config.json.")


def read_header(file: Path) -> dict[str, Any]:
    """The header of a safetensors file: {tensor name: {dtype, shape, data_offsets}}. Raises: ValueError, OSError."""
    with file.open("rb") as stream:
        length, size = int.from_bytes(stream.read(8), "little"), file.stat().st_size
        if not 2 <= length <= min(HEADER_MAX, size - 8):
            raise ValueError(f"{file.name} is damaged or no safetensors file")
        header: Any = json.loads(stream.read(length))
    if not isinstance(header, dict):
        raise ValueError(f"{file.name} has no table of tensors")
    tensors = {name: entry for name, entry in cast(dict[str, Any], header).items() if name != "__metadata__"}
    if 8 + length + max((int(entry["data_offsets"][1]) for entry in tensors.values()), default=0) > size:
        raise ValueError(f"{file.name} is cut short")
    return tensors


def weights_of(folder: Path) -> list[Path]:
    """The weights that are loaded from a folder: those without a variant (fp16, non_ema) in their names."""
    return [file for file in sorted(folder.glob("*.safetensors")) if not VARIANT.search(file.name)]


def precision_of(folder: Path) -> str:
    """The precision that most tensors of the folder's first weights file are stored in."""
    try:
        found = [str(entry["dtype"]) for entry in read_header(weights_of(folder)[0]).values()]
    except (IndexError, *UNREADABLE):
        return "unknown"
    most = max(set(found), key=found.count, default="unknown")
    return DTYPES.get(most, most.lower())


def _checkpoint(folder: Path) -> Identity:
    unet = _json(folder / "unet" / "config.json")
    scheduler = _json(folder / "scheduler" / "scheduler_config.json")
    card = Card.read(folder / "card.json") if (folder / "card.json").is_file() else None
    base = card.base if card else BASES_BY_WIDTH.get(int(unet.get("cross_attention_dim") or 0), "unknown")
    channels = int(unet.get("in_channels", 4))
    prediction = str(scheduler.get("prediction_type", "epsilon"))
    if card is None:
        card = Card(
            name=folder.name,
            base=base,
            native_size=int(unet.get("sample_size") or 64) * 8,
            prediction_type=prediction,
            timestep_spacing=str(scheduler.get("timestep_spacing", "leading")),
        )
    reason = _refusal(folder, base, channels)
    return Identity(
        kind="checkpoint",
        base=base,
        variant={4: "normal", 9: "inpaint", 5: "depth", 8: "edit"}.get(channels, "unknown"),
        prediction_type=prediction,
        precision=precision_of(folder / "unet"),
        usable=not reason,
        reason=reason,
        card=card,
    )


def _refusal(folder: Path, base: str, channels: int) -> str:
    if base.startswith("sdxl"):
        return "SDXL checkpoints cannot be loaded yet."
    if channels != 4:
        return f"Its UNet takes {channels} channels; only those that take 4 can be used yet."
    for part in ("unet", "vae", "text_encoder", "tokenizer"):
        if not (folder / part).is_dir():
            return f"Its folder {part} is missing."
    return next(filter(None, (_weights_refusal(folder / part) for part in WEIGHTED)), "")


def _weights_refusal(folder: Path) -> str:
    """Why the weights of that folder cannot be loaded; "" if they can, as far as their headers tell."""
    weights = weights_of(folder)
    if not weights:
        if variants := sorted(folder.glob("*.safetensors")):
            mark = VARIANT.findall(variants[0].name)[0]
            return f"The weights in {folder.name} are a variant: take .{mark} out of their file names."
        return f"The weights in {folder.name} are no safetensors files."
    try:
        for file in weights:
            read_header(file)
        for index in folder.glob("*.safetensors.index.json"):
            named = {str(name) for name in dict(_json(index)["weight_map"]).values()}
            if not VARIANT.search(index.name) and (missing := sorted(named - {file.name for file in weights})):
                return f"{missing[0]} is missing in {folder.name}."
    except UNREADABLE as error:
        return f"The weights in {folder.name} cannot be read: {error}."
    return ""


def _component(folder: Path) -> Identity:
    config = _json(folder / "config.json")
    if "conditioning_embedding_out_channels" not in config:
        return Identity(reason=f"A {config.get('_class_name', 'model')} of this kind cannot be used yet.")
    said = _json(folder / "card.json") if (folder / "card.json").is_file() else {}
    base = str(said.get("base") or BASES_BY_WIDTH.get(int(config.get("cross_attention_dim") or 0), "unknown"))
    reason = _weights_refusal(folder)
    return Identity(
        kind="controlnet",
        base=base,
        control_kind=str(said.get("control_kind") or guess_control_kind(folder.name)),
        precision=precision_of(folder),
        usable=not reason,
        reason=reason,
    )


def guess_control_kind(name: str) -> str:
    """The control kind that a file's name speaks of; "" if none."""
    lowered = name.lower()
    return next((kind for kind, words in CONTROL_WORDS.items() if any(word in lowered for word in words)), "")


def _json(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    data: Any = json.loads(file.read_text("utf-8"))
    if not isinstance(data, dict):
        raise ValueError(f"{file.name} is no JSON object")
    return cast(dict[str, Any], data)

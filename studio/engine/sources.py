"""What lies in model files, part by part, as the tensors that living modules take: single files and folders alike."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from transformers import CLIPTokenizer

from studio.engine.configs import CLASSES, CONFIGS, NOISE, control_config
from studio.engine.layouts import (
    CONTROL_PREFIX,
    NEEDLESS,
    OPEN_CLIP,
    OTHER_PREFIXES,
    PREFIXES,
    Place,
    control_places,
    folder_places,
    places_of,
)
from studio.engine.parts import INCOMPLETE, Part, find_part
from studio.engine.tokenizers import clip_tokenizer
from studio.engine.weights import Weights, open_folder, open_weights
from studio.errors import ModelNotFoundError
from studio.library.names import BASES_BY_WIDTH
from studio.library.rules.checkpoint import ends_in_noise
from studio.messages import ModelLocation

PARTS = {"unet": "UNet", "vae": "autoencoder", "text_encoder": "text encoder", "text_encoder_2": "second text encoder"}
FOREIGN_CONTROLS = {  # a tensor that only they have -> what they are
    "lora_controlnet": "a ControlLoRA",
    "task_embedding": "a union ControlNet",
    "difference": "a ControlNet stored as a difference",
}


@dataclass
class Source:
    """A checkpoint's parts, its scheduler configuration, and its tokenizers by number.

    unused: tensors of a single file that no part takes, without those that files are known to carry along.
    """

    parts: dict[str, Part]
    noise: dict[str, Any]
    tokenizers: Mapping[int, Callable[[], CLIPTokenizer]]
    unused: list[str] = field(default_factory=list)

    def tokenizer(self, which: int = 1) -> CLIPTokenizer:
        """A new tokenizer for the first or the second text encoder. Raises: OSError or ValueError, for broken files."""
        return self.tokenizers[which]()


def open_checkpoint(location: ModelLocation, vae: ModelLocation | None = None) -> Source:
    """A checkpoint's parts, with another autoencoder if one is named. No tensor is read.

    Raises: ModelNotFoundError, naming what is missing or cannot be read, with what to do.
    """
    path = Path(location.path)
    source = _open_folder(location, path, vae) if path.is_dir() else _open_file(location, path, vae)
    if vae is not None:
        source.parts["vae"] = open_vae(vae, location.base)
    return source


def open_vae(location: ModelLocation, base: str = "") -> Part:
    """An autoencoder: a folder, or a file in either spelling. base: the checkpoint's, which its scale follows.

    Raises: ModelNotFoundError.
    """
    path = Path(location.path)
    if path.is_dir():
        return _component(path, location.name)
    weights = open_weights(path, location.name)
    base = next((name for name in (base, location.base) if name in CONFIGS), "sd1")
    config = CONFIGS[base]["vae"]
    if any(name.startswith("encoder.down_blocks.") for name in weights.names()):
        return find_part(CLASSES["vae"], config, weights, PARTS["vae"], folder_places)
    prefix = PREFIXES[base]["vae"][0]
    start = prefix if _begins(weights, prefix) else ""
    return _ldm_part("vae", config, weights, base, start)


def open_control(location: ModelLocation) -> Part:
    """A ControlNet: a folder, or a file in either spelling, built as its tensors' shapes say.

    Raises: ModelNotFoundError.
    """
    path = Path(location.path)
    if path.is_dir():
        return _component(path, location.name)
    weights = open_weights(path, location.name)
    for name, what in FOREIGN_CONTROLS.items():
        if any(name in stored.split(".")[:2] for stored in weights.names()):
            raise ModelNotFoundError(
                f"{location.name} is {what}, which cannot be used yet.", hint="Take the plain ControlNet of its kind."
            )
    found = _control_places(weights, location)
    try:
        config = control_config({name: weights.shapes[place.name] for name, place in found.items()})
    except (KeyError, IndexError) as error:
        raise ModelNotFoundError(f"{location.name} is no ControlNet: it has no {error}.", hint=INCOMPLETE) from error
    return find_part(
        "ControlNetModel", config, weights, "ControlNet", lambda name: [found[name]] if name in found else []
    )


def _open_folder(location: ModelLocation, folder: Path, vae: ModelLocation | None) -> Source:
    index = _json(folder / "model_index.json", location.name)
    wanted = [name for name in PARTS if isinstance(index.get(name), list) and index[name][0]]
    parts = {name: _component(folder / name, location.name) for name in wanted if name != "vae" or vae is None}
    _check_parts(parts.keys(), ["unet", "text_encoder"] + ["vae"] * (vae is None), location)
    scheduler = folder / "scheduler" / "scheduler_config.json"
    return Source(
        parts=parts,
        noise=_json(scheduler, location.name) if scheduler.is_file() else {},
        tokenizers={
            1: lambda: CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True),
            2: lambda: CLIPTokenizer.from_pretrained(folder / "tokenizer_2", local_files_only=True),
        },
    )


def _open_file(location: ModelLocation, file: Path, vae: ModelLocation | None) -> Source:
    if location.base not in CONFIGS:
        raise ModelNotFoundError(
            f"{location.name} is a single file of an unknown base model.",
            hint="Say in its details what it is, if you know; else use it as a diffusers folder.",
        )
    weights = open_weights(file, location.name)
    configs = CONFIGS[location.base]
    prefixes = {name: _prefix(location.base, name, weights) for name in configs}
    present = {name for name in configs if _begins(weights, prefixes[name])}
    wanted = [name for name in configs if name != "vae" or vae is None]
    _check_parts(present, wanted, location)
    parts = {
        name: _ldm_part(name, configs[name] | _fitted(name, weights, location), weights, location.base, prefixes[name])
        for name in wanted
    }
    taken = {place.name for part in parts.values() for place in part.places.values()}
    skipped = prefixes["vae"] if vae is not None else "\0"
    rest = [name for name in weights.names() if name not in taken and not name.startswith(skipped)]
    usual = {prefix: PREFIXES[location.base][name][0] for name, prefix in prefixes.items()}
    return Source(
        parts=parts,
        noise=_noise(location.card, weights),
        tokenizers={1: _tokenizer(location.base, 1), 2: _tokenizer(location.base, 2)},
        unused=sorted(name for name in rest if not NEEDLESS.match(_respelled(name, usual))),
    )


def _prefix(base: str, part: str, weights: Weights) -> str:
    """What the names of a part begin with in this file."""
    usual, other = PREFIXES[base][part][0], OTHER_PREFIXES.get((base, part), "")
    return other if other and _begins(weights, other) and not _begins(weights, usual) else usual


def _begins(weights: Weights, prefix: str) -> bool:
    return any(name.startswith(prefix) for name in weights.names())


def _respelled(name: str, usual: Mapping[str, str]) -> str:
    """The name with the prefix that most files have."""
    prefix = next((prefix for prefix in usual if name.startswith(prefix)), "")
    return usual.get(prefix, "") + name.removeprefix(prefix)


def _tokenizer(base: str, which: int) -> Callable[[], CLIPTokenizer]:
    part = "text_encoder" if which == 1 else "text_encoder_2"
    spelling = PREFIXES[base].get(part, ("", OPEN_CLIP))[1]
    return lambda: clip_tokenizer(pads_with_end=spelling != OPEN_CLIP)


def _check_parts(present: Iterable[str], wanted: Iterable[str], location: ModelLocation) -> None:
    for name in wanted:
        if name not in present:
            hint = {
                "vae": f"Choose an autoencoder for {location.base} beside it, or take the full version of the file.",
                "unet": "It is no checkpoint: look at what it is in the section Models.",
            }
            raise ModelNotFoundError(
                f"{location.name} comes without its {PARTS[name]}.",
                hint=hint.get(name, "Take the full version of the file, which has all parts."),
            )


def _fitted(part: str, weights: Weights, location: ModelLocation) -> dict[str, Any]:
    """What differs between checkpoints of one base model: the UNet's channels in, and its size."""
    if part != "unet":
        return {}
    first = weights.shapes.get(f"{PREFIXES[location.base]['unet'][0]}input_blocks.0.0.weight", ())
    size = location.card.get("native_size")
    return ({"in_channels": first[1]} if len(first) > 1 else {}) | ({"sample_size": size // 8} if size else {})


def _noise(card: Mapping[str, Any], weights: Weights) -> dict[str, Any]:
    """The schedule that the base models share; the card says what was trained otherwise, or marks in the file do.

    Source of the marks: two empty tensors, v_pred and ztsnr, as NoobAI XL has them and ComfyUI reads them.
    """
    marked = {"prediction_type": "v_prediction"} if "v_pred" in weights.shapes else {}
    marked |= {"rescale_betas_zero_snr": True} if ends_in_noise(weights.shapes, weights.metadata) else {}
    told = ("prediction_type", "timestep_spacing", "rescale_betas_zero_snr")
    return NOISE | marked | {key: card[key] for key in told if card.get(key)}


def _control_places(weights: Weights, location: ModelLocation) -> dict[str, Place]:
    """Where a ControlNet's tensors lie, by diffusers' names."""
    names = weights.shapes.keys()
    if "controlnet_cond_embedding.conv_in.weight" in names:
        return {name: Place(name) for name in names}
    width = next((shape[-1] for name, shape in weights.shapes.items() if name.endswith(".attn2.to_k.weight")), 0)
    base = location.base if location.base in CONFIGS else BASES_BY_WIDTH.get(width, "sd1")
    table = control_places(base, CONTROL_PREFIX if any(name.startswith(CONTROL_PREFIX) for name in names) else "")
    return {name: place for name, place in table.items() if place.name in names}


def _component(folder: Path, title: str) -> Part:
    """A component's folder."""
    config = _json(folder / "config.json", title)
    class_name = config.get("_class_name") or next(iter(config.get("architectures") or ()), "")
    return find_part(class_name, config, open_folder(folder, title), PARTS.get(folder.name, "network"), folder_places)


def _ldm_part(part: str, config: dict[str, Any], weights: Weights, base: str, prefix: str) -> Part:
    """A part of a single file."""
    spelling = PREFIXES[base][part][1]
    where = partial(places_of, base=base, spelling=spelling, prefix=prefix)
    return find_part(CLASSES[part], config, weights, PARTS[part], where)


def _json(file: Path, title: str) -> dict[str, Any]:
    try:
        data = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        what = "is missing" if isinstance(error, FileNotFoundError) else "cannot be read"
        place = file.name if file.name == "model_index.json" else f"{file.parent.name}/{file.name}"
        raise ModelNotFoundError(
            f"{title} cannot be loaded: {place} {what}.", hint="Copy the folder again from where it came from."
        ) from error
    return data if isinstance(data, dict) else {}

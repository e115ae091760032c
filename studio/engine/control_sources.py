"""What runs beside the UNet and is no ControlNet, from folders and files: T2I-Adapters, IP-Adapters, image encoders,
hypernetworks."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from studio.adapters.hypernetworks import Hypernetwork, read_hypernetwork
from studio.control.ip_adapter import IPAdapter
from studio.engine.layouts import Place, folder_places
from studio.engine.parts import Part, find_part
from studio.engine.skeletons import VISION_MODEL
from studio.engine.weights import Weights, open_folder, open_weights
from studio.errors import ModelNotFoundError
from studio.messages import ModelLocation

Shape = tuple[int, ...]
RES_BLOCKS = 2  # in every published T2I-Adapter
UNSHUFFLED = {64: (1, 8), 192: (3, 8), 256: (1, 16), 768: (3, 16)}  # channels of the map, pixels to a feature
WHOLE = "Download it again, from where it was published."
# Heads and activation of published image encoders, by width; the rest is in their tensors' shapes.
ENCODERS = {768: (12, "quick_gelu"), 1024: (16, "quick_gelu"), 1280: (16, "gelu"), 1664: (16, "gelu")}


def open_t2i_adapter(location: ModelLocation) -> Part:
    """A T2I-Adapter: a folder of diffusers', or a file as its authors or diffusers spell it.

    Raises: ModelNotFoundError.
    """
    path = Path(location.path)
    if path.is_dir():
        return find_part(
            "T2IAdapter", _config(path, location), open_folder(path, location.name), "adapter", folder_places
        )
    weights = open_weights(path, location.name)
    try:
        names = _diffusers_names(weights.names())
        config = t2i_config({ours: weights.shapes[theirs] for ours, theirs in names.items()})
    except (KeyError, IndexError, ValueError) as error:
        raise ModelNotFoundError(f"{location.name} is no T2I-Adapter that is known here.", hint=WHOLE) from error
    return find_part(
        "T2IAdapter", config, weights, "adapter", lambda name: [Place(names[name])] if name in names else []
    )


def t2i_config(shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """The configuration of a T2I-Adapter from the shapes of its tensors under diffusers' names.

    Raises: KeyError or ValueError, for other networks.
    """
    light = "adapter.body.0.out_conv.weight" in shapes
    first = shapes["adapter.body.0.in_conv.weight" if light else "adapter.conv_in.weight"][1]
    channels, pixels = UNSHUFFLED[first]
    levels = 1 + max(int(name.split(".")[2]) for name in shapes if name.startswith("adapter.body."))
    ends = "out_conv" if light else "resnets.0.block1"
    if light:  # diffusers names the last width once, and has two levels of it
        levels -= 1
    return {
        "in_channels": channels,
        "channels": [shapes[f"adapter.body.{level}.{ends}.weight"][0] for level in range(levels)],
        "num_res_blocks": 1
        + max(int(name.split(".")[4]) for name in shapes if name.startswith("adapter.body.0.resnets.")),
        "downscale_factor": pixels,
        "adapter_type": "light_adapter" if light else "full_adapter_xl" if pixels == 16 else "full_adapter",
    }


def _diffusers_names(names: Sequence[str]) -> dict[str, str]:
    """What is stored, by the name that diffusers' class gives it.

    Source: TencentARC/T2I-Adapter, ldm/modules/encoders/adapter.py.
    """
    if any(name.startswith("adapter.") for name in names):
        return {name: name for name in names}
    light = any(name.startswith("body.0.out_conv.") for name in names)
    return {f"adapter.{_light_name(name) if light else _full_name(name)}": name for name in names}


def _light_name(name: str) -> str:
    """body.LEVEL.body.BLOCK.block1.weight: the blocks of a level lie in a body of their own."""
    words = name.split(".")
    return ".".join(["body", words[1], "resnets", *words[3:]]) if words[2] == "body" else name


def _full_name(name: str) -> str:
    """body.NUMBER.block1.weight: all blocks in one row."""
    words = name.split(".")
    if words[0] != "body":
        return name
    level, block = divmod(int(words[1]), RES_BLOCKS)
    return ".".join(["body", str(level), *(["resnets", str(block)] if words[2] != "in_conv" else []), *words[2:]])


def open_image_encoder(location: ModelLocation) -> Part:
    """A CLIP image encoder: a folder of transformers', of a whole CLIP too, or a file.

    Raises: ModelNotFoundError.
    """
    path = Path(location.path)
    if path.is_dir():
        config, weights = _config(path, location), open_folder(path, location.name)
        config = config.get("vision_config", config) | {"projection_dim": config.get("projection_dim", 512)}
    else:
        weights = open_weights(path, location.name)
        config = _encoder_config(weights, location)
    return find_part(VISION_MODEL, config, weights, "image encoder", lambda name: [Place(name)])


def _encoder_config(weights: Weights, location: ModelLocation) -> dict[str, Any]:
    shapes, layer = weights.shapes, "vision_model.encoder.layers."
    try:
        width, _, patch, _ = shapes["vision_model.embeddings.patch_embedding.weight"]
        heads, activation = ENCODERS[width]
        places = shapes["vision_model.embeddings.position_embedding.weight"][0] - 1
        return {
            "hidden_size": width,
            "intermediate_size": shapes[f"{layer}0.mlp.fc1.weight"][0],
            "num_hidden_layers": 1 + max(int(name.split(".")[3]) for name in shapes if name.startswith(layer)),
            "num_attention_heads": heads,
            "hidden_act": activation,
            "patch_size": patch,
            "image_size": patch * round(places**0.5),
            "projection_dim": shapes["visual_projection.weight"][0],
        }
    except (KeyError, ValueError) as error:
        raise ModelNotFoundError(
            f"{location.name} is no image encoder that is known here.", hint="Take it as a folder with its config.json."
        ) from error


def read_ip_adapter(location: ModelLocation) -> IPAdapter:
    """An IP-Adapter's file, plain or of the plus kind. Raises: ModelNotFoundError."""
    path = Path(location.path)
    weights = open_folder(path, location.name) if path.is_dir() else open_weights(path, location.name)
    try:
        return IPAdapter.from_state({name: weights.tensor(name).float() for name in weights.names()})
    except (KeyError, ValueError, RuntimeError) as error:
        raise ModelNotFoundError(
            f"{location.name} is no IP-Adapter that can be used here: {error}.",
            hint="Plain ones and those of the plus kind can; those for faces need another encoder.",
        ) from error


def open_hypernetwork(location: ModelLocation) -> Hypernetwork:
    """A hypernetwork's file. Raises: ModelNotFoundError."""
    return read_hypernetwork(open_weights(Path(location.path), location.name))


def _config(folder: Path, location: ModelLocation) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelNotFoundError(f"{location.name}: its config.json cannot be read.", hint=WHOLE) from error
    return config if isinstance(config, dict) else {}

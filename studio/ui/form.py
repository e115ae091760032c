"""The form as plain values: what its widgets hold, read into a request, and filled from one."""

import json
from collections.abc import Mapping
from typing import Any

from studio.library.card import Card
from studio.params import ControlUnit, GenerationRequest
from studio.ui.editors import EDITORS, SKETCH

CONTROL_FIELDS = ("conditioning_scale", "control_guidance_start", "control_guidance_end")
PLAIN_FIELDS = (
    "prompt",
    "negative_prompt",
    "checkpoint",
    "vae",
    "width",
    "height",
    "count",
    "num_inference_steps",
    "guidance_scale",
    "scheduler",
    "sigmas",
    "clip_skip",
)
SHAPES = {"Square": (1, 1), "Portrait 3:4": (3, 4), "Landscape 4:3": (4, 3), "Tall 9:16": (9, 16), "Wide 16:9": (16, 9)}
CUSTOM = "Own size"
SIDE_STEP = 8


def defaults(card: Card) -> dict[str, Any]:
    """What the form begins with for a checkpoint."""
    return {
        "prompt": "",
        "negative_prompt": "",
        "checkpoint": card.name,
        "vae": "",
        "width": card.native_size,
        "height": card.native_size,
        "count": 1,
        "seed": {"seed": None},
        "num_inference_steps": card.num_inference_steps,
        "guidance_scale": card.guidance_scale,
        "scheduler": card.scheduler,
        "sigmas": "default",
        "clip_skip": card.clip_skip,
        "kind": SKETCH.kind,
        "use_sketch": True,
        "conditioning_scale": 1.0,
        "control_guidance_start": 0.0,
        "control_guidance_end": 1.0,
    }


def to_request(values: Mapping[str, Any], drawing: tuple[str, str] | None) -> GenerationRequest:
    """The request that the form makes. drawing: asset ids of the map and of what made it; None for no control.

    Raises: InvalidRequestError, naming the field.
    """
    data = {name: values[name] for name in PLAIN_FIELDS if values.get(name) is not None}
    if not data.get("vae"):
        data.pop("vae", None)  # the checkpoint's own
    seed = (values.get("seed") or {}).get("seed")
    if seed is not None:
        data["seed"] = seed
    if drawing is not None:
        unit = {name: values[name] for name in CONTROL_FIELDS if values.get(name) is not None}
        data["controls"] = [{"kind": values["kind"], "map": drawing[0], "editor": drawing[1], **unit}]
    return GenerationRequest.from_dict(data)


def from_request(request: GenerationRequest, card: Card) -> dict[str, Any]:
    """What the form holds for a request; blanks show what the checkpoint's card would choose."""
    given = {name: getattr(request, name) for name in PLAIN_FIELDS}
    values = defaults(card) | {name: value for name, value in given.items() if value is not None}
    values["seed"] = {"seed": request.seed}
    unit = drawn_unit(request)
    values["use_sketch"] = unit is not None or not request.prompt
    if unit is not None:
        values |= {name: getattr(unit, name) for name in ("kind", *CONTROL_FIELDS)}
    return values


def drawn_unit(request: GenerationRequest) -> ControlUnit | None:
    """The first control of the request that a tab of the canvas can show."""
    return next((unit for unit in request.controls if unit.kind in EDITORS), None)


def size_of(shape: str, native: int) -> tuple[int, int]:
    """Width and height of a shape, with about as many pixels as the checkpoint was trained on."""
    across, down = SHAPES[shape]
    factor = native / (across * down) ** 0.5
    return max(64, round(across * factor / SIDE_STEP) * SIDE_STEP), max(
        64, round(down * factor / SIDE_STEP) * SIDE_STEP
    )


def shape_of(width: object, height: object, native: int) -> str:
    """The shape that has that size; CUSTOM if none has."""
    return next((shape for shape in SHAPES if size_of(shape, native) == (width, height)), CUSTOM)


def kept_by_tab(text: str) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    """The texts and, by name, the drawings that a tab kept over a reload; none where nothing can be read."""
    try:
        kept = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}, {}
    if not isinstance(kept, dict):
        return {}, {}
    texts = {name: kept[name] for name in ("prompt", "negative_prompt") if isinstance(kept.get(name), str)}
    names = [editor.name for editor in EDITORS.values()]
    return texts, {name: kept[name] for name in names if isinstance(kept.get(name), dict)}

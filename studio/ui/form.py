"""The form as plain values: what its widgets hold, read into a request, and filled from one."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from studio.library.card import Card
from studio.params import GenerationRequest
from studio.ui import adapters
from studio.ui.editors import EDITORS, SKETCH
from studio.ui.stack import Stack, finished_row, fresh_row, fresh_stack, row_of

PLAIN_FIELDS = (
    "prompt",
    "negative_prompt",
    "prompt_mode",
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
    "prompt_weighting",
)
SHAPES = {"Square": (1, 1), "Portrait 3:4": (3, 4), "Landscape 4:3": (4, 3), "Tall 9:16": (9, 16), "Wide 16:9": (16, 9)}
CUSTOM = "Own size"
SIDE_STEP = 8


def defaults(card: Card) -> dict[str, Any]:
    """What the form begins with for a checkpoint."""
    return {
        "prompt": "",
        "negative_prompt": "",
        "prompt_mode": "typed",
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
        "prompt_weighting": "a1111",
        "kind": SKETCH.kind,
        "stack": fresh_stack(EDITORS),
        "adapters": adapters.empty_stack(),
    }


def to_request(
    values: Mapping[str, Any], controls: Sequence[Mapping[str, Any]] = (), fields: Mapping[str, Any] | None = None
) -> GenerationRequest:
    """The request that the form makes. controls, fields: what the tabs of the canvas add.

    Raises: InvalidRequestError, naming the field.
    """
    data = {name: values[name] for name in PLAIN_FIELDS if values.get(name) is not None}
    if not data.get("vae"):
        data.pop("vae", None)  # the checkpoint's own
    seed = (values.get("seed") or {}).get("seed")
    if seed is not None:
        data["seed"] = seed
    if refs := adapters.counted(adapters.clean_stack(values.get("adapters"))):
        data["adapters"] = refs
    if controls:
        data["controls"] = [dict(unit) for unit in controls]
    return GenerationRequest.from_dict(data | dict(fields or {}))


def from_request(request: GenerationRequest, card: Card, shown: Sequence[str] = ()) -> dict[str, Any]:
    """What the form holds for a request; blanks show what the checkpoint's card would choose.

    shown: the kinds of those tabs whose drawing could be had; other controls become finished maps of the stack.
    """
    given = {name: getattr(request, name) for name in PLAIN_FIELDS}
    values = defaults(card) | {name: value for name, value in given.items() if value is not None}
    values["seed"] = {"seed": request.seed}
    values["stack"] = stack_of(request, shown)
    values["adapters"] = adapters.stack_of(request.adapters)
    if shown:
        values["kind"] = shown[0]
    return values


def stack_of(request: GenerationRequest, shown: Sequence[str]) -> Stack:
    """The stack for a request: its controls in their order, and the tabs that it does not use, left out."""
    tabs = {kind: editor for editor in EDITORS.values() for kind in (editor.kind, *editor.also)}
    rows, used = list[dict[str, Any]](), set[str]()
    for unit in request.controls:
        editor = tabs.get(unit.kind)
        if editor is None or editor.kind not in shown or (editor.kind in used and not editor.several):
            rows.append(finished_row(unit))
        elif editor.kind not in used:
            rows.append(row_of(unit, several=editor.several) | {"kind": editor.kind})
            used.add(editor.kind)
    plain = not request.controls and request.init_image is None
    on = plain and not request.prompt  # a picture without controls was made by its words alone
    rest = [fresh_row(kind) | {"on": kind in shown or on} for kind in EDITORS if kind not in used]
    return {"solo": "", "units": rows + rest}


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

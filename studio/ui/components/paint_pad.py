"""The pad on which depth and segments are painted, as data."""

import json
from collections.abc import Mapping
from typing import Any

from studio.errors import InvalidRequestError
from studio.painting.clean import clean_painting
from studio.painting.palettes import PALETTES, packed
from studio.ui.components.own import OwnComponent

LONG_SIDE = 512
LENGTHS = ("s", "r", "rx", "ry")


class PaintPad(OwnComponent):
    """value: {"w", "h", "ops", "base", "background"}, as studio.painting has it, for the kind "depth", "segments" or
    "regions", which has {"regions", "softness"} too. Event: `edited`, once for each thing a person does.

    With "refit": true a value is an empty sheet of another aspect, onto which the pad lays what is painted, as `fitted`
    does. It can be used as soon as it has its first value.
    """

    def __init__(self, *, elem_id: str, kind: str, render: bool = True) -> None:
        regions = json.dumps([[name, packed(color)] for name, color in PALETTES.get(kind, {}).items()])
        data = {"kind": kind, "name": kind, "panel": elem_id, "regions": regions}
        super().__init__("paint_pad", elem_id=elem_id, render=render, data=data)

    def preprocess(self, payload: object) -> dict[str, Any]:
        """What the browser sent; it is checked where an error can be shown beside the pad."""
        return payload if isinstance(payload, dict) else {}

    def postprocess(self, value: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """A painting as the script reads it."""
        return None if value is None else dict(value)


def empty_painting(width: int, height: int) -> dict[str, Any]:
    """A sheet in the aspect of a picture of that size: its longer side has LONG_SIDE pixels."""
    scale = LONG_SIDE / max(width, height)
    return {"w": round(width * scale), "h": round(height * scale), "ops": [], "base": None, "background": None}


def fitted(painting: Mapping[str, Any], width: int, height: int) -> dict[str, Any]:
    """The cleaned painting on a sheet for a picture of that size: as large as fits, in the middle, nothing bent."""
    sheet = empty_painting(width, height)
    scale = min(sheet["w"] / painting["w"], sheet["h"] / painting["h"])
    shift = ((sheet["w"] - painting["w"] * scale) / 2, (sheet["h"] - painting["h"] * scale) / 2)
    base = painting.get("base")
    if base:
        x, y, across, down = (number * scale for number in base["box"])
        base = {**base, "box": [round(n, 2) for n in (x + shift[0], y + shift[1], across, down)]}
    ops = [_moved(op, scale, shift) for op in painting["ops"]]
    said = {name: painting[name] for name in ("regions", "softness") if name in painting}
    return {**sheet, "ops": ops, "base": base, "background": painting.get("background"), **said}


def _moved(op: Mapping[str, Any], scale: float, shift: tuple[float, float]) -> dict[str, Any]:
    """An op whose lengths are scaled and whose places are moved, too."""
    moved = {**op, **{name: min(1024.0, max(0.1, round(op[name] * scale, 2))) for name in LENGTHS if name in op}}
    for name, by in zip(("x", "y"), shift, strict=True):
        if name in op:
            moved[name] = round(op[name] * scale + by, 2)
    if "p" in op:
        turn = 3 if op["kind"] in ("brush", "erase") else 2  # after x and y a stroke has its pressure
        moved["p"] = [round(n * scale + shift[i % turn], 2) if i % turn < 2 else n for i, n in enumerate(op["p"])]
    return moved


def over_map(map_id: str, width: int, height: int) -> dict[str, Any]:
    """A sheet on which the finished map lies, to be painted over."""
    sheet = empty_painting(width, height)
    return sheet | {"base": {"id": map_id, "box": [0, 0, sheet["w"], sheet["h"]]}}


def readable(value: object, kind: str, width: int, height: int) -> dict[str, Any]:
    """A painting from a draft or a picture, fitted; an empty one when it cannot be read any more."""
    try:
        return fitted(clean_painting(value, kind), width, height)
    except InvalidRequestError:
        return empty_painting(width, height)

"""The sketch pad: strokes drawn by hand, as data."""

from collections.abc import Mapping
from typing import Any

from studio.errors import InvalidRequestError
from studio.strokes import clean_strokes
from studio.ui.components.own import OwnComponent

LONG_SIDE = 512


class SketchPad(OwnComponent):
    """value: {"w", "h", "strokes", "base", "background"}, as studio.strokes has it. Event: `edited`, once a stroke.

    With "refit": true a value is an empty sheet of another aspect, and the pad lays what is drawn onto it, as `fitted`
    does. It can be drawn on as soon as it has its first value, so that no draft that comes late replaces a stroke.
    """

    def __init__(self, *, elem_id: str, kind: str = "scribble", name: str = "sketch", render: bool = True) -> None:
        data = {"kind": kind, "name": name, "panel": elem_id}
        super().__init__("sketch_pad", elem_id=elem_id, render=render, data=data)

    def preprocess(self, payload: object) -> dict[str, Any]:
        """What the browser sent; `cleaned` checks it where an error can be shown beside the pad."""
        return payload if isinstance(payload, dict) else {}

    def postprocess(self, value: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """A drawing as the script reads it."""
        return None if value is None else dict(value)


def empty_drawing(width: int, height: int) -> dict[str, Any]:
    """A pad in the aspect of a picture of that size: its longer side has LONG_SIDE units."""
    scale = LONG_SIDE / max(width, height)
    return {"w": round(width * scale), "h": round(height * scale), "strokes": [], "base": None, "background": None}


def cleaned(value: Mapping[str, Any]) -> dict[str, Any]:
    """The drawing, checked. Raises: InvalidRequestError, saying what does not fit."""
    return clean_strokes({"w": LONG_SIDE, "h": LONG_SIDE, **value})


def fitted(drawing: Mapping[str, Any], width: int, height: int) -> dict[str, Any]:
    """The drawing on a pad for a picture of that size: as large as fits, in the middle, nothing bent."""
    pad = empty_drawing(width, height)
    scale = min(pad["w"] / drawing["w"], pad["h"] / drawing["h"])
    left, top = (pad["w"] - drawing["w"] * scale) / 2, (pad["h"] - drawing["h"] * scale) / 2
    shift = (left, top, 0.0)

    def moved(stroke: Mapping[str, Any]) -> dict[str, Any]:
        points = [
            round(number * (scale if index % 3 < 2 else 1) + shift[index % 3], 2)
            for index, number in enumerate(stroke["p"])
        ]
        return {**stroke, "s": min(400.0, max(0.5, round(stroke["s"] * scale, 2))), "p": points}

    kept = {"background": drawing.get("background")}
    if base := drawing.get("base"):
        x, y, across, down = (number * scale for number in base["box"])
        kept["base"] = {**base, "box": [round(n, 2) for n in (x + left, y + top, across, down)]}
    return {**pad, "strokes": [moved(s) for s in drawing["strokes"]], **kept}


def over_map(map_id: str, width: int, height: int) -> dict[str, Any]:
    """A pad on which the finished map lies, to be drawn over."""
    pad = empty_drawing(width, height)
    return pad | {"base": {"id": map_id, "box": [0, 0, pad["w"], pad["h"]]}}


def origin(drawing: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a control that say where the lines under the strokes come from: a photo, and an annotator."""
    base = drawing.get("base") or {}
    if not base.get("source"):
        return {}
    options = [[name, value] for name, value in sorted((base.get("options") or {}).items())]
    return {"source": base["source"], "annotator": base.get("annotator", ""), "annotator_options": options}


def readable(value: object, width: int, height: int) -> dict[str, Any]:
    """A drawing from a draft or a picture, fitted; an empty one when it cannot be read any more."""
    try:
        return fitted(clean_strokes(value), width, height)
    except InvalidRequestError:
        return empty_drawing(width, height)

"""The edit pad: a picture, what is painted over on it, and a frame around it, as data."""

from collections.abc import Mapping
from typing import Any

from studio.editing import clean_edit
from studio.errors import InvalidRequestError
from studio.ui.components.own import OwnComponent

LONG_SIDE = 512


class EditPad(OwnComponent):
    """value: an edit as studio.editing has it. Event: `edited`, once for each thing a person does.

    With "refit": true a value is the aspect of the sheet that is seen while there is no picture; a picture brings its
    own. It can be used as soon as it has its first value.
    """

    def __init__(self, *, elem_id: str, render: bool = True) -> None:
        super().__init__("edit_pad", elem_id=elem_id, render=render)

    def preprocess(self, payload: object) -> dict[str, Any]:
        """What the browser sent; it is checked where an error can be shown beside the pad."""
        return payload if isinstance(payload, dict) else {}

    def postprocess(self, value: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """An edit as the script reads it."""
        return None if value is None else dict(value)


def empty_edit(width: int, height: int) -> dict[str, Any]:
    """No picture, on a sheet in the aspect of one of that size: its longer side has LONG_SIDE units."""
    scale = LONG_SIDE / max(width, height)
    return {"w": round(width * scale), "h": round(height * scale), "picture": None}


def readable(value: object, width: int, height: int) -> dict[str, Any]:
    """An edit from a draft or a picture, on such a sheet; no picture when it cannot be read any more."""
    sheet = empty_edit(width, height)
    try:
        return clean_edit(value) | {side: sheet[side] for side in ("w", "h")}
    except InvalidRequestError:
        return sheet

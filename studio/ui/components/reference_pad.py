"""The pictures that the result should be like."""

import re
from collections.abc import Mapping
from typing import Any

from studio.errors import InvalidRequestError
from studio.params import METHODS, check_choice, check_range
from studio.ui.components.own import OwnComponent

ASSET = re.compile(r"[0-9a-f]{64}")
MOST = 8
ITSELF = "itself"


class ReferencePad(OwnComponent):
    """value: {"pictures": [{"id": asset id, "weight": 0 to 2}], "method": one of params.METHODS, or "itself", where
    the checkpoint itself looks at them}. Event: `edited`.
    """

    def __init__(self, *, elem_id: str, render: bool = True) -> None:
        super().__init__("reference_pad", elem_id=elem_id, render=render)

    def preprocess(self, payload: object) -> dict[str, Any]:
        """What the browser sent; `cleaned` checks it where an error can be shown beside the button."""
        return payload if isinstance(payload, dict) else {}


def no_pictures(_width: int = 0, _height: int = 0) -> dict[str, Any]:
    """Nothing to be like, for a picture of any size."""
    return {"pictures": [], "method": "full"}


def cleaned(value: Mapping[str, Any]) -> dict[str, Any]:
    """The pictures, checked. Raises: InvalidRequestError, saying what does not fit."""
    given, method = value.get("pictures"), value.get("method", "full")
    if not isinstance(given, list) or len(given) > MOST:
        raise InvalidRequestError(f"The references are not a list of at most {MOST} pictures.", field="reference")
    check_choice("method", str(method), (*METHODS, ITSELF))
    return {"pictures": [_picture(picture) for picture in given], "method": method}


def readable(value: object, _width: int, _height: int) -> dict[str, Any]:
    """The pictures of a draft; none when they cannot be read any more."""
    try:
        return cleaned(value) if isinstance(value, Mapping) else no_pictures()
    except InvalidRequestError:
        return no_pictures()


def _picture(value: object) -> dict[str, Any]:
    asset = value.get("id") if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping) or not isinstance(asset, str) or not ASSET.fullmatch(asset):
        raise InvalidRequestError(f"A reference is no picture: {value!r:.60}.", field="reference", hint="Add it again.")
    weight = value.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        raise InvalidRequestError(f"A reference's weight is {weight!r:.20}.", field="reference", hint="Give a number.")
    check_range("weight", weight, 0, 2)
    return {"id": asset, "weight": float(weight)}

"""What all drawings from a browser have in common when they are read: numbers, sides, and a finished map under them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from studio.errors import InvalidRequestError

ASSET = re.compile(r"[0-9a-f]{64}")
TEXT = 1200
OPTIONS = 20


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Reads parts of a drawing; each call raises InvalidRequestError, saying what does not fit.

    Fields:
        field: Of the error.
        refusal: How the sentence begins, such as "The drawing cannot be used".
        hint: What to do.
    """

    field: str
    refusal: str
    hint: str

    def wrong(self, what: str, *, hint: str = "") -> InvalidRequestError:
        """The refusal, ready to be raised."""
        return InvalidRequestError(f"{self.refusal}: {what}.", field=self.field, hint=hint or self.hint)

    def number(self, value: object, of: str = "") -> float:
        """A number with two places. of: whose it is, for the sentence."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9:
            found = f"{value!r:.20}"
            raise self.wrong(f"{of} has {found}, which is not a number" if of else f"{found} is not a number")
        return round(float(value), 2)

    def side(self, value: object, name: str, most: int) -> int:
        """A side in pixels, 1 to `most`."""
        side = self.number(value)
        if not 1 <= side <= most:
            raise self.wrong(f"{name} is {side:g}, which is not between 1 and {most}")
        return int(side)

    def fields(self, value: object, wrong: str) -> Mapping[str, object]:
        """An object with named fields."""
        if not isinstance(value, Mapping):
            raise self.wrong(wrong)
        return cast("Mapping[str, object]", value)

    def items(self, value: object, wrong: str) -> list[object]:
        """A list."""
        if not isinstance(value, list):
            raise self.wrong(wrong)
        return cast("list[object]", value)

    def plain(self, value: object, what: str) -> dict[str, Any]:
        """A small object of texts and numbers."""
        entries = dict(self.fields(value, f"{what} is not an object"))
        plain = all(isinstance(entry, str | int | float | None) for entry in entries.values())
        if not plain or len(str(entries)) > TEXT:
            raise self.wrong(f"{what} holds more than short texts and numbers")
        return entries

    def base(self, value: object, most: float) -> dict[str, Any]:
        """A finished map under what is drawn: {"id", "box": [x, y, width, height], "source"?, "annotator"?,
        "options"?}, no number of the box above `most`.
        """
        given = self.fields(value, "the map under it is not an object with id and box")
        box = [self.number(number) for number in self.items(given.get("box"), "the map under it has no box")]
        if len(box) != 4 or min(box[2:]) <= 0 or max(map(abs, box)) > most:
            raise self.wrong("the box of the map under it is not x, y, width, height")
        options = self.fields(given.get("options") or {}, "the annotator's options are not an object")
        if len(options) > OPTIONS or len(str(options)) > TEXT:
            raise self.wrong("the annotator's options are too many")
        made = {
            "annotator": str(given.get("annotator") or "")[:60],
            "options": {name: self.number(number) for name, number in options.items()},
        }
        source = given.get("source")
        origin = {"source": self._asset(source), **made} if source else {}
        return {"id": self._asset(given.get("id")), "box": box, **origin}

    def _asset(self, value: object) -> str:
        if not isinstance(value, str) or not ASSET.fullmatch(value):
            raise self.wrong("the map under it is not the id of a picture")
        return value


def within(width: int, height: int, side: int) -> tuple[int, int]:
    """That size made smaller until no side is longer than `side`."""
    scale = min(1.0, side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))

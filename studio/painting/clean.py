"""Paintings as browsers and files send them, checked."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from studio.errors import InvalidRequestError
from studio.segments import REGIONS

FIELD = "painting"
ASSET_ID = re.compile(r"[0-9a-f]{64}")
OPS = {
    "depth": {
        "brush": ("path", "s", "soft", "v"),
        "erase": ("path", "s", "soft"),
        "gradient": ("line", "vs"),
        "floor": ("y", "vs"),
        "ball": ("x", "y", "r", "v"),
        "box": ("x", "y", "rx", "ry", "turn", "v"),
        "smooth": ("s",),
        "invert": (),
    },
    "segments": {
        "brush": ("path", "s", "region"),
        "erase": ("path", "s"),
        "area": ("ring", "region"),
        "rect": ("line", "region"),
        "fill": ("x", "y", "region"),
    },
}
"""What may be done, and the fields of each: path is p = [x, y, pressure, ...]; line is p = [x, y, x, y], a gradient's
ends or opposite corners; ring is p = [x, y, ...], the corners of an area; vs is v = [light at the far end, at the near
end]; s is a brush's width or the reach of smoothing; soft the share of a brush that fades; turn a box's, in degrees.
"""
SHEETS = {"smooth": 30, "fill": 4, "gradient": 2}
"""Ops that go over the whole sheet more than once: how often, at the pace of a brush."""


@dataclass(frozen=True, kw_only=True)
class PaintingLimits:
    """What a painting may hold: pixels a side, ops, numbers, sizes of brushes and things, characters about pictures.

    work: How many pixels all of it may change; a stroke those of the box around each segment.
    """

    side: int = 1024
    ops: int = 5000
    numbers: int = 200_000
    size: float = 1024.0
    text: int = 1200
    work: float = 3e8


def clean_painting(value: object, kind: str, limits: PaintingLimits | None = None) -> dict[str, Any]:
    """A painting of that kind ("depth", "segments") from a browser, checked and with nothing else in it.

    Raises: InvalidRequestError, saying what does not fit.
    """
    limits = limits or PaintingLimits()
    given = _object(value, "it is not an object with w, h and ops")
    width, height = (_side(given.get(name), name, limits) for name in ("w", "h"))
    ops = _list(given.get("ops", []), "ops are not a list")
    if len(ops) > limits.ops:
        raise _wrong(f"more than {limits.ops:,} things were done to it", hint="Clear it and start again.")
    reader = _Reader(width, height, limits)
    painting: dict[str, Any] = {"kind": kind, "w": width, "h": height}
    painting["ops"] = [_op(op, kind, reader) for op in ops]
    if base := given.get("base"):
        painting["base"] = _base(base, reader)
    if background := given.get("background"):
        painting["background"] = _plain(background, limits, "the picture to trace")
    return painting


@dataclass
class _Reader:
    """Reads the fields of ops, and counts what they cost."""

    width: int
    height: int
    limits: PaintingLimits
    numbers: int = 0
    work: float = 0.0

    def place(self, number: object) -> float:
        """A coordinate: at most two sheets off."""
        side = max(self.width, self.height)
        return self.within(number, (-2 * side, 3 * side), "a place", "lies far outside the sheet")

    def within(self, number: object, limits: tuple[float, float], name: str, wrong: str = "") -> float:
        low, high = limits
        found = _finite(number)
        if not low <= found <= high:
            raise _wrong(f"{name} {wrong or f'is {found:g}, which is not between {low:g} and {high:g}'}")
        return found

    def places(self, value: object, least: int, most: int) -> list[float]:
        numbers = _list(value, "a line has no places")
        self.count(len(numbers))
        if not least <= len(numbers) <= most or len(numbers) % 2:
            raise _wrong("the places of a line are not x and y in turn, or too many or too few")
        return [self.place(number) for number in numbers]

    def path(self, value: object) -> list[float]:
        numbers = _list(value, "a stroke has no points")
        self.count(len(numbers))
        if len(numbers) < 3 or len(numbers) % 3:
            raise _wrong("a stroke's points are not x, y, pressure in turn")
        return [
            self.within(number, (0, 4), "a pressure") if index % 3 == 2 else self.place(number)
            for index, number in enumerate(numbers)
        ]

    def count(self, numbers: int) -> None:
        self.numbers += numbers
        if self.numbers > self.limits.numbers:
            raise _wrong(f"it has more than {self.limits.numbers:,} numbers", hint="Clear a part of it.")

    def spend(self, op: Mapping[str, Any]) -> None:
        """Count the pixels that an op changes."""
        if "p" in op and "s" in op:
            self.work += self.stroke(op["p"], op["s"])
        elif op["kind"] == "area":
            self.work += self.ring(op["p"])
        else:
            self.work += SHEETS.get(op["kind"], 1) * self.width * self.height
        if self.work > self.limits.work:
            raise _wrong(
                "it is too much work: wide strokes over one another, or large areas", hint="Clear a part of it."
            )

    def stroke(self, path: list[float], size: float) -> float:
        points = list(zip(path[0::3], path[1::3], path[2::3], strict=True))
        pixels = 0.0
        for (x0, y0, a), (x1, y1, b) in zip(points, points[1:] or points, strict=False):
            reach = size * max(a, b) + 2
            pixels += min(abs(x1 - x0) + reach, self.width) * min(abs(y1 - y0) + reach, self.height)
        return pixels

    def ring(self, corners: list[float]) -> float:
        xs, ys = corners[0::2], corners[1::2]
        steps = zip(ys, [*ys[1:], ys[0]], strict=True)
        rows = sum(min(abs(b - a) + 1, self.height) for a, b in steps)
        return rows * min(max(xs) - min(xs) + 1, self.width)


Field = Callable[[Mapping[str, object], _Reader], dict[str, Any]]
LIGHT = (0, 255)


def _number(name: str, low: float, high: float, words: str) -> Field:
    return lambda given, reader: {name: reader.within(given.get(name), (low, high), words)}


def _size(name: str, words: str) -> Field:
    return lambda given, reader: {name: reader.within(given.get(name), (0.1, reader.limits.size), words)}


def _lights(given: Mapping[str, object], reader: _Reader) -> dict[str, Any]:
    lights = _list(given.get("v"), "a gradient does not say how near its ends are")
    if len(lights) != 2:
        raise _wrong("a gradient has two ends")
    return {"v": [reader.within(light, LIGHT, "how near an end is") for light in lights]}


def _region(given: Mapping[str, object], _reader: _Reader) -> dict[str, Any]:
    name = given.get("region")
    if not isinstance(name, str) or name not in REGIONS:
        raise _wrong(f"there is no region {name!r:.40}", hint=f"Known regions: {', '.join(REGIONS)}.")
    return {"region": name}


FIELDS: dict[str, Field] = {
    "path": lambda given, reader: {"p": reader.path(given.get("p"))},
    "line": lambda given, reader: {"p": reader.places(given.get("p"), 4, 4)},
    "ring": lambda given, reader: {"p": reader.places(given.get("p"), 6, 20_000)},
    "x": lambda given, reader: {"x": reader.place(given.get("x"))},
    "y": lambda given, reader: {"y": reader.place(given.get("y"))},
    "s": _size("s", "a width"),
    "r": _size("r", "a radius"),
    "rx": _size("rx", "half the width of a box"),
    "ry": _size("ry", "half the height of a box"),
    "soft": _number("soft", 0, 1, "a softness"),
    "turn": _number("turn", -45, 45, "the turn of a box"),
    "v": _number("v", *LIGHT, "how near it is"),
    "vs": _lights,
    "region": _region,
}


def _op(op: object, kind: str, reader: _Reader) -> dict[str, Any]:
    given = _object(op, "a thing done to it is not an object with a kind")
    name = given.get("kind")
    if not isinstance(name, str) or name not in OPS[kind]:
        raise _wrong(f"nothing is called {name!r:.40}", hint=f"Known kinds: {', '.join(OPS[kind])}.")
    cleaned: dict[str, Any] = {"kind": name}
    for field in OPS[kind][name]:
        cleaned |= FIELDS[field](given, reader)
    reader.spend(cleaned)
    return cleaned


def _base(base: object, reader: _Reader) -> dict[str, Any]:
    """The map under it: its asset, where it lies, and what else is said of how it was made."""
    given = dict(_object(base, "the map under it is not an object with id and box"))
    asset_id, box = given.get("id"), _list(given.get("box"), "the map under it has no box")
    if not isinstance(asset_id, str) or not ASSET_ID.fullmatch(asset_id):
        raise _wrong("the map under it is not the id of a picture")
    if len(box) != 4:
        raise _wrong("the box of the map under it is not x, y, width, height")
    x, y, *sides = box
    most = 8.0 * max(reader.width, reader.height)
    place = [reader.within(number, (-most, most), "the place of the map under it") for number in (x, y)]
    size = [reader.within(number, (1, most), "a side of the map under it") for number in sides]
    rest = {name: given[name] for name in ("source", "annotator", "options") if name in given}
    options = _plain(rest.pop("options", {}), reader.limits, "the options of the map under it")
    about = _plain(rest, reader.limits, "what is said of the map under it")
    return {"id": asset_id, "box": [*place, *size], **about, **({"options": options} if options else {})}


def _plain(value: object, limits: PaintingLimits, what: str) -> dict[str, Any]:
    """A small object of texts and numbers."""
    entries = dict(_object(value, f"{what} is not an object"))
    plain = all(isinstance(entry, str | int | float | None) for entry in entries.values())
    if not plain or len(str(entries)) > limits.text:
        raise _wrong(f"{what} holds more than short texts and numbers")
    return entries


def _finite(number: object) -> float:
    if isinstance(number, bool) or not isinstance(number, int | float) or not abs(number) < 1e9:
        raise _wrong(f"{number!r:.20} is not a number")
    return round(float(number), 2)


def _side(value: object, name: str, limits: PaintingLimits) -> int:
    side = _finite(value)
    if not 1 <= side <= limits.side:
        raise _wrong(f"{name} is {side:g}, which is not between 1 and {limits.side:,}")
    return int(side)


def _object(value: object, wrong: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise _wrong(wrong)
    return cast("Mapping[str, object]", value)


def _list(value: object, wrong: str) -> list[object]:
    if not isinstance(value, list):
        raise _wrong(wrong)
    return cast("list[object]", value)


def _wrong(what: str, *, hint: str = "Clear it and paint again.") -> InvalidRequestError:
    return InvalidRequestError(f"The painting cannot be used: {what}.", field=FIELD, hint=hint)

"""Paintings as browsers and files send them, checked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from studio.drawn import Reader
from studio.painting.palettes import PALETTES
from studio.params import SOFTNESS_MAX, ControlUnit

FIELD = "painting"
READ = Reader(field=FIELD, refusal="The painting cannot be used", hint="Clear it and paint again.")
NAMED = {
    "brush": ("path", "s", "region"),
    "erase": ("path", "s"),
    "area": ("ring", "region"),
    "rect": ("line", "region"),
    "fill": ("x", "y", "region"),
}
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
    "segments": NAMED,
    "regions": {**NAMED, "clear": ("region",)},
}
"""What may be done, and the fields of each: path is p = [x, y, pressure, ...]; line is p = [x, y, x, y], a gradient's
ends or opposite corners; ring is p = [x, y, ...], the corners of an area; vs is v = [light at the far end, at the near
end]; s is a brush's width or the reach of smoothing; soft the share of a brush that fades; turn a box's, in degrees.
"""
SHEETS = {"smooth": 30, "fill": 4, "gradient": 2}
"""Ops that go over the whole sheet more than once: how often, at the pace of a brush."""


@dataclass(frozen=True, kw_only=True)
class PaintingLimits:
    """What a painting may hold: pixels a side, ops, numbers, sizes of brushes and things, characters about pictures and
    of a region's words.

    work: How many pixels all of it may change; a stroke those of the box around each segment.
    """

    side: int = 1024
    ops: int = 5000
    numbers: int = 200_000
    size: float = 1024.0
    text: int = 1200
    words: int = 20_000
    work: float = 3e8


def clean_painting(value: object, kind: str, limits: PaintingLimits | None = None) -> dict[str, Any]:
    """A painting of that kind ("depth", "segments", "regions") from a browser, checked and with nothing else in it.

    Raises: InvalidRequestError, saying what does not fit.
    """
    limits = limits or PaintingLimits()
    given = READ.fields(value, "it is not an object with w, h and ops")
    width, height = (READ.side(given.get(name), name, limits.side) for name in ("w", "h"))
    ops = READ.items(given.get("ops", []), "ops are not a list")
    if len(ops) > limits.ops:
        raise READ.wrong(f"more than {limits.ops:,} things were done to it", hint="Clear it and start again.")
    reader = _Reader(kind, width, height, limits)
    painting: dict[str, Any] = {"kind": kind, "w": width, "h": height}
    painting["ops"] = [_op(op, reader) for op in ops]
    if kind == "regions":
        painting |= _spoken(given, reader)
    if base := given.get("base"):
        painting["base"] = READ.base(base, 8.0 * max(width, height))
    if background := given.get("background"):
        painting["background"] = READ.plain(background, "the picture to trace")
    return painting


@dataclass
class _Reader:
    """Reads the fields of ops, and counts what they cost."""

    kind: str
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
        found = READ.number(number)
        if not low <= found <= high:
            raise READ.wrong(f"{name} {wrong or f'is {found:g}, which is not between {low:g} and {high:g}'}")
        return found

    def places(self, value: object, least: int, most: int) -> list[float]:
        numbers = READ.items(value, "a line has no places")
        self.count(len(numbers))
        if not least <= len(numbers) <= most or len(numbers) % 2:
            raise READ.wrong("the places of a line are not x and y in turn, or too many or too few")
        return [self.place(number) for number in numbers]

    def path(self, value: object) -> list[float]:
        numbers = READ.items(value, "a stroke has no points")
        self.count(len(numbers))
        if len(numbers) < 3 or len(numbers) % 3:
            raise READ.wrong("a stroke's points are not x, y, pressure in turn")
        return [
            self.within(number, (0, 4), "a pressure") if index % 3 == 2 else self.place(number)
            for index, number in enumerate(numbers)
        ]

    def count(self, numbers: int) -> None:
        self.numbers += numbers
        if self.numbers > self.limits.numbers:
            raise READ.wrong(f"it has more than {self.limits.numbers:,} numbers", hint="Clear a part of it.")

    def spend(self, op: Mapping[str, Any]) -> None:
        """Count the pixels that an op changes."""
        if "p" in op and "s" in op:
            self.work += self.stroke(op["p"], op["s"])
        elif op["kind"] == "area":
            self.work += self.ring(op["p"])
        else:
            self.work += SHEETS.get(op["kind"], 1) * self.width * self.height
        if self.work > self.limits.work:
            raise READ.wrong(
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
    lights = READ.items(given.get("v"), "a gradient does not say how near its ends are")
    if len(lights) != 2:
        raise READ.wrong("a gradient has two ends")
    return {"v": [reader.within(light, LIGHT, "how near an end is") for light in lights]}


def _region(given: Mapping[str, object], reader: _Reader) -> dict[str, Any]:
    name, known = given.get("region"), PALETTES[reader.kind]
    if not isinstance(name, str) or name not in known:
        raise READ.wrong(f"there is no region {name!r:.40}", hint=f"Known regions: {', '.join(known)}.")
    return {"region": name}


def _spoken(given: Mapping[str, object], reader: _Reader) -> dict[str, Any]:
    """What regions say, and how soft their borders are."""
    listed = READ.items(given.get("regions", []), "its regions are not a list")
    regions = [_row(row, reader) for row in listed]
    names = [row["region"] for row in regions]
    if len(set(names)) < len(names):
        raise READ.wrong("a region is listed twice")
    softness = given.get("softness", ControlUnit.softness)
    return {"regions": regions, "softness": reader.within(softness, (0, SOFTNESS_MAX), "the softness of its borders")}


def _row(row: object, reader: _Reader) -> dict[str, Any]:
    given = READ.fields(row, "a region is not an object with region and words")
    words = given.get("words", "")
    if not isinstance(words, str) or len(words) > reader.limits.words:
        raise READ.wrong(f"a region's words are no text of at most {reader.limits.words:,} characters")
    return _region(given, reader) | {"words": words, "on": given.get("on") is not False}


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


def _op(op: object, reader: _Reader) -> dict[str, Any]:
    given = READ.fields(op, "a thing done to it is not an object with a kind")
    name = given.get("kind")
    known = OPS[reader.kind]
    if not isinstance(name, str) or name not in known:
        raise READ.wrong(f"nothing is called {name!r:.40}", hint=f"Known kinds: {', '.join(known)}.")
    cleaned: dict[str, Any] = {"kind": name}
    for field in known[name]:
        cleaned |= FIELDS[field](given, reader)
    reader.spend(cleaned)
    return cleaned

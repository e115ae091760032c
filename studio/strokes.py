"""A drawing as data, and as the picture a control model sees: light strokes on black.

A drawing is {"w", "h", "strokes": [{"c", "s", "e", "p"}], "base"?, "background"?}: the size of the pad that it was
drawn on, and strokes in order, each with a colour c, a brush size s in pixels of the pad, e = 1 for the eraser, and
p = [x, y, pressure, ...] from the first point to the last. The base, {"id", "box": [x, y, width, height], "source"?,
"annotator"?, "options"?}, is a finished map under the strokes, which an annotator may have made of a photo.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw

from studio.drawn import Reader, within
from studio.errors import InvalidRequestError

FIELD = "strokes"
READ = Reader(field=FIELD, refusal="The drawing cannot be used", hint="Clear the canvas and draw again.")
COLOR = re.compile(r"#[0-9a-fA-F]{6}")
NOTHING_DRAWN = "Nothing is drawn yet."
OVERSAMPLING = 4
PAINT_AT_ONCE = 4e9


@dataclass(frozen=True, kw_only=True)
class StrokeLimits:
    """What a drawing may hold: pixels, strokes, points, brush size, and how often the brush may cover the whole pad."""

    side: int = 8192
    strokes: int = 20_000
    points: int = 400_000
    size: float = 400.0
    pressure: float = 4.0
    background: int = 300
    paint: float = 3000.0


def clean_strokes(value: object, limits: StrokeLimits | None = None) -> dict[str, Any]:
    """A drawing from a browser, checked and with nothing else in it.

    Raises: InvalidRequestError, saying what does not fit.
    """
    limits = limits or StrokeLimits()
    given = READ.fields(value, "it is not an object with w, h and strokes")
    width, height = (READ.side(given.get(name), name, limits.side) for name in ("w", "h"))
    strokes = READ.items(given.get("strokes", []), "strokes are not a list")
    if len(strokes) > limits.strokes:
        raise READ.wrong(f"it has more than {limits.strokes:,} strokes")
    cleaned = [_stroke(stroke, max(width, height), limits) for stroke in strokes]
    if sum(len(stroke["p"]) for stroke in cleaned) > 3 * limits.points:
        raise READ.wrong(f"it has more than {limits.points:,} points", hint="Clear a part of it.")
    drawing: dict[str, Any] = {"w": width, "h": height, "strokes": cleaned}
    if _coverage(drawing) > limits.paint:
        raise READ.wrong("it has too many wide strokes over one another", hint="Clear a part of it.")
    if base := given.get("base"):
        drawing["base"] = READ.base(base, 2 * limits.side)
    if background := given.get("background"):
        drawing["background"] = _background(background, limits)
    return drawing


def is_empty(drawing: Mapping[str, Any], base: Image.Image | None = None) -> bool:
    """Whether a cleaned drawing shows nothing: no stroke, all of it erased again, or all of it beside the pad."""
    if base is None and all(stroke["e"] for stroke in drawing["strokes"]):
        return True
    return rasterise(drawing, *within(drawing["w"], drawing["h"], 512), base).getbbox() is None


def require_drawn(drawing: Mapping[str, Any]) -> None:
    """Raises: InvalidRequestError, if the drawing shows nothing."""
    if is_empty(drawing):
        raise InvalidRequestError(
            NOTHING_DRAWN,
            field=FIELD,
            hint="Draw a few lines on the canvas, or switch the sketch off to go by the prompt.",
        )


def rasterise(drawing: Mapping[str, Any], width: int, height: int, base: Image.Image | None = None) -> Image.Image:
    """The map that a cleaned drawing gives, RGB of that size: white where a stroke is; elsewhere black, or the base.

    Follows the rule of a browser's 2D canvas: a dot at the first point, then round-capped segments, each as wide as the
    pressure at its end times the brush. The pad is stretched to the size asked for. Colours do not matter: what is
    drawn on the pad is light on the map.
    """
    factor = _oversampling(drawing, width, height)
    mask = Image.new("L", (width * factor, height * factor), 0)
    across, down = mask.width / drawing["w"], mask.height / drawing["h"]
    if base is not None:
        x, y, wide, high = (n * (down if i % 2 else across) for i, n in enumerate(drawing["base"]["box"]))
        lying = base.convert("L").resize((max(1, round(wide)), max(1, round(high))), Image.Resampling.BICUBIC)
        mask.paste(lying, (round(x), round(y)))
    draw = ImageDraw.Draw(mask)
    for stroke in drawing["strokes"]:
        _draw_stroke(draw, stroke, (across, down), 0 if stroke["e"] else 255)
    return mask.resize((width, height), Image.Resampling.BOX).convert("RGB")


def _coverage(drawing: Mapping[str, Any]) -> float:
    """How often the brush covers the pad, counting every point: the work of rasterising."""
    painted = sum((stroke["s"] * pressure) ** 2 for stroke in drawing["strokes"] for pressure in stroke["p"][2::3])
    return painted / (drawing["w"] * drawing["h"])


def _oversampling(drawing: Mapping[str, Any], width: int, height: int) -> int:
    fits = 8192 // max(width, height)
    quick = math.sqrt(PAINT_AT_ONCE / max(1.0, _coverage(drawing) * width * height))
    return max(1, min(OVERSAMPLING, fits, int(quick)))


def _draw_stroke(draw: ImageDraw.ImageDraw, stroke: Mapping[str, Any], scale: tuple[float, float], light: int) -> None:
    points, (across, down) = stroke["p"], scale
    thick = math.sqrt(across * down)
    # A canvas counts the edges of pixels, Pillow their centres, and it paints the pixels at both ends of a shape.
    path = [(x * across - 0.5, y * down - 0.5) for x, y in zip(points[0::3], points[1::3], strict=True)]
    radii = [max(0.0, max(1.0, stroke["s"] * pressure) / 2 * thick - 0.5) for pressure in points[2::3]]
    _dot(draw, path[0], radii[0], light)
    for start, end, before, radius in zip(path, path[1:], radii, radii[1:], strict=False):
        _segment(draw, (start, end), radius, light)
        if radius > before:
            _dot(draw, start, radius, light)
        _dot(draw, end, radius, light)


def _dot(draw: ImageDraw.ImageDraw, at: tuple[float, float], radius: float, light: int) -> None:
    x, y = at
    draw.ellipse((round(x - radius), round(y - radius), round(x + radius), round(y + radius)), fill=light)


def _segment(
    draw: ImageDraw.ImageDraw, ends: tuple[tuple[float, float], tuple[float, float]], radius: float, light: int
) -> None:
    (x0, y0), (x1, y1) = ends
    length = math.hypot(x1 - x0, y1 - y0)
    if length:
        dx, dy = (y1 - y0) / length * radius, (x0 - x1) / length * radius
        corners = ((x0 + dx, y0 + dy), (x1 + dx, y1 + dy), (x1 - dx, y1 - dy), (x0 - dx, y0 - dy))
        draw.polygon([(round(x), round(y)) for x, y in corners], fill=light)  # Pillow would cut the fractions off


def _stroke(stroke: object, side: int, limits: StrokeLimits) -> dict[str, Any]:
    given = READ.fields(stroke, "a stroke is not an object with s, e and p")
    points = READ.items(given.get("p"), "a stroke has no points")
    if len(points) < 3 or len(points) % 3 or len(points) > 3 * limits.points:
        raise READ.wrong("a stroke's points are not x, y, pressure in turn, or too many")
    numbers = [READ.number(number) for number in points]
    if any(not -side <= number <= 2 * side for index, number in enumerate(numbers) if index % 3 < 2):
        raise READ.wrong("a point lies far outside the pad")
    if any(not 0 <= pressure <= limits.pressure for pressure in numbers[2::3]):
        raise READ.wrong(f"a pressure is not between 0 and {limits.pressure:g}")
    size, color = READ.number(given.get("s")), given.get("c", "#000000")
    if not 0 < size <= limits.size:
        raise READ.wrong(f"a brush size is not between 0 and {limits.size:g}")
    if not isinstance(color, str) or not COLOR.fullmatch(color):
        raise READ.wrong("a colour is not written as #rrggbb")
    return {"c": color.lower(), "s": size, "e": 1 if given.get("e") in (1, True) else 0, "p": numbers}


def _background(background: object, limits: StrokeLimits) -> str | dict[str, Any]:
    """The picture to trace: its asset id, or a small object of the editor's around it."""
    if isinstance(background, str) and len(background) <= limits.background:
        return background
    entries = dict(READ.fields(background, "the background is not the id of a picture"))
    plain = all(isinstance(value, str | int | float | None) for value in entries.values())
    if not plain or len(str(entries)) > 4 * limits.background:
        raise READ.wrong("the background holds more than short texts and numbers")
    return entries

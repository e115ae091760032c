"""Paintings as the pictures that control models see. The same rule as studio/ui/paint.js, which shows them at once."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from studio.painting import shapes
from studio.painting.clean import clean_painting
from studio.painting.palettes import PALETTES, packed
from studio.painting.shapes import Sheet, Size

Labels = NDArray[np.int32]
BLACK = 0
SAMPLES = 4


def rasterise(painting: Mapping[str, Any], width: int, height: int, base: Image.Image | None = None) -> Image.Image:
    """The map that a cleaned painting gives, RGB of that size; black where nothing is.

    base: The picture of painting["base"]. It is painted on a sheet of the painting's own size, which is then stretched:
    depth evenly, the others so that no colours mix. Regions that are off are not on the map.
    """
    size = (painting["h"], painting["w"])
    if painting["kind"] in PALETTES:
        return _colored(paint_segments(painting, size, base)).resize((width, height), Image.Resampling.NEAREST)
    light = np.floor(np.clip(paint_depth(painting, size, base), 0, 255) + 0.5).astype(np.uint8)
    return Image.fromarray(light).resize((width, height), Image.Resampling.BILINEAR).convert("RGB")


def is_empty(painting: Mapping[str, Any], base: Image.Image | None = None) -> bool:
    """Whether a cleaned painting shows nothing: its map is black."""
    return rasterise(painting, painting["w"], painting["h"], base).getbbox() is None


def make_map(
    value: object, kind: str, size: tuple[int, int], open_base: Callable[[dict[str, Any]], Image.Image | None]
) -> tuple[dict[str, Any], Image.Image | None]:
    """A painting from a browser, checked, and its map of `size` (width, height); None where it shows nothing.

    open_base: Gives the picture of a painting's base. Raises: InvalidRequestError, and what open_base does.
    """
    painting = clean_painting(value, kind)
    base = open_base(painting)
    return painting, None if is_empty(painting, base) else rasterise(painting, *size, base)


class DepthSheet:
    """How light each pixel is: `shown`, and `under`, which the eraser brings back. Both (height, width), 0 to 255."""

    def __init__(self, under: Sheet) -> None:
        self.under = under
        self.shown = under.copy()
        self.size = (under.shape[0], under.shape[1])

    def brush(self, op: Mapping[str, Any]) -> None:
        at, cover = shapes.brushed(op["p"], op["s"], op["soft"], self.size)
        self.shown[at] += cover * (np.float32(op["v"]) - self.shown[at])

    def erase(self, op: Mapping[str, Any]) -> None:
        at, cover = shapes.brushed(op["p"], op["s"], op["soft"], self.size)
        self.shown[at] += cover * (self.under[at] - self.shown[at])

    def gradient(self, op: Mapping[str, Any]) -> None:
        """Over the whole sheet, even beyond its ends; a part of what the eraser brings back."""
        (x0, y0, x1, y1), (far, near) = op["p"], op["v"]
        xs, ys = shapes.middles((slice(0, self.size[0]), slice(0, self.size[1])))
        length = max((x1 - x0) ** 2 + (y1 - y0) ** 2, 1e-9)
        along = np.clip(((xs - x0) * (x1 - x0) + (ys - y0) * (y1 - y0)) / length, 0, 1)
        self.under = (far + along * (near - far)).astype(np.float32)
        self.shown = self.under.copy()

    def floor(self, op: Mapping[str, Any]) -> None:
        """Below the horizon y: a level floor, whose nearness grows evenly down to the rim of the sheet."""
        (far, near), horizon = op["v"], op["y"]
        _, ys = shapes.middles((slice(0, self.size[0]), slice(0, 1)))
        rows = ys[:, 0] > horizon
        along = (ys[rows] - horizon) / max(self.size[0] - horizon, 1e-9)
        for sheet in (self.under, self.shown):
            sheet[rows] = far + along * (near - far)

    def ball(self, op: Mapping[str, Any]) -> None:
        self._solid(op, shapes.sphere(op["x"], op["y"], op["r"], self.size))

    def box(self, op: Mapping[str, Any]) -> None:
        self._solid(op, shapes.prism(op["x"], op["y"], (op["rx"], op["ry"]), op["turn"], self.size))

    def _solid(self, op: Mapping[str, Any], seen: tuple[shapes.Window, Sheet, Sheet]) -> None:
        """A solid hides what is farther than its front, and is hidden by what is nearer."""
        at, cover, front = seen
        light = np.minimum(255, op["v"] + front * (255 / max(self.size)))
        self.shown[at] += cover * np.maximum(0, light - self.shown[at])

    def smooth(self, op: Mapping[str, Any]) -> None:
        self.under, self.shown = (shapes.blurred(sheet, op["s"]) for sheet in (self.under, self.shown))

    def invert(self, _op: Mapping[str, Any]) -> None:
        self.under, self.shown = 255 - self.under, 255 - self.shown


class SegmentSheet:
    """The colour of each pixel as 0xRRGGBB: `shown`, and `under`, which the eraser brings back; (height, width)."""

    def __init__(self, under: Labels, kind: str) -> None:
        self.under = under
        self.colors = {name: packed(color) for name, color in PALETTES[kind].items()}
        self.shown = under.copy()
        self.size = (under.shape[0], under.shape[1])

    def brush(self, op: Mapping[str, Any]) -> None:
        at, cover = shapes.brushed(op["p"], op["s"], 0, self.size)
        self.shown[at][cover >= 0.5] = self.colors[op["region"]]

    def erase(self, op: Mapping[str, Any]) -> None:
        at, cover = shapes.brushed(op["p"], op["s"], 0, self.size)
        self.shown[at] = np.where(cover >= 0.5, self.under[at], self.shown[at])

    def area(self, op: Mapping[str, Any]) -> None:
        at, found = shapes.inside(op["p"], self.size)
        self.shown[at][found] = self.colors[op["region"]]

    def rect(self, op: Mapping[str, Any]) -> None:
        x0, y0, x1, y1 = op["p"]
        self.area({**op, "p": [x0, y0, x1, y0, x1, y1, x0, y1]})

    def fill(self, op: Mapping[str, Any]) -> None:
        found = shapes.connected(self.shown, op["x"], op["y"])
        if found is not None:
            self.shown[found] = self.colors[op["region"]]

    def clear(self, op: Mapping[str, Any]) -> None:
        self.shown[self.shown == self.colors[op["region"]]] = BLACK


def paint_depth(painting: Mapping[str, Any], size: Size, base: Image.Image | None) -> Sheet:
    """Light from 0 to 255 on a sheet of (height, width)."""
    sheet = DepthSheet(_laid_light(base, painting.get("base"), size))
    for op in painting["ops"]:
        getattr(sheet, op["kind"])(op)
    return sheet.shown


def paint_segments(painting: Mapping[str, Any], size: Size, base: Image.Image | None) -> Labels:
    """Colours as 0xRRGGBB on a sheet of (height, width)."""
    sheet = SegmentSheet(_laid_colors(base, painting.get("base"), size), painting["kind"])
    for op in painting["ops"]:
        getattr(sheet, op["kind"])(op)
    for row in painting.get("regions", ()):
        if not row["on"]:
            sheet.clear(row)
    return sheet.shown


def _colored(labels: Labels) -> Image.Image:
    return Image.fromarray(np.stack([labels >> 16, labels >> 8, labels], -1).astype(np.uint8))


def _laid_light(base: Image.Image | None, where: Mapping[str, Any] | None, size: Size) -> Sheet:
    """The base's lightness where it lies on the sheet: bilinear, at several places in a pixel when it shrinks."""
    sheet = np.zeros(size, np.float32)
    if base is None or where is None:
        return sheet
    red, green, blue = np.moveaxis(np.asarray(base.convert("RGB"), dtype=np.float32), -1, 0)
    light = (red * 299 + green * 587 + blue * 114) / 1000
    shrinks = max(light.shape[1] / where["box"][2], light.shape[0] / where["box"][3])
    samples = max(1, min(SAMPLES, math.ceil(shrinks)))
    offsets = [(i + 0.5) / samples - 0.5 for i in range(samples)]
    for down in offsets:
        for right in offsets:
            rows, columns = _source(where["box"], light.shape, size, (right, down))
            sheet += _bilinear(light, rows, columns)
    sheet /= samples * samples
    rows, columns = _source(where["box"], light.shape, size, (0, 0))
    return sheet * (_on(rows, light.shape[0])[:, None] & _on(columns, light.shape[1])[None, :])


def _laid_colors(base: Image.Image | None, where: Mapping[str, Any] | None, size: Size) -> Labels:
    """The base's colours where it lies on the sheet, unmixed."""
    sheet = np.full(size, BLACK, np.int32)
    if base is None or where is None:
        return sheet
    colors = np.asarray(base.convert("RGB"), dtype=np.int32)
    labels = (colors[..., 0] << 16) | (colors[..., 1] << 8) | colors[..., 2]
    rows, columns = _source(where["box"], labels.shape, size, (0, 0))
    on_rows, on_columns = _on(rows, labels.shape[0]), _on(columns, labels.shape[1])
    picked = np.floor(rows[on_rows]).astype(int)[:, None], np.floor(columns[on_columns]).astype(int)[None, :]
    sheet[np.ix_(on_rows, on_columns)] = labels[picked]
    return sheet


def _source(
    box: list[float], shape: tuple[int, ...], size: Size, offset: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Which rows and columns of the base lie under the middles of the sheet's, moved by an offset in pixels."""
    (left, top, width, height), (right, down) = box, offset
    rows = (np.arange(size[0]) + 0.5 + down - top) * shape[0] / height
    columns = (np.arange(size[1]) + 0.5 + right - left) * shape[1] / width
    return rows, columns


def _on(places: NDArray[np.float64], count: int) -> shapes.Mask:
    return (places >= 0) & (places < count)


def _bilinear(light: Sheet, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> Sheet:
    """The values between the middles of pixels; the rim goes on outside."""
    (top, bottom, down), (left, right, across) = (
        _neighbours(places, count) for places, count in zip((rows, columns), light.shape, strict=True)
    )
    upper = light[np.ix_(top, left)] * (1 - across) + light[np.ix_(top, right)] * across
    lower = light[np.ix_(bottom, left)] * (1 - across) + light[np.ix_(bottom, right)] * across
    return (upper * (1 - down[:, None]) + lower * down[:, None]).astype(np.float32)


def _neighbours(
    places: NDArray[np.float64], count: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """The pixels before and after, and the share of the one after."""
    at = np.clip(places - 0.5, 0, count - 1)
    before = np.floor(at).astype(np.intp)
    return before, np.minimum(before + 1, count - 1), at - before

"""What brushes and solids cover, pixel by pixel: the rule that studio/ui/paint.js follows, too.

Sheets are (height, width); the middle of the pixel in row i and column j lies at (j + 0.5, i + 0.5).
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Sheet = NDArray[np.float32]
Mask = NDArray[np.bool_]
Window = tuple[slice, slice]
Size = tuple[int, int]


def window(box: tuple[float, float, float, float], size: Size) -> Window:
    """The rows and columns whose pixels may touch the box left, top, right, bottom; none when it lies outside."""
    (left, top, right, bottom), (height, width) = box, size
    columns = slice(max(0, math.floor(left - 1)), max(0, min(width, math.ceil(right + 1))))
    return slice(max(0, math.floor(top - 1)), max(0, min(height, math.ceil(bottom + 1)))), columns


def middles(at: Window) -> tuple[Sheet, Sheet]:
    """x (1, w) and y (h, 1) of the middles of those pixels."""
    rows, columns = at
    xs = np.arange(columns.start, columns.stop, dtype=np.float32) + np.float32(0.5)
    ys = np.arange(rows.start, rows.stop, dtype=np.float32) + np.float32(0.5)
    return xs[None, :], ys[:, None]


def brushed(path: Sequence[float], width: float, soft: float, size: Size) -> tuple[Window, Sheet]:
    """How much a stroke covers, in steps of 1/255: all in the middle, less in the outer share `soft`.

    path: x, y, pressure in turn; between two points the radius, half of width times pressure, changes evenly.
    """
    radius = width / 2 * max(path[2::3])
    at = window(
        (min(path[0::3]) - radius, min(path[1::3]) - radius, max(path[0::3]) + radius, max(path[1::3]) + radius), size
    )
    shape = tuple(max(0, part.stop - part.start) for part in at)
    cover = np.zeros(shape, np.float32)
    points = [(x, y, width / 2 * pressure) for x, y, pressure in zip(path[0::3], path[1::3], path[2::3], strict=True)]
    for start, end in zip(points, points[1:] or points, strict=False):
        _segment(cover, at, (start, end), soft)
    return at, np.floor(cover * 255 + 0.5) / np.float32(255)


def _segment(cover: Sheet, at: Window, ends: tuple[tuple[float, float, float], ...], soft: float) -> None:
    """Raise `cover`, which lies at `at`, to that of one segment."""
    (x0, y0, r0), (x1, y1, r1) = ends
    reach, rows, columns = max(r0, r1), at[0], at[1]
    box = (min(x0, x1) - reach, min(y0, y1) - reach, max(x0, x1) + reach, max(y0, y1) + reach)
    part = window(box, (rows.stop, columns.stop))
    xs, ys = middles(part)
    length = (x1 - x0) ** 2 + (y1 - y0) ** 2
    along = ((xs - x0) * (x1 - x0) + (ys - y0) * (y1 - y0)) / max(length, 1e-9)
    along = np.clip(along, 0, 1) if length else along * 0
    away = np.hypot(xs - (x0 + along * (x1 - x0)), ys - (y0 + along * (y1 - y0)))
    radius = r0 + along * (r1 - r0)
    share = np.clip((radius + 0.5 - away) / np.maximum(1, soft * radius), 0, 1)
    rows, columns = (slice(p.start - a.start, p.stop - a.start) for p, a in zip(part, at, strict=True))
    np.maximum(cover[rows, columns], share * share * (3 - 2 * share), out=cover[rows, columns])


def sphere(x: float, y: float, radius: float, size: Size) -> tuple[Window, Sheet, Sheet]:
    """Where a ball is seen, how much of each pixel it covers, and how far its front is before its middle, in pixels."""
    at = window((x - radius, y - radius, x + radius, y + radius), size)
    xs, ys = middles(at)
    square = (xs - x) ** 2 + (ys - y) ** 2
    cover = np.clip(radius + 0.5 - np.sqrt(square), 0, 1)
    return at, cover, np.sqrt(np.maximum(0, radius * radius - square))


def prism(x: float, y: float, half: tuple[float, float], turn: float, size: Size) -> tuple[Window, Sheet, Sheet]:
    """The same of an upright box on a square, seen straight on. half: of the width and height that are seen.

    turn: degrees, from -45 to 45, about its middle; 0 shows one face, 45 two alike.
    """
    rx, ry = half
    at = window((x - rx, y - ry, x + rx, y + ry), size)
    xs, ys = middles(at)
    angle = math.radians(turn % 90)
    cos, sin = math.cos(angle), math.sin(angle)
    side = rx / (cos + sin)  # half a side of the square
    edge, front = side * (cos - sin), side * (cos + sin)  # the upright edge that is nearest
    past = xs - x - edge
    depth = front + np.where(past < 0, past * (sin / cos), past * -(cos / sin) if sin > 1e-9 else 0)
    cover = np.clip(rx + 0.5 - np.abs(xs - x), 0, 1) * np.clip(ry + 0.5 - np.abs(ys - y), 0, 1)
    return at, cover, np.broadcast_to(depth, cover.shape).astype(np.float32)


def blurred(sheet: Sheet, reach: float) -> Sheet:
    """Three means over squares of 2 * reach + 1 pixels, reach rounded; the rim goes on outside."""
    across = math.floor(reach + 0.5)
    for _ in range(3):
        for axis in (0, 1):
            sheet = _averaged(sheet, across, axis)
    return sheet


def _averaged(sheet: Sheet, reach: int, axis: int) -> Sheet:
    wide = [(0, 0), (0, 0)]
    wide[axis] = (reach + 1, reach)
    sums = np.cumsum(np.pad(sheet, wide, mode="edge"), axis=axis, dtype=np.float64)
    count = sheet.shape[axis]
    ends, starts = (np.take(sums, np.arange(i, i + count), axis=axis) for i in (2 * reach + 1, 0))
    return ((ends - starts) / (2 * reach + 1)).astype(np.float32)


def inside(ring: Sequence[float], size: Size) -> tuple[Window, Mask]:
    """The pixels whose middle lies within the area with these corners, x and y in turn; even-odd where it crosses."""
    corners = list(zip(ring[0::2], ring[1::2], strict=True))
    at = window((min(ring[0::2]), min(ring[1::2]), max(ring[0::2]), max(ring[1::2])), size)
    xs, ys = middles(at)
    found = np.zeros((ys.size, xs.size), np.bool_)
    for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]], strict=True):
        rows = np.flatnonzero((y0 <= ys[:, 0]) != (y1 <= ys[:, 0]))
        if rows.size:
            crossing = x0 + (ys[rows] - y0) * ((x1 - x0) / (y1 - y0))
            found[rows] ^= xs < crossing
    return at, found


def connected(sheet: NDArray[np.int32], x: float, y: float) -> Mask | None:
    """The pixels of one value that hang together, by their sides, with the one at (x, y); None outside the sheet."""
    from scipy import ndimage  # takes 0.4 s to import, wanted only by those who fill

    column, row = math.floor(x), math.floor(y)
    if not (0 <= row < sheet.shape[0] and 0 <= column < sheet.shape[1]):
        return None
    labels = np.zeros(sheet.shape, np.int32)
    ndimage.label(sheet == sheet[row, column], output=labels)
    return labels == labels[row, column]

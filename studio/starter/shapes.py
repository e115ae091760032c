"""The silhouettes: each object as coloured polygons in a box of x -0.5 to 0.5 and y 0 (bottom) to 1 (top)."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Color = tuple[int, int, int]
Points = NDArray[np.float64]

INK: Color = (44, 42, 50)
WOOD: Color = (116, 78, 48)
LEAF: Color = (58, 138, 62)
CREAM: Color = (250, 240, 206)


@dataclass(frozen=True)
class Part:
    """A filled polygon, (n, 2), later parts above earlier ones."""

    points: Points
    color: Color


def shade(color: Color, factor: float) -> Color:
    """The colour, darker below 1; black becomes a grey, so that parts of it still show."""
    if sum(color) < 160:
        color, factor = (74, 74, 84), 1.0 + (1.0 - factor) * 0.6
    r, g, b = (int(max(0, min(255, c * factor))) for c in color)
    return r, g, b


def ellipse(x: float, y: float, rx: float, ry: float, color: Color) -> Part:
    turn = np.linspace(0, 2 * math.pi, 29)[:-1]
    return Part(np.stack([x + rx * np.cos(turn), y + ry * np.sin(turn)], 1), color)


def box(x0: float, y0: float, x1: float, y1: float, color: Color) -> Part:
    return polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], color)


def polygon(points: list[tuple[float, float]], color: Color) -> Part:
    return Part(np.array(points, float), color)


def dome(x: float, y: float, rx: float, ry: float, color: Color) -> Part:
    turn = np.linspace(0, math.pi, 19)
    return Part(np.stack([x + rx * np.cos(turn), y + ry * np.sin(turn)], 1), color)


def house(c: Color) -> list[Part]:
    window = CREAM if sum(c) < 560 else (120, 170, 220)
    return [
        box(-0.41, 0, 0.41, 0.58, c),
        polygon([(-0.5, 0.54), (0.5, 0.54), (0, 1)], shade(c, 0.62)),
        box(-0.11, 0, 0.11, 0.34, shade(c, 0.45)),
        box(-0.34, 0.26, -0.18, 0.44, window),
        box(0.18, 0.26, 0.34, 0.44, window),
    ]


def tree(c: Color) -> list[Part]:
    return [
        box(-0.1, 0, 0.1, 0.36, WOOD),
        polygon([(-0.5, 0.24), (0.5, 0.24), (0, 0.68)], shade(c, 0.82)),
        polygon([(-0.42, 0.5), (0.42, 0.5), (0, 1)], c),
    ]


def car(c: Color) -> list[Part]:
    glass = (196, 226, 242)
    return [
        polygon([(-0.32, 0.52), (-0.2, 1), (0.16, 1), (0.32, 0.52)], c),
        polygon([(-0.23, 0.56), (-0.15, 0.88), (0.12, 0.88), (0.22, 0.56)], glass),
        box(-0.5, 0.2, 0.5, 0.58, c),
        *(ellipse(x, 0.2, 0.13, 0.2, INK) for x in (-0.27, 0.27)),
        *(ellipse(x, 0.2, 0.055, 0.085, (206, 206, 212)) for x in (-0.27, 0.27)),
    ]


def boat(c: Color) -> list[Part]:
    sail = CREAM if sum(c) < 620 else (232, 150, 90)
    return [
        box(-0.03, 0.28, 0.03, 1, WOOD),
        polygon([(0.05, 0.36), (0.05, 0.98), (0.44, 0.36)], sail),
        polygon([(-0.06, 0.36), (-0.06, 0.88), (-0.36, 0.36)], shade(sail, 0.9)),
        polygon([(-0.5, 0.3), (0.5, 0.3), (0.3, 0), (-0.3, 0)], c),
    ]


def balloon(c: Color) -> list[Part]:
    return [
        box(-0.03, 0, 0.03, 0.3, (96, 86, 82)),
        polygon([(-0.13, 0.24), (0.13, 0.24), (0, 0.36)], shade(c, 0.78)),
        ellipse(0, 0.65, 0.5, 0.35, c),
        ellipse(-0.18, 0.76, 0.12, 0.1, shade(c, 1.25)),
    ]


def heart(c: Color) -> list[Part]:
    t = np.linspace(0, 2 * math.pi, 49)[:-1]
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return [Part(np.stack([x / 32.5, (y + 17) / 29.2], 1), c)]


def star(c: Color) -> list[Part]:
    turn = math.pi / 2 + np.arange(10) * math.pi / 5
    radius = np.where(np.arange(10) % 2 == 0, 0.54, 0.23)
    return [Part(np.stack([radius * np.cos(turn), 0.46 + radius * np.sin(turn)], 1), c)]


def flower(c: Color) -> list[Part]:
    middle = (250, 206, 62) if c[0] - c[2] < 180 or c[1] < 100 else (150, 90, 40)
    petals = [
        ellipse(0.28 * math.cos(a), 0.68 + 0.18 * math.sin(a), 0.23, 0.15, c if i % 2 else shade(c, 0.9))
        for i, a in enumerate(2 * math.pi * k / 6 + 0.3 for k in range(6))
    ]
    stem = [
        box(-0.05, 0, 0.05, 0.6, LEAF),
        ellipse(0.24, 0.2, 0.22, 0.085, LEAF),
        ellipse(-0.24, 0.26, 0.22, 0.085, LEAF),
    ]
    return [*stem, *petals, ellipse(0, 0.68, 0.17, 0.11, middle)]


def fish(c: Color) -> list[Part]:
    return [
        polygon([(-0.22, 0.5), (-0.5, 0.94), (-0.5, 0.06)], shade(c, 0.75)),
        polygon([(-0.12, 0.82), (0.1, 1), (0.22, 0.78)], shade(c, 0.75)),
        ellipse(0.08, 0.48, 0.42, 0.42, c),
        ellipse(0.28, 0.58, 0.075, 0.13, (255, 255, 255)),
        ellipse(0.3, 0.58, 0.035, 0.065, INK),
    ]


def mushroom(c: Color) -> list[Part]:
    dot = CREAM if sum(c) < 600 else (216, 92, 80)
    return [
        polygon([(-0.2, 0), (0.2, 0), (0.14, 0.5), (-0.14, 0.5)], (242, 226, 198)),
        dome(0, 0.42, 0.5, 0.58, c),
        *(ellipse(x, y, 0.09, 0.09, dot) for x, y in ((-0.24, 0.6), (0.04, 0.8), (0.27, 0.58))),
    ]


def teapot(c: Color) -> list[Part]:
    stripes = [box(-w, y - 0.05, w, y + 0.05, CREAM) for y, w in ((0.24, 0.28), (0.44, 0.33), (0.64, 0.28))]
    return [
        ellipse(-0.36, 0.46, 0.15, 0.26, shade(c, 0.8)),
        polygon([(0.2, 0.28), (0.5, 0.74), (0.4, 0.78), (0.16, 0.5)], shade(c, 0.8)),
        ellipse(0, 0.43, 0.34, 0.42, c),
        *stripes,
        ellipse(0, 0.84, 0.18, 0.07, shade(c, 0.8)),
        ellipse(0, 0.94, 0.06, 0.06, shade(c, 0.6)),
    ]


def rocket(c: Color) -> list[Part]:
    return [
        polygon([(-0.2, 0.24), (-0.5, 0.06), (-0.2, 0.52)], shade(c, 0.65)),
        polygon([(0.2, 0.24), (0.5, 0.06), (0.2, 0.52)], shade(c, 0.65)),
        polygon([(-0.16, 0.14), (0, 0), (0.16, 0.14)], (250, 170, 50)),
        polygon([(-0.24, 0.12), (0.24, 0.12), (0.28, 0.42), (0.22, 0.7), (0, 1), (-0.22, 0.7), (-0.28, 0.42)], c),
        ellipse(0, 0.58, 0.14, 0.085, (190, 226, 246)),
    ]


def umbrella(c: Color) -> list[Part]:
    return [box(-0.035, 0, 0.035, 0.6, WOOD), dome(0, 0.5, 0.5, 0.5, c), dome(0, 0.5, 0.18, 0.5, shade(c, 0.8))]


SHAPES: dict[str, Callable[[Color], list[Part]]] = {
    shape.__name__: shape
    for shape in (house, tree, car, boat, balloon, heart, star, flower, fish, mushroom, teapot, rocket, umbrella)
}
# Width over height of each kind's box.
ASPECTS = {
    "house": 1.0, "tree": 0.72, "car": 1.7, "boat": 1.1, "balloon": 0.66, "heart": 1.06, "star": 1.0, "flower": 0.7,
    "fish": 1.5, "mushroom": 1.0, "person": 0.76, "teapot": 1.35, "rocket": 0.55, "umbrella": 1.0,
}  # fmt: skip

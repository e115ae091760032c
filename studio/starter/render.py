"""Scenes as pictures, with every ground truth exact: outline, depth, segments, keypoints, boxes."""

import random
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from studio.skeleton import LIMBS
from studio.starter.person import person
from studio.starter.shapes import ASPECTS, SHAPES, Color, Part, Points, ellipse
from studio.starter.spec import COLORS, FLOATING, HELD_OUT_KINDS, KINDS, Spec, Thing, sample_spec

Bytes = NDArray[np.uint8]
SIZE = 128
SEGMENTS = {"sky": 1, "ground": 2} | {kind: i + 3 for i, kind in enumerate((*KINDS, *HELD_OUT_KINDS))}
SKIES: dict[str, tuple[Color, Color]] = {
    "meadow": ((116, 188, 242), (208, 234, 250)),
    "night": ((18, 22, 62), (50, 58, 116)),
    "sea": ((160, 212, 248), (228, 242, 250)),
    "desert": ((252, 222, 158), (254, 240, 206)),
    "snow": ((170, 192, 214), (224, 233, 242)),
    "sunset": ((242, 112, 78), (253, 208, 134)),
}
GROUNDS: dict[str, tuple[Color, Color]] = {
    "meadow": ((136, 200, 108), (104, 178, 84)),
    "night": ((34, 64, 64), (22, 46, 48)),
    "sea": ((62, 142, 202), (42, 118, 184)),
    "desert": ((238, 198, 126), (222, 176, 98)),
    "snow": ((238, 243, 248), (250, 252, 254)),
    "sunset": ((124, 64, 92), (92, 46, 76)),
}


@dataclass(frozen=True)
class Placed:
    """Where a thing stands, in fractions of the picture (y down); depth from 0, far, to 255, near."""

    thing: Thing
    x: float
    bottom: float
    width: float
    height: float
    depth: int

    @property
    def box(self) -> tuple[float, float, float, float]:
        return self.x - self.width / 2, self.bottom - self.height, self.x + self.width / 2, self.bottom


@dataclass
class Scene:
    """image (s, s, 3); outline, depth, segments (s, s), uint8, s the side; people (18, 2) each, fractions of the side.

    parts are the polygons of each thing in the picture, for whoever draws them again by hand.
    """

    spec: Spec
    image: Bytes
    outline: Bytes
    depth: Bytes
    segments: Bytes
    placed: list[Placed]
    people: list[Points]
    parts: list[list[Points]]
    horizon: float


def make_scene(seed: int, size: int = SIZE) -> Scene:
    """The scene of that seed: the same seed gives the same bytes."""
    rng = random.Random(seed)
    return render(sample_spec(rng), rng, size)


@dataclass
class _Canvas:
    """Everything that is painted at once, at twice the size."""

    side: int
    image: Bytes = field(init=False)
    segments: Bytes = field(init=False)
    pieces: Bytes = field(init=False)
    depth: Bytes = field(init=False)
    piece: int = 0

    def __post_init__(self) -> None:
        self.image = np.zeros((self.side, self.side, 3), np.uint8)
        self.segments, self.pieces, self.depth = (np.zeros((self.side, self.side), np.uint8) for _ in range(3))

    def fill(
        self, points: Points, color: Color, segment: int, depth: int | None = None, *, outlined: bool = True
    ) -> None:
        fixed = np.round(points * self.side * 16).astype(np.int32)[None]
        cv2.fillPoly(self.image, fixed, color, cv2.LINE_AA, 4)
        cv2.fillPoly(self.segments, fixed, (segment,), 8, 4)
        if depth is not None:
            cv2.fillPoly(self.depth, fixed, (depth,), 8, 4)
        if outlined:
            self.piece = self.piece % 250 + 1
            cv2.fillPoly(self.pieces, fixed, (self.piece,), 8, 4)


def render(spec: Spec, rng: random.Random, size: int = SIZE) -> Scene:
    """Paint a scene; whatever the spec leaves open (places, tones, hills) is drawn from `rng`."""
    canvas = _Canvas(size * 2)
    horizon = _paint_background(canvas, spec, rng)
    placed = [_place(spec, i, horizon, rng) for i in range(len(spec.things))]
    parts: list[list[Points]] = [[] for _ in placed]
    people: list[Points] = []
    for i in sorted(range(len(placed)), key=lambda i: placed[i].depth):
        drawn, keypoints = _paint_thing(canvas, placed[i], spec, rng)
        parts[i] = drawn
        if keypoints is not None:
            people.append(keypoints)
    return Scene(
        spec=spec,
        image=cv2.resize(canvas.image, (size, size), interpolation=cv2.INTER_AREA),
        outline=_outline(canvas.pieces, size),
        depth=canvas.depth[::2, ::2].copy(),
        segments=canvas.segments[::2, ::2].copy(),
        placed=placed,
        people=people,
        parts=parts,
        horizon=horizon,
    )


def draw_pose(people: list[Points], size: int = SIZE) -> Bytes:
    """The OpenPose picture of the keypoints: (size, size, 3), limbs in the 18 hues at 60 %, joints on top."""
    image = np.zeros((size, size, 3), np.uint8)
    hues = [cv2.cvtColor(np.uint8([[[i * 10, 255, 255]]]), cv2.COLOR_HSV2RGB)[0, 0] for i in range(18)]
    for keypoints in people:
        at = [(int(x * size), int(y * size)) for x, y in keypoints]
        for (a, b), hue in zip(LIMBS, hues, strict=False):
            cv2.line(image, at[a], at[b], [int(c * 0.6) for c in hue], max(2, size // 64), cv2.LINE_AA)
        for point, hue in zip(at, hues, strict=True):
            cv2.circle(image, point, max(2, size // 64), [int(c) for c in hue], -1, cv2.LINE_AA)
    return image


def _paint_background(canvas: _Canvas, spec: Spec, rng: random.Random) -> float:
    horizon = rng.uniform(0.62, 0.74)
    canvas.segments[:], canvas.pieces[:] = SEGMENTS["sky"], 0
    if spec.plain:
        canvas.image[:] = [int(c * 0.9 + 255 * 0.1) for c in COLORS[spec.plain]]
        canvas.depth[:] = 20
        return horizon
    rows = np.linspace(0, 1, canvas.side)
    top, bottom = (np.array(c, float) for c in SKIES[spec.background])
    canvas.image[:] = (top + (bottom - top) * rows[:, None])[:, None]
    canvas.depth[:] = np.where(rows < horizon, 8, 40 + 180 * (rows - horizon) / (1 - horizon)).astype(np.uint8)[:, None]
    _paint_sky(canvas, spec.background, rng, horizon)
    far, near = GROUNDS[spec.background]
    amplitude = 0.0 if spec.background == "sea" else 0.025
    for level, color in ((horizon - 0.03, far), (horizon + 0.06, near)):
        xs = np.linspace(0, 1, 25)
        ys = level + amplitude * np.sin(xs * rng.uniform(3, 6) + rng.uniform(0, 6))
        canvas.fill(np.concatenate([np.stack([xs, ys], 1), [(1, 1), (0, 1)]]), color, SEGMENTS["ground"])
    return horizon


def _paint_sky(canvas: _Canvas, background: str, rng: random.Random, horizon: float) -> None:
    sky = SEGMENTS["sky"]
    if background == "night":
        canvas.fill(_disc(rng.uniform(0.12, 0.88), rng.uniform(0.12, 0.2), 0.075), (250, 240, 200), sky)
    if background in ("night", "snow"):
        count, radius, color = (6, 0.014, (244, 238, 200)) if background == "night" else (9, 0.02, (250, 252, 255))
        for _ in range(count):
            at = _disc(rng.uniform(0.03, 0.97), rng.uniform(0.03, horizon - 0.08), radius)
            canvas.fill(at, color, sky, outlined=False)
    if background == "sunset":
        canvas.fill(_disc(rng.uniform(0.15, 0.85), horizon - 0.02, 0.11), (255, 226, 150), sky)


def _disc(x: float, y: float, radius: float) -> Points:
    return ellipse(x, y, radius, radius, (0, 0, 0)).points


def _place(spec: Spec, index: int, horizon: float, rng: random.Random) -> Placed:
    thing = spec.things[index]
    height, x, widest = _room(spec, index, rng)
    width = height * ASPECTS[thing.kind]
    if width > widest:
        width, height = widest, widest / ASPECTS[thing.kind]
    x = min(max(x, width / 2 + 0.03), 0.97 - width / 2)
    if spec.plain or thing.kind in FLOATING:
        middle = 0.5 if spec.plain or height > 0.5 else 0.36
        bottom = middle + height / 2 + rng.uniform(-0.07, 0.07)
        depth = rng.randint(80, 160)
    else:
        bottom = max(horizon + rng.uniform(0.06, 0.2), height + 0.03)
        depth = 0
    bottom = min(max(bottom, height + 0.03), 0.97)
    return Placed(thing, x, bottom, width, height, depth or int(60 + 180 * max(0.0, bottom - horizon) / (1 - horizon)))


def _room(spec: Spec, index: int, rng: random.Random) -> tuple[float, float, float]:
    """Height, centre and greatest width for the thing: alone or one of two."""
    tall = spec.things[index].kind == "person"
    if len(spec.things) == 2:
        height = rng.uniform(0.67, 0.76) if tall else rng.uniform(0.4, 0.58)
        return height, (0.26, 0.74)[index] + rng.uniform(-0.03, 0.03), 0.52 if tall else 0.43
    low, high = {"big": (0.7, 0.84), "small": (0.36, 0.44), "": (0.5, 0.68)}[spec.size]
    height = rng.uniform(low, high)
    if tall:
        height = max(height, rng.uniform(0.67, 0.72))
    x = {"left": (0.24, 0.32), "right": (0.68, 0.76), "middle": (0.46, 0.54), "": (0.38, 0.62)}[spec.side]
    return height, rng.uniform(*x), 0.56 if spec.side in ("left", "right") else 0.9


def _paint_thing(canvas: _Canvas, at: Placed, spec: Spec, rng: random.Random) -> tuple[list[Points], Points | None]:
    color = _toned(COLORS[at.thing.color], rng)
    keypoints: Points | None = None
    if at.thing.kind == "person":
        parts, joints = person(color, at.thing.pose, rng)
        keypoints = np.stack([at.x + joints[:, 0] * at.height, at.bottom - joints[:, 1] * at.height], 1)
        parts = [Part(p.points / (ASPECTS["person"], 1), p.color) for p in parts]
    else:
        parts = SHAPES[at.thing.kind](color)
    mirrored = at.thing.kind in ("car", "fish", "boat", "teapot") and rng.random() < 0.5
    if not spec.plain and at.thing.kind not in FLOATING:
        shadow = ellipse(at.x, at.bottom, at.width * 0.48, 0.022, (0, 0, 0))
        ground = [int(c * 0.8) for c in GROUNDS[spec.background][1]]
        canvas.fill(shadow.points, (ground[0], ground[1], ground[2]), SEGMENTS["ground"], outlined=False)
    drawn = []
    for part in parts:
        u, v = part.points[:, 0] * (-1 if mirrored else 1), part.points[:, 1]
        points = np.stack([at.x + u * at.width, at.bottom - v * at.height], 1)
        canvas.fill(points, part.color, SEGMENTS[at.thing.kind], at.depth)
        drawn.append(points)
    return drawn, keypoints


def _toned(color: Color, rng: random.Random) -> Color:
    factor = 1 + rng.uniform(-0.04, 0.04)
    r, g, b = (int(max(0, min(255, c * factor + rng.uniform(-5, 5)))) for c in color)
    return r, g, b


def _outline(pieces: Bytes, size: int) -> Bytes:
    """White where two pieces meet: (size, size), 0 or 255."""
    edge = np.zeros(pieces.shape, bool)
    edge[:, 1:] |= pieces[:, 1:] != pieces[:, :-1]
    edge[1:] |= pieces[1:] != pieces[:-1]
    return (edge.reshape(size, 2, size, 2).max((1, 3)) * 255).astype(np.uint8)

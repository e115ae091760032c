"""Scribbles as hands draw them: wobbly, broken, thick, partial, with or without the ground line. White on black."""

import random

import cv2
import numpy as np

from studio.starter.render import Bytes, Scene
from studio.starter.shapes import Points


def scribble(scene: Scene, rng: random.Random) -> Bytes:
    """Draw the scene's outlines again with an unsteady hand: (s, s) uint8, 0 black to 255 white.

    Every thing is drawn; small inner parts, the ground line and closing strokes may be missing, lines are 1.5 to 6
    pixels of 128 wide.
    """
    size = len(scene.image)
    scale = size / 128
    sheet = np.zeros((size * 2, size * 2), np.uint8)
    width = rng.uniform(1.5, 5.0)
    wobble = rng.uniform(0.0, 0.014)
    for parts in scene.parts:
        boxes = [np.ptp(points, axis=0).max() for points in parts]
        largest = max(boxes)
        for points, extent in zip(parts, boxes, strict=True):
            if extent < 0.45 * largest and rng.random() < 0.5:
                continue
            _stroke(sheet, _by_hand(points, wobble, rng), max(1.5, width + rng.uniform(-0.7, 1.0)) * scale * 2, rng)
    if not scene.spec.plain and rng.random() < 0.4:
        xs = np.linspace(0, 1, 12)
        line = np.stack([xs, np.full(12, scene.horizon)], 1)
        _polyline(sheet, line + _waves(12, wobble, rng), width * scale * 2)
    return cv2.resize(sheet, (size, size), interpolation=cv2.INTER_AREA)


def silhouettes(scene: Scene, rng: random.Random) -> Bytes:
    """Only the outer contour of each thing, from its segment: as a person draws who draws no details. (s, s) uint8."""
    size = len(scene.image)
    sheet = np.zeros((size * 2, size * 2), np.uint8)
    width, wobble = rng.uniform(1.5, 5.0), rng.uniform(0.0, 0.012)
    things = (scene.segments > 2).astype(np.uint8)
    contours, _ = cv2.findContours(things, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    for contour in contours:
        if len(contour) > 12:
            points = contour[:: max(1, len(contour) // 60), 0].astype(float) / size
            _stroke(sheet, _by_hand(points, wobble, rng), width * size / 64, rng)
    return cv2.resize(sheet, (size, size), interpolation=cv2.INTER_AREA)


def exact(scene: Scene, rng: random.Random) -> Bytes:
    """The exact outline, thickened a little or not at all. (s, s) uint8."""
    side = rng.choice((1, 2, 3))
    return cv2.dilate(scene.outline, np.ones((side, side), np.uint8))


def control_image(scene: Scene, rng: random.Random) -> Bytes:
    """What the scribble ControlNet is trained on: six in ten by hand, two in ten silhouettes, two in ten exact."""
    return rng.choices((scribble, silhouettes, exact), (0.6, 0.2, 0.2))[0](scene, rng)


def _by_hand(points: Points, wobble: float, rng: random.Random) -> Points:
    """The polygon resampled every few pixels, shifted, scaled and waved."""
    closed = np.concatenate([points, points[:1]])
    steps = np.hypot(*np.diff(closed, axis=0).T)
    along = np.concatenate([[0], np.cumsum(steps)])
    if along[-1] < 1e-6:
        return closed
    count = max(8, int(along[-1] / 0.03))
    at = np.linspace(0, along[-1], count)
    smooth = np.stack([np.interp(at, along, closed[:, i]) for i in (0, 1)], 1)
    shift = np.array([rng.uniform(-0.01, 0.01), rng.uniform(-0.01, 0.01)])
    return smooth + shift + _waves(count, wobble, rng)


def _waves(count: int, amplitude: float, rng: random.Random) -> Points:
    t = np.linspace(0, 2 * np.pi, count)
    return np.stack(
        [
            sum(amplitude / k * np.sin(k * t + rng.uniform(0, 6.3)) * rng.uniform(0.3, 1) for k in (1, 2, 4, 7))
            for _ in range(2)
        ],
        1,
    )


def _stroke(sheet: Bytes, points: Points, width: float, rng: random.Random) -> None:
    """Draw a closed line, open at some place, now and then with a gap."""
    start = rng.randrange(len(points))
    turned = np.concatenate([points[start:], points[:start]])
    if rng.random() < 0.35:
        turned = turned[: max(4, int(len(turned) * rng.uniform(0.82, 0.97)))]
    if rng.random() < 0.25 and len(turned) > 16:
        cut = rng.randrange(4, len(turned) - 8)
        _polyline(sheet, turned[:cut], width)
        turned = turned[cut + rng.randint(1, 3) :]
    _polyline(sheet, turned, width)


def _polyline(sheet: Bytes, points: Points, width: float) -> None:
    fixed = np.round(points * len(sheet) * 16).astype(np.int32)[None]
    cv2.polylines(
        sheet, fixed, isClosed=False, color=(255,), thickness=max(1, round(width)), lineType=cv2.LINE_AA, shift=4
    )

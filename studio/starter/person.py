"""The person: parts in the same box as other things, and the 18 keypoints of OpenPose, exactly."""

import math
import random

import numpy as np

from studio.starter.shapes import INK, Color, Part, Points, box, ellipse, polygon, shade

SKINS: tuple[Color, ...] = ((246, 208, 172), (222, 170, 126), (160, 108, 72), (110, 74, 52))
HAIRS: tuple[Color, ...] = ((60, 40, 30), (34, 30, 32), (190, 130, 60), (150, 70, 40))
TROUSERS: Color = (64, 70, 104)
ARMS = {  # angles of upper and lower arm from hanging down, outwards, for the person's right and left
    "standing": ((0.28, 0.16), (0.28, 0.16)),
    "waving": ((2.3, 2.9), (0.28, 0.16)),
    "with arms up": ((2.55, 2.85), (2.55, 2.85)),
    "with arms out": ((1.52, 1.56), (1.52, 1.56)),
}
HEAD, NECK, HIP = 0.88, 0.78, 0.45


def person(color: Color, pose: str, rng: random.Random) -> tuple[list[Part], Points]:
    """Parts, and keypoints (18, 2) in the order of skeleton.JOINTS, both in units of the person's height.

    Raises: KeyError, for a pose that is not in ARMS.
    """
    skin, hair = rng.choice(SKINS), rng.choice(HAIRS)
    joints = _joints(pose, rng)
    legs = [_limb(joints[a], joints[b], 0.05, TROUSERS) for a, b in ((8, 9), (9, 10), (11, 12), (12, 13))] + [
        ellipse(joints[i][0] + (0.02 if i == 13 else -0.02), 0.025, 0.055, 0.028, INK) for i in (10, 13)
    ]
    (rx, _), (lx, _) = joints[2], joints[5]
    body = polygon([(rx - 0.03, NECK), (lx + 0.03, NECK), (0.105, HIP - 0.04), (-0.105, HIP - 0.04)], color)
    arms = [_limb(joints[a], joints[b], 0.045, color) for a, b in ((2, 3), (3, 4), (5, 6), (6, 7))]
    hands = [ellipse(*joints[i], 0.042, 0.042, skin) for i in (4, 7)]
    x, y = joints[0]
    head = [
        box(x - 0.03, NECK - 0.02, x + 0.03, HEAD, skin),
        ellipse(x, y + 0.025, 0.095, 0.092, hair),
        ellipse(x, y - 0.005, 0.078, 0.08, skin),
        *(ellipse(x + dx, y + 0.01, 0.016, 0.018, INK) for dx in (-0.03, 0.03)),
    ]
    return [*legs, body, *arms, *hands, *head, _smile(x, y, shade(skin, 0.6))], joints


def _joints(pose: str, rng: random.Random) -> Points:
    x = rng.uniform(-0.01, 0.01)
    right, left = ARMS[pose]
    if pose == "waving" and rng.random() < 0.5:
        right, left = left, right
    stance = rng.uniform(0.06, 0.12)
    points = [(x, HEAD), (x, NECK)]
    points += _arm((-0.1, NECK - 0.03), -1, right, rng) + _arm((0.1, NECK - 0.03), 1, left, rng)
    for side in (-1, 1):
        points += [(side * 0.06, HIP), (side * (0.06 + stance / 2), 0.25), (side * (0.06 + stance), 0.05)]
    points += [(x - 0.03, HEAD + 0.01), (x + 0.03, HEAD + 0.01), (x - 0.078, HEAD), (x + 0.078, HEAD)]
    return np.array(points, float)


def _arm(
    shoulder: tuple[float, float], side: int, angles: tuple[float, float], rng: random.Random
) -> list[tuple[float, float]]:
    points = [shoulder]
    for angle, length in zip(angles, (0.13, 0.11), strict=True):
        bent = angle + rng.uniform(-0.1, 0.1)
        x, y = points[-1]
        points.append((x + side * length * math.sin(bent), y - length * math.cos(bent)))
    return points


def _limb(a: Points, b: Points, radius: float, color: Color) -> Part:
    direction = math.atan2(b[1] - a[1], b[0] - a[0])
    half = np.linspace(math.pi / 2, 3 * math.pi / 2, 8)
    ends = [
        center + radius * np.stack([np.cos(t), np.sin(t)], 1)
        for center, t in ((a, direction + half), (b, direction + half + math.pi))
    ]
    return Part(np.concatenate(ends), color)


def _smile(x: float, y: float, color: Color) -> Part:
    turn = np.linspace(math.pi + 0.4, 2 * math.pi - 0.4, 9)
    outer = np.stack([x + 0.04 * np.cos(turn), y - 0.02 + 0.035 * np.sin(turn)], 1)
    inner = np.stack([x + 0.04 * np.cos(turn[::-1]), y - 0.02 + 0.018 * np.sin(turn[::-1])], 1)
    return Part(np.concatenate([outer, inner]), color)

"""The maps that control pictures of scenes, exact or as annotators give them: light on black, (side, side, 3)."""

import random
from collections.abc import Sequence

import cv2
import numpy as np

from studio.segments import REGIONS
from studio.starter.render import SEGMENTS, Bytes, draw_pose
from studio.starter.shapes import Points

LEAST_EDGE, MOST_EDGE = 40, 160


def edge_map(image: Bytes, low: int = 100, high: int = 200) -> Bytes:
    """Canny edges of a picture (side, side, 3), as the annotator of that name draws them by default."""
    return cv2.Canny(np.ascontiguousarray(image), low, high)[..., None].repeat(3, 2)


def depth_map(depth: Bytes) -> Bytes:
    """Near is light: (side, side) to (side, side, 3)."""
    return depth[..., None].repeat(3, 2)


def segment_map(segments: Bytes) -> Bytes:
    """Each region in its colour; what has none is black."""
    colors = np.zeros((256, 3), np.uint8)
    for name, color in REGIONS.items():
        colors[SEGMENTS[name]] = color
    return colors[segments]


def pose_map(people: Sequence[Points], side: int) -> Bytes:
    """The skeletons of the people, in OpenPose's colours."""
    return draw_pose(list(people), side)


def varied_edge_map(image: Bytes, rng: random.Random) -> Bytes:
    """Edges with thresholds as people choose them."""
    low = rng.randint(LEAST_EDGE, MOST_EDGE)
    return edge_map(image, low, low * 2)


def varied_depth_map(depth: Bytes, rng: random.Random) -> Bytes:
    """Depth as annotators and brushes leave it: blurred, of another range, noisy."""
    shown = depth.astype(np.float32)
    if rng.random() < 0.5:
        shown = cv2.GaussianBlur(shown, (0, 0), rng.uniform(0.5, 3))
    if rng.random() < 0.5:
        low, high = rng.uniform(0, 30), rng.uniform(180, 255)
        shown = low + shown * (high - low) / 255
    return depth_map(shown.clip(0, 255).astype(np.uint8))


def varied_segment_map(segments: Bytes, rng: random.Random) -> Bytes:
    """Regions as a brush leaves them: borders moved by a pixel or two; the ground forgotten now and then."""
    said = segments.copy()
    if rng.random() < 0.3:
        said[said == SEGMENTS["ground"]] = SEGMENTS["sky"]
    if rng.random() < 0.5:
        said = cv2.medianBlur(said, rng.choice((3, 5, 7)))
    return segment_map(said)

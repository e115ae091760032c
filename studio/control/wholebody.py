"""What DWPose's two networks are shown and say: people's boxes in a picture, then 133 places on each of them.

Sources: Ge et al., arXiv:2107.08430 (YOLOX); Jiang et al., arXiv:2303.07399 (RTMPose); Yang et al., arXiv:2307.15880
(DWPose), and the configuration that its authors published, rtmpose-l_8xb32-270e_coco-ubody-wholebody-384x288.py.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from studio.control.networks import MEAN, SPREAD
from studio.control.people import Joint
from studio.control.pixels import Pixels

Values = NDArray[np.float32]
SIDE, FRAME = 640, 114  # the sheet that the detector looks at, and how grey it is beside the picture
STRIDES = (8, 16, 32)  # pixels of the sheet that each cell of a level stands for
CELLS = sum((SIDE // stride) ** 2 for stride in STRIDES)
PERSON, CLASSES = 0, 80  # of COCO
LEAST_PERSON, OVERLAP = 0.3, 0.45
CROP, PADDING = (288, 384), 1.25  # width and height of a person cut out, and how much larger than the box that is
SPLIT = 2  # steps of a place in a pixel
POINTS = 133
LEAST_SURE = 0.3
# Of the 17 joints of COCO those of OpenPose, in its order; the neck, its second, is between two of them.
NOSE, SHOULDERS, AFTER_NECK = 0, [5, 6], [6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3]
EYES = [2, 1]
FACE, LEFT_HAND, RIGHT_HAND = slice(23, 91), slice(91, 112), slice(112, 133)  # 17 to 22 are feet


@dataclass(frozen=True)
class WholeBody:
    """One person: 18 joints, 21 of each hand, 68 dots of a face and the pupils."""

    body: list[Joint]
    hands: tuple[list[Joint], list[Joint]]
    face: list[Joint]


def on_sheet(pixels: Pixels) -> tuple[Values, float]:
    """The picture in the upper left corner of the detector's sheet, (1, 3, SIDE, SIDE), BGR, 0 to 255; its scale."""
    import cv2

    height, width = pixels.shape[:2]
    scale = SIDE / max(height, width)
    size = (max(1, int(width * scale)), max(1, int(height * scale)))
    sheet = np.full((SIDE, SIDE, 3), FRAME, np.uint8)
    sheet[: size[1], : size[0]] = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
    return _batch(sheet[..., ::-1]), scale


def find_boxes(said: Values, scale: float, most: int) -> Values:
    """Where people are, (n, 4), left, top, right, bottom in pixels of the picture, the surest first.

    Args:
        said: (CELLS, 85): the middle and the logarithm of the size, in cells; that there is something; each class.
        scale: Of the picture on the sheet.
        most: So many at most.
    """
    sure = said[:, 4] * said[:, 5 + PERSON]
    order = np.argsort(-sure, kind="stable")
    order = order[sure[order] > LEAST_PERSON]
    cells, said = _cells()[order], said[order]
    middles = (said[:, :2] + cells[:, :2]) * cells[:, 2:]
    with np.errstate(over="ignore"):
        halves = np.exp(said[:, 2:4]) * cells[:, 2:] / 2
    boxes = np.concatenate([middles - halves, middles + halves], 1) / scale
    return apart(boxes[np.isfinite(boxes).all(1)])[:most]


def apart(boxes: Values) -> Values:
    """Of boxes, (n, 4), the surest first, those that overlap none before them that stays by more than OVERLAP."""
    kept = list[Values]()
    while len(boxes):
        kept.append(boxes[0])
        boxes = boxes[1:][overlaps(boxes[0], boxes[1:]) <= OVERLAP]
    return np.array(kept, np.float32).reshape(-1, 4)


def overlaps(box: Values, boxes: Values) -> Values:
    """What the box, (4,), and each of the others, (n, 4), share, as a part of what both cover: 0 to 1."""
    shared = _area(np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:]))
    covered = _area(box[:2], box[2:]) + _area(boxes[:, :2], boxes[:, 2:]) - shared
    return shared / np.maximum(covered, np.finfo(np.float32).tiny)


def way_to_crop(box: Values) -> NDArray[np.float64]:
    """The affine map, (2, 3), from the picture onto a person cut out: the box in the middle, with room around it."""
    middle = (box[:2] + box[2:]).astype(np.float64) / 2
    sides = np.maximum((box[2:] - box[:2]).astype(np.float64), 1)
    scale = (np.array(CROP) / (sides * PADDING)).min()
    return np.column_stack([np.eye(2) * scale, np.array(CROP) / 2 - middle * scale])


def cut_out(pixels: Pixels, way: NDArray[np.float64]) -> Values:
    """That part of the picture, (1, 3, 384, 288), RGB less the mean, over the spread; black beside the picture."""
    import cv2

    part = cv2.warpAffine(pixels, way, CROP, flags=cv2.INTER_LINEAR)
    return _batch((part / 255 - MEAN) / SPREAD)


def decode(along: Values, down: Values) -> NDArray[np.float64]:
    """The places, (POINTS, 3), x and y in pixels of the person cut out, and how sure.

    Args: along, down: (POINTS, SPLIT * width) and (POINTS, SPLIT * height), how likely each step of an axis is.
    """
    sure = np.minimum(along.max(1), down.max(1))
    return np.column_stack([along.argmax(1) / SPLIT, down.argmax(1) / SPLIT, sure])


def in_picture(points: NDArray[np.float64], way: NDArray[np.float64]) -> NDArray[np.float64]:
    """Places on a person cut out, (n, 3), as places in the picture."""
    return np.column_stack([(points[:, :2] - way[:, 2]) / way[0, 0], points[:, 2]])


def whole_body(points: NDArray[np.float64], size: tuple[int, int]) -> WholeBody:
    """The parts of a person, in pixels of a picture of that size; a part that was not found is zeros.

    A joint is missing if it is not sure, or lies farther off the picture than a pose may have it. A neck needs both
    shoulders, pupils a face.
    """
    shoulders = points[SHOULDERS]
    neck = [*shoulders[:, :2].mean(0), shoulders[:, 2].min()]
    body = _joints(np.vstack([points[NOSE], neck, points[AFTER_NECK]]), size)
    face = _joints(points[FACE], size)
    if any(sure for _, _, sure in face):
        face += _joints(points[EYES], size)
    return WholeBody(body, (_joints(points[LEFT_HAND], size), _joints(points[RIGHT_HAND], size)), face)


def _joints(points: NDArray[np.float64], size: tuple[int, int]) -> list[Joint]:
    places, sides = points[:, :2], np.array(size)
    found = (points[:, 2] >= LEAST_SURE) & ((places >= -sides) & (places <= 2 * sides)).all(1)
    return [(x, y, 1.0) if there else (0.0, 0.0, 0.0) for (x, y), there in zip(places.tolist(), found, strict=True)]


def _cells() -> Values:
    """Column, row and stride of every cell, (CELLS, 3), in the order of the detector's answer."""
    levels = [np.mgrid[: SIDE // stride, : SIDE // stride][::-1].reshape(2, -1).T for stride in STRIDES]
    strides = [np.full((len(level), 1), stride) for level, stride in zip(levels, STRIDES, strict=True)]
    return np.hstack([np.vstack(levels), np.vstack(strides)]).astype(np.float32)


def _area(first: Values, last: Values) -> Values:
    return np.maximum(last - first, 0).prod(-1)


def _batch(values: NDArray) -> Values:
    """(h, w, 3) as a batch of one, (1, 3, h, w)."""
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None], dtype=np.float32)

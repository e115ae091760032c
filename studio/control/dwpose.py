"""DWPose: people as skeletons with hands and faces, found by a detector of people and a pose network for each."""

from pathlib import Path
from typing import Any

from PIL import Image

from studio.control import wholebody
from studio.control.networks import RESOLUTION, looked_at
from studio.control.onnx_file import OnnxFile
from studio.control.people import Person, draw_details, draw_people
from studio.control.pixels import Pixels
from studio.control.weights import Weights
from studio.skeleton import PoseLimits

DETECTOR, POSE = "yolox_l.onnx", "dw-ll_ucoco_384.onnx"


def annotate(
    image: Image.Image, *, weights: Weights, resolution: float = RESOLUTION, hands: float = 1, face: float = 1
) -> tuple[Image.Image, list[Person]]:
    """The skeletons of everybody with hands and faces, drawn as the pose tab draws them, and their joints.

    Args:
        resolution: Of the shorter side, 256 to 1024: what people in the distance are seen at.
        hands, face: 0 leaves them out.
    Raises: ValueError, ModelNotFoundError. Source: Yang et al., arXiv:2307.15880.
    """
    pixels = looked_at(image, resolution, 1)
    with weights.network([DETECTOR, POSE], _Networks) as networks:
        found = networks.read(pixels, image.size)
    drawn, people = draw_people([person.body for person in found], image.size)
    with_hands = [hand for person in found for hand in person.hands if hands >= 0.5]
    return draw_details(drawn, with_hands, [person.face for person in found if face >= 0.5]), people


class _Networks:
    """The two networks, which OpenCV runs on the processor."""

    def __init__(self, detector: Path, pose: Path) -> None:
        self.detector = OnnxFile(detector, [(1, wholebody.CELLS, 5 + wholebody.CLASSES)])
        self.pose = OnnxFile(pose, [(1, wholebody.POINTS, wholebody.SPLIT * side) for side in wholebody.CROP])

    def to(self, _device: Any) -> None:
        """They stay where they are."""

    def read(self, pixels: Pixels, size: tuple[int, int]) -> list[wholebody.WholeBody]:
        """Everybody in the picture, in pixels of its own size, (width, height)."""
        sheet, scale = wholebody.on_sheet(pixels)
        boxes = wholebody.find_boxes(self.detector(sheet)[0][0], scale, PoseLimits().people)
        return [self._person(pixels, box, size) for box in boxes]

    def _person(self, pixels: Pixels, box: Any, size: tuple[int, int]) -> wholebody.WholeBody:
        way = wholebody.way_to_crop(box)
        along, down = self.pose(wholebody.cut_out(pixels, way))
        points = wholebody.in_picture(wholebody.decode(along[0], down[0]), way)
        height, width = pixels.shape[:2]
        points[:, :2] *= size[0] / width, size[1] / height
        return wholebody.whole_body(points, size)

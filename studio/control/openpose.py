"""OpenPose: people as skeletons, with hands and faces on request. Its weights are not for commercial use."""

from collections.abc import Sequence
from colorsys import hsv_to_rgb
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from PIL import Image, ImageDraw

from studio.control.networks import RESOLUTION, aux, looked_at
from studio.control.people import Joint, Person, draw_people
from studio.control.weights import Weights, read_state

Point = tuple[float, float]
BODY, HAND, FACE = "body_pose_model.pth", "hand_pose_model.pth", "facenet.pth"
# Of a hand's 21 joints, the wrist first, then four of each finger.
BONES = tuple((0 if bone == 0 else first + bone - 1, first + bone) for first in range(1, 21, 4) for bone in range(4))


def body(image: Image.Image, *, weights: Weights, resolution: float = RESOLUTION) -> tuple[Image.Image, list[Person]]:
    """The skeletons of everybody, drawn as the pose tab draws them, and their joints.

    resolution: Of the shorter side, 256 to 1024. Raises: ValueError, ModelNotFoundError.
    Source: Cao et al., arXiv:1812.08008.
    """
    pixels = looked_at(image, resolution)
    with weights.network([BODY], _open_body) as detector:
        found = detector.detect_poses(pixels)
    return draw_people([joints_of(pose, image.size) for pose in found], image.size)


def full(
    image: Image.Image, *, weights: Weights, resolution: float = RESOLUTION, hands: float = 1, face: float = 1
) -> tuple[Image.Image, list[Person]]:
    """The same with hands and faces in the map. hands, face: 0 leaves them out."""
    pixels = looked_at(image, resolution)
    with weights.network([BODY, HAND, FACE], _open_all) as detector:
        found = detector.detect_poses(pixels, include_hand=hands >= 0.5, include_face=face >= 0.5)
    drawn, people = draw_people([joints_of(pose, image.size) for pose in found], image.size)
    return with_details(drawn, found), people


def joints_of(pose: Any, size: tuple[int, int]) -> list[Joint]:
    """The 18 joints of one person that controlnet-aux found, in pixels of a picture of that size."""
    width, height = size
    return [(0.0, 0.0, 0.0) if at is None else (at.x * width, at.y * height, 1.0) for at in pose.body.keypoints]


def with_details(drawn: Image.Image, found: Sequence[Any]) -> Image.Image:
    """The map with hands and faces over the skeletons, as OpenPose draws them: fingers in hues, dots along a face."""
    draw, unit = ImageDraw.Draw(drawn), max(1.0, min(drawn.size) / RESOLUTION)
    for pose in found:
        for hand in (pose.left_hand, pose.right_hand):
            _hand(draw, _places(hand, drawn.size), unit)
        for x, y in _places(pose.face, drawn.size).values():
            _dot(draw, (x, y), 3 * unit, "white")
    return drawn


def _hand(draw: ImageDraw.ImageDraw, at: dict[int, Point], unit: float) -> None:
    for number, (a, b) in enumerate(BONES):
        if a in at and b in at:
            hue = tuple(round(255 * part) for part in hsv_to_rgb(number / len(BONES), 1, 1))
            draw.line((at[a], at[b]), fill=hue, width=round(2 * unit))
    for place in at.values():
        _dot(draw, place, 4 * unit, "blue")


def _dot(draw: ImageDraw.ImageDraw, at: Point, radius: float, color: str) -> None:
    draw.ellipse((at[0] - radius, at[1] - radius, at[0] + radius, at[1] + radius), fill=color)


def _places(points: Sequence[Any] | None, size: tuple[int, int]) -> dict[int, Point]:
    """Where the points lie in pixels; those that were not found are below zero."""
    places = ((point.x * size[0], point.y * size[1]) for point in points or ())
    return {number: place for number, place in enumerate(places) if min(place) > 0}


def _open_body(file: Path) -> Any:
    pose = aux().open_pose
    return pose.OpenposeDetector(_estimator(pose.Body, pose.body.bodypose_model(), file), _NONE, _NONE)


def _open_all(body: Path, hand: Path, face: Path) -> Any:
    pose = aux().open_pose
    return pose.OpenposeDetector(
        _estimator(pose.Body, pose.body.bodypose_model(), body),
        _estimator(pose.Hand, pose.hand.handpose_model(), hand),
        _estimator(pose.Face, pose.face.FaceNet(), face),
    )


_NONE = SimpleNamespace(to=lambda _device: None)


def _estimator(kind: Any, network: Any, file: Path) -> Any:
    """An estimator of controlnet-aux around our network: its own constructor would open the file.

    The files of bodies and hands leave out the first part of each name.
    """
    state = read_state(file)
    if not state.keys() >= network.state_dict().keys():
        state = {name: state[name.partition(".")[2]] for name in network.state_dict()}
    network.load_state_dict(state)
    made = object.__new__(kind)
    made.model = network.eval()
    return made

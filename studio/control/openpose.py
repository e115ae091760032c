"""OpenPose: people as skeletons, with hands and faces on request. Its weights are not for commercial use."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from PIL import Image

from studio.control.networks import RESOLUTION, aux, looked_at
from studio.control.people import Joint, Person, draw_details, draw_people
from studio.control.weights import Weights, read_state

BODY, HAND, FACE = "body_pose_model.pth", "hand_pose_model.pth", "facenet.pth"


def body(image: Image.Image, *, weights: Weights, resolution: float = RESOLUTION) -> tuple[Image.Image, list[Person]]:
    """The skeletons of everybody, drawn as the pose tab draws them, and their joints.

    resolution: Of the shorter side, 256 to 1024. Raises: ValueError, ModelNotFoundError.
    Source: Cao et al., arXiv:1812.08008.
    """
    pixels = looked_at(image, resolution)
    with weights.network([BODY], _open_body) as detector:
        found = detector.detect_poses(pixels)
    return draw_people(_bodies(found, image.size), image.size)


def full(
    image: Image.Image, *, weights: Weights, resolution: float = RESOLUTION, hands: float = 1, face: float = 1
) -> tuple[Image.Image, list[Person]]:
    """The same with hands and faces in the map. hands, face: 0 leaves them out."""
    pixels = looked_at(image, resolution)
    with weights.network([BODY, HAND, FACE], _open_all) as detector:
        found = detector.detect_poses(pixels, include_hand=hands >= 0.5, include_face=face >= 0.5)
    drawn, people = draw_people(_bodies(found, image.size), image.size)
    seen = [joints_of(hand, image.size) for pose in found for hand in (pose.left_hand, pose.right_hand)]
    return draw_details(drawn, seen, [joints_of(pose.face, image.size) for pose in found]), people


def joints_of(points: Sequence[Any] | None, size: tuple[int, int]) -> list[Joint]:
    """What controlnet-aux found, in pixels of a picture of that size; None or below zero is what it did not find."""
    places = [(-1.0, -1.0) if at is None else (at.x * size[0], at.y * size[1]) for at in points or ()]
    return [(x, y, 1.0) if min(x, y) >= 0 else (0.0, 0.0, 0.0) for x, y in places]


def _bodies(found: Sequence[Any], size: tuple[int, int]) -> list[list[Joint]]:
    return [joints_of(pose.body.keypoints, size) for pose in found]


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

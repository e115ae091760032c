"""The pose editor: skeletons dragged by hand, as OpenPose's JSON."""

from collections.abc import Mapping
from typing import Any

from studio.errors import InvalidRequestError
from studio.skeleton import clean_pose
from studio.ui.components.own import OwnComponent

LONG_SIDE = 512


class PoseEditor(OwnComponent):
    """value: a pose as studio.skeleton has it. Events: `edited`, once for each thing a person does; `pose_file`,
    with the `text` of a file that was opened.

    With "refit": true a value is an empty canvas of another aspect, onto which the editor lays the people, as `fitted`
    does. It can be used as soon as it has its first value.
    """

    def __init__(self, *, elem_id: str, render: bool = True) -> None:
        super().__init__("pose_editor", elem_id=elem_id, render=render)

    def preprocess(self, payload: object) -> dict[str, Any]:
        """What the browser sent; it is checked where an error can be shown beside the editor."""
        return payload if isinstance(payload, dict) else {}

    def postprocess(self, value: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """A pose as the script reads it."""
        return None if value is None else dict(value)


def empty_pose(width: int, height: int) -> dict[str, Any]:
    """A canvas in the aspect of a picture of that size: its longer side has LONG_SIDE units."""
    scale = LONG_SIDE / max(width, height)
    size = {"canvas_width": round(width * scale), "canvas_height": round(height * scale)}
    return size | {"people": [], "background": None}


def fitted(pose: Mapping[str, Any], width: int, height: int) -> dict[str, Any]:
    """The cleaned pose on a canvas for a picture of that size: as large as fits, in the middle, nothing bent."""
    canvas = empty_pose(width, height)
    sides = ("canvas_width", "canvas_height")
    scale = min(canvas[side] / pose[side] for side in sides)
    shift = [(canvas[side] - pose[side] * scale) / 2 for side in sides]

    def moved(joints: list[float]) -> list[float]:
        return [
            number if index % 3 == 2 else round(number * scale + shift[index % 3], 2)
            for index, number in enumerate(joints)
        ]

    people = [{"pose_keypoints_2d": moved(person["pose_keypoints_2d"])} for person in pose["people"]]
    return {**canvas, "people": people, "background": pose.get("background")}


def readable(value: object, width: int, height: int) -> dict[str, Any]:
    """A pose from a draft or a picture, fitted; nobody when it cannot be read any more."""
    try:
        return fitted(clean_pose(value), width, height)
    except InvalidRequestError:
        return empty_pose(width, height)

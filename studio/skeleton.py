"""People as skeletons, and as the picture a pose model sees: limbs and joints in OpenPose's hues on black.

A pose is what OpenPose writes: {"canvas_width", "canvas_height", "people": [{"pose_keypoints_2d"}], "background"?},
each person x, y, confidence in turn for the 18 joints of JOINTS; a joint whose confidence is 0 is missing.
"""

import colorsys
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from PIL import Image, ImageDraw

from studio.drawn import Reader, within

FIELD = "pose"
READ = Reader(
    field=FIELD,
    refusal="This is no pose that can be used",
    hint="OpenPose's JSON is read: people, each with pose_keypoints_2d of 18 or 25 joints.",
)
JOINTS = (
    "nose", "neck", "right shoulder", "right elbow", "right wrist", "left shoulder", "left elbow", "left wrist",
    "right hip", "right knee", "right ankle", "left hip", "left knee", "left ankle", "right eye", "left eye",
    "right ear", "left ear",
)  # fmt: skip
LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13),
    (1, 0), (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip
# Where the 18 joints stand among the 25 of OpenPose's BODY_25, which has the middle of the hips and the feet besides.
OF_25 = (*range(8), *range(9, 15), *range(15, 19))
HUES = [tuple(round(255 * part) for part in colorsys.hsv_to_rgb(i / 18, 1, 1)) for i in range(18)]
LIMB_LIGHT = 0.6
OVERSAMPLING, LARGEST = 4, 4096

Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class PoseLimits:
    """What a pose may hold: sides of its canvas, people, bytes of a file, and text about the background."""

    side: int = 8192
    people: int = 40
    file: int = 2_000_000
    background: int = 300


def read_pose(text: str, limits: PoseLimits | None = None) -> dict[str, Any]:
    """The pose that a JSON file holds, checked. Raises: InvalidRequestError, saying what does not fit."""
    limits = limits or PoseLimits()
    if len(text) > limits.file:
        raise READ.wrong(f"the file has more than {limits.file / 1e6:g} MB")
    try:
        value = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise READ.wrong("the file is not JSON") from error
    if isinstance(value, list) and len(cast("list[object]", value)) == 1:
        value = cast("list[object]", value)[0]  # as extensions of other programs save it: a list of pictures
    return clean_pose(value, limits)


def clean_pose(value: object, limits: PoseLimits | None = None) -> dict[str, Any]:
    """A pose from a browser or a file, with 18 joints a person and nothing else in it.

    Without a canvas size the people stand in the middle of a canvas that holds them, with equal margins.
    Raises: InvalidRequestError, saying what does not fit.
    """
    limits = limits or PoseLimits()
    if not isinstance(value, Mapping) or "people" not in value:
        raise READ.wrong("it is not an object with people")
    given = cast("Mapping[str, object]", value)
    people = READ.items(given["people"], "its people are not a list")
    if len(people) > limits.people:
        raise READ.wrong(f"it has {len(people):,} people, and at most {limits.people} are read")
    joints = [_person(person, f"person {number}") for number, person in enumerate(people, 1)]
    width, height = (_side(given, axis, joints, limits) for axis in (0, 1))
    for number, person in enumerate(joints, 1):
        _check_places(person, (width, height), f"person {number}")
    pose: dict[str, Any] = {"canvas_width": width, "canvas_height": height}
    pose["people"] = [{"pose_keypoints_2d": person} for person in joints]
    if background := given.get("background"):
        pose["background"] = _background(background, limits)
    return pose


def is_empty(pose: Mapping[str, Any]) -> bool:
    """Whether a cleaned pose shows nothing: nobody, no joint, or all of them beside the canvas."""
    return rasterise(pose, *within(pose["canvas_width"], pose["canvas_height"], 256)).getbbox() is None


def rasterise(pose: Mapping[str, Any], width: int, height: int) -> Image.Image:
    """The map that a cleaned pose gives, RGB of that size. The canvas is stretched to it; what is outside is cut off.

    Looks as `studio.starter.render.draw_pose`, whose pictures our pose models were trained on: joints at whole pixels,
    lines max(2, side / 64) wide with the soft edge that OpenCV adds. A missing joint has no dot and no limb.
    """
    factor = max(1, min(OVERSAMPLING, LARGEST // max(width, height)))
    image = Image.new("RGB", (width * factor, height * factor))
    draw = ImageDraw.Draw(image)
    thick = max(2, int(math.sqrt(width * height)) // 64)
    scale = width / pose["canvas_width"], height / pose["canvas_height"]
    for person in pose["people"]:
        _draw_person(draw, _places(person["pose_keypoints_2d"], scale, factor), thick, factor)
    return image.reduce(factor)


def _draw_person(draw: ImageDraw.ImageDraw, at: Mapping[int, Point], thick: int, factor: int) -> None:
    for (a, b), hue in zip(LIMBS, HUES, strict=False):
        if a in at and b in at:
            _line(draw, (at[a], at[b]), (thick + 1.25) / 2 * factor, tuple(int(part * LIMB_LIGHT) for part in hue))
    for joint, place in at.items():
        _dot(draw, place, (thick + 0.25) * factor, HUES[joint])


def _places(joints: Sequence[float], scale: Point, factor: int) -> dict[int, Point]:
    """Where the joints that are there lie on the enlarged picture: in the middle of a pixel of the small one."""
    found = [(i, joints[3 * i] * scale[0], joints[3 * i + 1] * scale[1]) for i in range(18) if joints[3 * i + 2] > 0]
    return {i: ((math.floor(x) + 0.5) * factor - 0.5, (math.floor(y) + 0.5) * factor - 0.5) for i, x, y in found}


def _line(draw: ImageDraw.ImageDraw, ends: tuple[Point, Point], radius: float, color: tuple[int, ...]) -> None:
    (x0, y0), (x1, y1) = ends
    length = math.hypot(x1 - x0, y1 - y0)
    if length:
        dx, dy = (y1 - y0) / length * radius, (x0 - x1) / length * radius
        corners = ((x0 + dx, y0 + dy), (x1 + dx, y1 + dy), (x1 - dx, y1 - dy), (x0 - dx, y0 - dy))
        draw.polygon([(round(x), round(y)) for x, y in corners], fill=color)
    for end in ends:
        _dot(draw, end, radius, color)


def _dot(draw: ImageDraw.ImageDraw, at: Point, radius: float, color: tuple[int, ...]) -> None:
    x, y = at
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)


def _person(person: object, who: str) -> list[float]:
    """The 18 joints, x, y, 0 or 1 in turn."""
    entries = cast("Mapping[str, object]", person) if isinstance(person, Mapping) else {}
    numbers = READ.items(entries.get("pose_keypoints_2d"), f"{who} has no pose_keypoints_2d")
    if len(numbers) not in (54, 75):
        raise READ.wrong(f"{who} has {len(numbers):,} numbers, where 18 or 25 joints have 54 or 75")
    checked = [READ.number(number, who) for number in numbers]
    wanted: Iterable[int] = range(18) if len(checked) == 54 else OF_25
    return [part for i in wanted for part in (*checked[3 * i : 3 * i + 2], 1.0 if checked[3 * i + 2] > 0 else 0.0)]


def _side(given: Mapping[str, object], axis: int, people: list[list[float]], limits: PoseLimits) -> int:
    """The canvas along an axis, as the file says it or as the people need it."""
    name = ("canvas_width", "canvas_height")[axis]
    if name in given:
        side = READ.number(given[name], name)
    else:
        used = [p[i + axis] for p in people for i in range(0, 54, 3) if p[i + 2]]
        side = math.ceil(min(used) + max(used)) if used else 512
    if not 1 <= side <= limits.side:
        raise READ.wrong(f"its {name} is {side:g}, which is not between 1 and {limits.side:,}")
    return int(side)


def _check_places(joints: list[float], size: tuple[int, int], who: str) -> None:
    """A person may stand partly beside the canvas; a joint a whole canvas away from it is a mistake."""
    for i, name in enumerate(JOINTS):
        places = zip(joints[3 * i : 3 * i + 2], size, strict=True)
        if not all(-side <= place <= 2 * side for place, side in places):
            raise READ.wrong(f"the {name} of {who} lies far off the canvas")


def _no_number(name: str) -> float:
    raise READ.wrong(f"it has {name}, which is not a number")


def _background(background: object, limits: PoseLimits) -> dict[str, Any]:
    """What the editor keeps of the picture to trace: its link and how strongly it is shown."""
    entries = dict(cast("Mapping[str, object]", background)) if isinstance(background, Mapping) else {}
    url, opacity = entries.get("url"), entries.get("opacity", 0.5)
    if not isinstance(url, str) or len(url) > limits.background:
        raise READ.wrong("its background is not the link of a picture")
    return {"url": url, "opacity": min(1.0, max(0.0, READ.number(opacity, "the background")))}

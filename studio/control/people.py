"""People that were found in a picture: as numbers, and drawn as a pose model sees them."""

from collections.abc import Sequence
from colorsys import hsv_to_rgb

from PIL import Image, ImageDraw

from studio.skeleton import PoseLimits, clean_pose, rasterise

Joint = tuple[float, float, float]  # x and y in pixels of the picture, and 1; zeros for one that was not found
Person = list[float]  # x, y, 1 or 0 of 18 joints in turn, as OpenPose writes pose_keypoints_2d
DETAIL = 512  # pixels of the shorter side at which lines and dots of hands and faces are as wide as they are named
# Of a hand's 21 joints, the wrist first, then four of each finger.
BONES = tuple((0 if bone == 0 else first + bone - 1, first + bone) for first in range(1, 21, 4) for bone in range(4))


def draw_people(people: Sequence[Sequence[Joint]], size: tuple[int, int]) -> tuple[Image.Image, list[Person]]:
    """The map of the skeletons, RGB of that size, and the people as numbers.

    Those without a single joint are left out; at most as many are kept as a pose may hold.
    """
    found = [[part for joint in person for part in joint] for person in people if any(joint[2] for joint in person)]
    found = found[: PoseLimits().people]
    width, height = size
    pose = {"canvas_width": width, "canvas_height": height, "people": [{"pose_keypoints_2d": p} for p in found]}
    cleaned = clean_pose(pose)
    return rasterise(cleaned, width, height), [person["pose_keypoints_2d"] for person in cleaned["people"]]


def draw_details(drawn: Image.Image, hands: Sequence[Sequence[Joint]], faces: Sequence[Sequence[Joint]]) -> Image.Image:
    """The map with hands and faces over the skeletons, as OpenPose draws them: fingers in hues, dots along a face.

    hands: Of 21 joints each, as BONES joins them. faces: Of any number of dots.
    """
    draw, unit = ImageDraw.Draw(drawn), max(1.0, min(drawn.size) / DETAIL)
    for hand in hands:
        _hand(draw, hand, unit)
    for face in faces:
        for dot in face:
            _dot(draw, dot, 3 * unit, "white")
    return drawn


def _hand(draw: ImageDraw.ImageDraw, hand: Sequence[Joint], unit: float) -> None:
    for number, (a, b) in enumerate(BONES):
        if len(hand) > b and hand[a][2] and hand[b][2]:
            hue = tuple(round(255 * part) for part in hsv_to_rgb(number / len(BONES), 1, 1))
            draw.line((hand[a][:2], hand[b][:2]), fill=hue, width=round(2 * unit))
    for joint in hand:
        _dot(draw, joint, 4 * unit, "blue")


def _dot(draw: ImageDraw.ImageDraw, joint: Joint, radius: float, color: str) -> None:
    x, y, found = joint
    if found:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)

"""People that were found in a picture: as numbers, and drawn as a pose model sees them."""

from collections.abc import Sequence

from PIL import Image

from studio.skeleton import PoseLimits, clean_pose, rasterise

Joint = tuple[float, float, float]  # x and y in pixels of the picture, and 1; zeros for one that was not found
Person = list[float]  # x, y, 1 or 0 of 18 joints in turn, as OpenPose writes pose_keypoints_2d


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

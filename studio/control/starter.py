"""What the starter pack's small network sees: depth, segments, people, words; of pictures like the demonstration's."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from studio.control.people import Person, draw_people
from studio.control.pixels import in_size_of, to_image, working_pixels
from studio.control.weights import Weights
from studio.segments import REGIONS

if TYPE_CHECKING:
    from studio.control.reader import Reading

FILE = "annotator.safetensors"
CLASSES = ("nothing", *REGIONS)
SURROUNDINGS = ("sky", "ground")  # which most pictures have: named where there is nothing else
LEAST_SHARE = 0.01  # of the picture, for a region to be worth a word


def depth(image: Image.Image, *, weights: Weights) -> Image.Image:
    """How near everything is: RGB, the same size, white near and black far."""
    return to_image(in_size_of(image, _read(image, weights).depth * 255))


def segments(image: Image.Image, *, weights: Weights) -> Image.Image:
    """Each region in its colour of studio.segments: RGB, the same size, black where there is nothing known."""
    colors = np.array([(0, 0, 0), *REGIONS.values()], np.uint8)
    return Image.fromarray(colors[_read(image, weights).segments]).resize(image.size, Image.Resampling.NEAREST)


def pose(image: Image.Image, *, weights: Weights) -> tuple[Image.Image, list[Person]]:
    """The skeletons of the people, drawn as a pose model sees them, and their joints."""
    found = _read(image, weights).people
    people = [[_joint(joint, image.size) for joint in person.tolist()] for person in found]
    return draw_people(people, image.size)


def caption(image: Image.Image, *, weights: Weights) -> str:
    """What stands in the picture, the largest first: "a house, a tree and a person"; "" if nothing is known."""
    seen = np.bincount(_read(image, weights).segments.ravel(), minlength=len(CLASSES))
    order = [CLASSES[number] for number in np.argsort(-seen, kind="stable") if seen[number] >= LEAST_SHARE * seen.sum()]
    named = [name for name in order if name in REGIONS]
    return listed([name for name in named if name not in SURROUNDINGS] or named)


def listed(names: Sequence[str]) -> str:
    """The things in one phrase."""
    things = [name if name in SURROUNDINGS else f"a {name}" for name in names]
    return " and ".join(filter(None, (", ".join(things[:-1]), things[-1]))) if things else ""


def _joint(joint: list[float], size: tuple[int, int]) -> tuple[float, float, float]:
    """x, y, 1 in pixels, of fractions; zeros for what was not found."""
    x, y, _ = joint
    return (0.0, 0.0, 0.0) if np.isnan(x) or np.isnan(y) else (x * size[0], y * size[1], 1.0)


def _read(image: Image.Image, weights: Weights) -> "Reading":
    from studio.control.reader import read

    picture = Image.fromarray(working_pixels(image))
    with weights.network([FILE], _open) as reader:
        return read(reader, picture, CLASSES.index("person"))


def _open(file: Path) -> Any:
    from studio.control.reader import load_reader

    return load_reader(file, len(CLASSES))

"""Regions with words of their own, drawn as a map in flat colours: where each one is, what it says, what is odd."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from studio.errors import InvalidRequestError
from studio.inpainting import on_black
from studio.params import ControlUnit, Region
from studio.prompts.check import complaints
from studio.prompts.comments import strip_comments
from studio.prompts.compose import split_and
from studio.prompts.expand import expand
from studio.prompts.networks import read_networks
from studio.prompts.wildcards import Lookup

KIND = "regions"
NEAR = 40  # of 255: colours that a program has smoothed or compressed still mean what they are nearest to
BLACK = (0, 0, 0)
STRANGE = 0.01  # of the picture, before it is told

Mask = NDArray[np.bool_]
Shares = NDArray[np.float32]


def rgb_of(color: str) -> tuple[int, int, int]:
    """The channels of "#rrggbb"."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def areas(image: Image.Image, regions: Sequence[Region]) -> list[Mask]:
    """Where each region is, (height, width): the pixels to which its colour is the nearest, and near at all.

    Black, and what is transparent, is nobody's unless a region is black.
    """
    pixels = np.asarray(on_black(image), np.int16)
    colors = [rgb_of(region.color) for region in regions]
    named = colors if BLACK in colors else [*colors, BLACK]
    apart = np.stack([np.abs(pixels - np.array(color, np.int16)).max(2) for color in named])
    nearest, near = apart.argmin(0), apart.min(0) <= NEAR
    return [(nearest == number) & near for number in range(len(regions))]


def masks(image: Image.Image, unit: ControlUnit) -> list[Shares]:
    """How much each region of the unit covers, (height, width), 0 to 1, with the unit's soft borders."""
    blur = ImageFilter.GaussianBlur(unit.softness * min(image.size))
    hard = [Image.fromarray(area.astype(np.uint8) * 255) for area in areas(image, unit.regions)]
    soft = [mask.filter(blur) if unit.softness else mask for mask in hard]
    return [np.asarray(mask, np.float32) / 255 for mask in soft]


def check_regions(units: Sequence[ControlUnit]) -> None:
    """Raises: InvalidRequestError, for what no control of that kind can have, and for two of the kind regions."""
    for unit in units:
        colors = [region.color.lower() for region in unit.regions]
        if unit.regions and unit.kind != KIND:
            raise _refused(f"The {unit.kind} control takes no regions.", "The kind regions does.")
        if unit.kind == KIND and unit.mode != "balanced":
            raise _refused(f"The regions control knows no mode {unit.mode}.", "Its conditioning_scale tells how much.")
        if twice := next((color for color in colors if colors.count(color) > 1), None):
            raise _refused(f"Two regions are in {twice}.", "Give each a colour of its own.")
    if sum(unit.kind == KIND for unit in units) > 1:
        raise _refused("There are several regions controls.", "One of them can hold all regions.")


def _refused(message: str, hint: str) -> InvalidRequestError:
    return InvalidRequestError(message, field="regions", hint=hint)


@dataclass(frozen=True)
class Speaking:
    """Reads regions' words as prompts are read, but for what counts in the prompt alone: adapters' tags, and AND.

    Fields:
        clean: Gives a text without control characters. Raises: InvalidRequestError, if it is too long.
        said: Takes a sentence for each thing that a person should know.
    """

    seed: int
    wildcards: Lookup
    clean: Callable[[str], str]
    said: list[str]

    def unit(self, unit: ControlUnit) -> ControlUnit:
        """The unit, comments gone and variants drawn; each region draws on its own."""
        regions = [replace(region, words=self._words(i, region.words)) for i, region in enumerate(unit.regions)]
        return replace(unit, regions=tuple(regions))

    def _words(self, number: int, words: str) -> str:
        text, drawn = expand(strip_comments(self.clean(words)), f"{self.seed} region {number}", self.wildcards)
        read = read_networks(text)
        (first, _), *more = split_and(read.text)
        self.said.extend([*drawn, *read.notes, *complaints(first)])
        if read.tags:
            self.said.append(f"{read.tags[0].written[:80]} in a region switches nothing on; write it in the prompt.")
        if more:
            self.said.append("AND joins nothing in a region; what stands after it was left out.")
        return first.strip()


def spoken(
    units: Sequence[ControlUnit], each: Sequence[Speaking]
) -> tuple[tuple[ControlUnit, ...], tuple[tuple[str, ...], ...]]:
    """The units as the first picture has them, and what their regions say in each picture, where these differ.

    each: What reads the words of each picture, at least one.
    """
    read = [tuple(map(speaking.unit, units)) for speaking in each]
    rows = tuple(tuple(region.words for unit in one for region in unit.regions) for one in read)
    return read[0], rows if len(set(rows)) > 1 else ()


def remarks(unit: ControlUnit, open_image: Callable[[str], Image.Image]) -> Iterator[str]:
    """Sentences about regions that say nothing or are nowhere, and about colours that are nobody's."""
    image = open_image(unit.map)
    found = areas(image, unit.regions)
    if not any(region.words for region in unit.regions):
        yield "No region has words, so the prompt alone decides everywhere."
        return
    for region, area in zip(unit.regions, found, strict=True):
        if region.words and not area.any():
            yield f'Nothing is painted in {region.color}, so "{_short(region.words)}" counts nowhere.'
        elif area.any() and not region.words:
            yield f"The region in {region.color} has no words, so the prompt alone decides there."
    strange = _strange(image, found)
    if strange >= STRANGE:
        yield f"{strange:.0%} of the regions map is in colours of no region; the prompt alone decides there."


def _strange(image: Image.Image, found: Sequence[Mask]) -> float:
    """The share of the map that is painted and in no region."""
    painted = np.asarray(on_black(image)).max(2) > NEAR
    taken = np.any(np.stack(found), axis=0) if found else np.zeros_like(painted)
    return float((painted & ~taken).mean())


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:39].rstrip() + "\u2026"

"""Aspect buckets: the sizes that pictures are trained in, each of about the area that the model knows."""

from dataclasses import dataclass
from functools import cache, lru_cache

STEP_MAX = 64  # pixels: the UNets of Stable Diffusion halve 8-pixel latents three times
STRETCH = 2  # a side is at most twice the resolution, and at least half of it

Size = tuple[int, int]


@dataclass(frozen=True)
class Cut:
    """How a picture fills its bucket: scaled to `scaled`, then a rectangle of `size` cut out at (left, top)."""

    size: Size
    scaled: Size
    left: int
    top: int

    @property
    def lost(self) -> float:
        """The share of the picture that is cut off, 0 to 1."""
        return 1 - self.size[0] * self.size[1] / (self.scaled[0] * self.scaled[1])

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of the rectangle, in the scaled picture."""
        return self.left, self.top, self.left + self.size[0], self.top + self.size[1]


def step_of(resolution: int) -> int:
    """What sides are multiples of, in pixels: 64, and less for models of small pictures (32 at 128, 8 at 32)."""
    return max(8, min(STEP_MAX, 1 << max(0, resolution // 4).bit_length() - 1))


@cache
def buckets(resolution: int) -> tuple[Size, ...]:
    """(width, height) of every bucket: areas from about 3/4 of resolution squared up to that, the square among them."""
    step = step_of(resolution)
    square = max(step, round(resolution / step) * step)
    low, high = max(step, square // STRETCH // step * step), square * STRETCH
    wide = [(side, max(step, square * square // side // step * step)) for side in range(low, high + 1, step)]
    return tuple(sorted({*wide, *((height, width) for width, height in wide)}))


@lru_cache(maxsize=20_000)
def cut(size: Size, resolution: int, crop: str = "bucket", place: float = 0.5) -> Cut:
    """How a picture of that size (width, height) is cut.

    Args:
        crop: "bucket" takes the bucket that loses least; "center" and "random" the square one.
        place: Where along the longer side it is cut, 0 to 1; 0.5 is the middle.
    """
    sizes = buckets(resolution)
    if crop != "bucket":
        sizes = tuple(one for one in sizes if one[0] == one[1])
    target = min(sizes, key=lambda one: (round(filled(size, one, place).lost, 6), -one[0] * one[1], one))
    return filled(size, target, place)


def filled(size: Size, target: Size, place: float = 0.5) -> Cut:
    """How a picture of that size is scaled to cover `target` and cut, no larger than that takes. place: as in `cut`."""
    factor = max(wanted / side for wanted, side in zip(target, size, strict=True))
    width, height = (max(wanted, round(side * factor)) for wanted, side in zip(target, size, strict=True))
    left, top = (round((have - wanted) * place) for have, wanted in zip((width, height), target, strict=True))
    return Cut(target, (width, height), left, top)

"""The same colours in other places: a picture's mood without its layout."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from studio.control.pixels import check_option, to_image, to_pixels


def annotate(image: Image.Image, *, seed: float = 0, size: float = 256) -> Image.Image:
    """Stir `image` by a smooth random flow.

    Args:
        image: Any mode and size, at most 32,766 pixels a side.
        seed: Which flow, a whole number from 0 to 9999.
        size: About how many pixels a whirl measures, 16 to 1024.
    Returns: RGB, the same size; every colour lies between colours of the picture.
    Raises: ValueError, if an option is out of its range or the seed is no whole number.
    Source: ContentShuffleDetector of ControlNet 1.1.
    """
    check_option("seed", seed, 0, 9999)
    check_option("size", size, 16, 1024)
    if seed != int(seed):
        raise ValueError(f"seed is {seed}, which is no whole number.")
    import cv2

    pixels = to_pixels(image)
    height, width = pixels.shape[:2]
    rng = np.random.default_rng(int(seed))
    across = _smooth_noise((height, width), size, rng) * (width - 1)
    down = _smooth_noise((height, width), size, rng) * (height - 1)
    return to_image(cv2.remap(pixels, across, down, cv2.INTER_LINEAR))


def _smooth_noise(shape: tuple[int, int], size: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Values from 0 to 1, both reached, that change over about `size` pixels, (h, w); 0 where there is one pixel."""
    import cv2

    height, width = shape
    grid = rng.random((int(height / size) + 4, int(width / size) + 4), np.float32)
    whole = cv2.resize(grid, (round(grid.shape[1] * size), round(grid.shape[0] * size)), interpolation=cv2.INTER_CUBIC)
    noise = whole[int(size) :, int(size) :][:height, :width]
    low, high = float(noise.min()), float(noise.max())
    return (noise - low) / (high - low) if high > low else np.zeros_like(noise)

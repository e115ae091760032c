"""A sketch of a photo: rough white lines, as a person would draw them."""

import numpy as np
from PIL import Image

from studio.control.pixels import blurred, check_option, darkness, enlargement, in_size_of, to_image, working_pixels

NARROW, WIDE = 0.5, 5.0


def annotate(image: Image.Image, *, threshold: float = 32) -> Image.Image:
    """Draw lines where `image` is darker than what surrounds it, or as light and of another colour.

    Args:
        image: Any mode and size. Above 512 pixels a side the lines grow with the picture.
        threshold: How much darker, 1 to 64, in half steps of brightness; less gives more lines.
    Returns: RGB, the same size, every pixel 0 or 255, light on black.
    Raises: ValueError, if the threshold is out of its range.
    Source: XDoG, Winnemoeller 2011, doi:10.1145/2024676.2024700, simplified as in the ControlNet authors' demo,
        gradio_scribble2image.py; they take the colour that differs least, which loses a red thing on white.
    """
    check_option("threshold", threshold, 1, 64)
    pixels = working_pixels(image)
    grown = enlargement(pixels)
    darker = blurred(pixels, WIDE * grown) - blurred(pixels, NARROW * grown)
    lines = in_size_of(image, darkness(darker, threshold / 4, reach=2 * WIDE * grown))
    return to_image(np.where(2 * lines > threshold, 255, 0))

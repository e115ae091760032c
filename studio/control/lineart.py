"""Line art without a network: what a pencil would draw, from a picture divided by its own blur."""

import numpy as np
from PIL import Image

from studio.control.pixels import blurred, check_option, enlargement, to_image, to_pixels


def annotate(image: Image.Image, *, width: float = 6.0, contrast: float = 2.0) -> Image.Image:
    """Draw pencil lines: white, with grey where the line is faint, on black.

    Args:
        image: Any mode and size. Above 512 pixels a side the lines grow with the picture.
        width: Sigma of the blur in pixels, 1 to 16; a small one keeps fine lines only.
        contrast: Multiplies the darkness of the pencil, 0.5 to 8.
    Returns: RGB, the same size, grey from 0 to 255, light on black.
    Raises: ValueError, if an option is out of its range.
    Source: colour dodge, as image editors make pencil drawings; a stand-in for the line art networks of
        arXiv:2203.12691, which need a download.
    """
    check_option("width", width, 1, 16)
    check_option("contrast", contrast, 0.5, 8)
    pixels = to_pixels(image)
    paper = (pixels + 16.0) / (blurred(pixels, width * enlargement(pixels)) + 16.0)  # 16: no lines in what is black
    return to_image(255 * contrast * (1 - np.min(paper, axis=2)))

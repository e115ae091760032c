"""Soft edges without a network: broad, smooth lines that are lighter where the change of colour is stronger."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from studio.control.pixels import Pixels, blurred, check_option, enlargement, in_size_of, to_image, working_pixels

SCALES = (0.75, 1.5, 3.0)
FAINT, FULL = 6.0, 160.0  # contrasts, of 255, that give black and white


def annotate(image: Image.Image, *, strength: float = 1.0) -> Image.Image:
    """Draw the outlines of `image`, averaged over three sizes of detail; grain and texture stay dark.

    Args:
        image: Any mode and size. Above 512 pixels a side the lines grow with the picture.
        strength: Multiplies the contrast before it is drawn, 0.25 to 4.
    Returns: RGB, the same size, grey from 0 to 255, light on black.
    Raises: ValueError, if the strength is out of its range.
    Source: gradients normalised by scale, Lindeberg 1998, doi:10.1023/A:1008045108935. It stands in for HED and
        PiDiNet, which need a download.
    """
    check_option("strength", strength, 0.25, 4)
    pixels = working_pixels(image)
    grown = enlargement(pixels)
    contrast = in_size_of(image, sum(_contrast(pixels, sigma * grown) for sigma in SCALES) / len(SCALES))
    return to_image(255 * (strength * contrast - FAINT) / (FULL - FAINT))


def _contrast(pixels: Pixels, sigma: float) -> NDArray:
    """How high the step of colour is at each pixel, (h, w), 0 to 255: exact at a straight, lonely step."""
    import cv2

    smooth = blurred(pixels, sigma)
    across = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=0.125, borderType=cv2.BORDER_REPLICATE)
    down = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=0.125, borderType=cv2.BORDER_REPLICATE)
    slope = np.hypot(across, down).reshape(pixels.shape).max(axis=2)
    return slope * sigma * np.sqrt(2 * np.pi)

"""Line art without a network: what a pencil would draw, from a picture divided by its own blur."""

from PIL import Image

from studio.control.pixels import blurred, check_option, darkness, enlargement, in_size_of, to_image, working_pixels

BLACK, FAINT = 16.0, 0.04  # keep grain from becoming lines: in what is black, and on paper
CLEAR = 0.15  # a difference of luminance beside which colours do not matter


def annotate(image: Image.Image, *, width: float = 6.0, contrast: float = 3.0) -> Image.Image:
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
    pixels = working_pixels(image)
    sigma = width * enlargement(pixels)
    light = (pixels + BLACK) / (blurred(pixels, sigma) + BLACK)
    return to_image(255 * contrast * (in_size_of(image, darkness(1 - light, CLEAR, reach=2 * sigma)) - FAINT))

"""A blurred picture: colours and large shapes stay, details are the model's."""

from PIL import Image

from studio.control.pixels import blurred, check_option, to_image, to_pixels


def annotate(image: Image.Image, *, sigma: float = 9.0) -> Image.Image:
    """Blur with a Gaussian.

    Args:
        image: Any mode and size.
        sigma: Its width in pixels, 0.5 to 64.
    Returns: RGB, the same size.
    Raises: ValueError, if sigma is out of its range.
    """
    check_option("sigma", sigma, 0.5, 64)
    return to_image(blurred(to_pixels(image), sigma))

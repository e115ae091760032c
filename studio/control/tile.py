"""A coarser picture, for models that add the details."""

from PIL import Image

from studio.control.pixels import check_option, to_image, to_pixels


def annotate(image: Image.Image, *, rate: float = 2.0) -> Image.Image:
    """Take details away: make `image` smaller, and as large as before.

    Args:
        image: Any mode and size.
        rate: By how much smaller on the way, 1 to 8; 1 leaves the picture as it is.
    Returns: RGB, the same size.
    Raises: ValueError, if the rate is out of its range.
    Source: tile_resample of ControlNet 1.1, which leaves the picture small; here it fits its source.
    """
    check_option("rate", rate, 1, 8)
    import cv2

    pixels = to_pixels(image)
    height, width = pixels.shape[:2]
    small = cv2.resize(
        pixels, (max(1, round(width / rate)), max(1, round(height / rate))), interpolation=cv2.INTER_AREA
    )
    return to_image(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))

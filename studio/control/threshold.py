"""Black and white: everything lighter than a limit is white."""

import numpy as np
from PIL import Image

from studio.control.pixels import check_option, to_image, to_pixels


def annotate(image: Image.Image, *, limit: float = 127) -> Image.Image:
    """Make every pixel black or white.

    Args:
        image: Any mode and size.
        limit: A luminance (Rec. 601), 0 to 255; what is above it is white.
    Returns: RGB, the same size, every pixel 0 or 255.
    Raises: ValueError, if the limit is out of its range.
    """
    check_option("limit", limit, 0, 255)
    grey = np.asarray(Image.fromarray(to_pixels(image)).convert("L"))
    return to_image(np.where(grey > limit, 255, 0))

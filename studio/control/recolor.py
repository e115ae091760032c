"""Light and shade without colour, for models that put the colours in."""

import numpy as np
from PIL import Image

from studio.control.pixels import check_option, to_image, to_pixels


def annotate(image: Image.Image, *, intensity: float = 0, gamma: float = 1.0) -> Image.Image:
    """Keep how light each pixel is.

    Args:
        image: Any mode and size.
        intensity: 0 takes the luminance (L of CIELAB), 1 the intensity (V of HSV), between them a mixture.
        gamma: 0.1 to 4; above 1 makes the middle tones darker, below 1 lighter.
    Returns: RGB, the same size, grey.
    Raises: ValueError, if an option is out of its range.
    Source: recolor_luminance and recolor_intensity of sd-webui-controlnet.
    """
    check_option("intensity", intensity, 0, 1)
    check_option("gamma", gamma, 0.1, 4)
    import cv2

    pixels = to_pixels(image)
    luminance = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)[..., 0].astype(np.float32)
    light = (1 - intensity) * luminance + intensity * pixels.max(axis=2)
    return to_image(255 * (light / 255) ** gamma)

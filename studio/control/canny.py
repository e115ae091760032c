"""Edges: thin white lines where colours change quickly."""

from PIL import Image

from studio.control.pixels import to_image, to_pixels


def annotate(image: Image.Image, *, low_threshold: float = 100, high_threshold: float = 200) -> Image.Image:
    """Draw the edges of `image`: white one-pixel lines on black.

    Args:
        image: Any mode and size; colours count, so that red beside green of the same lightness is an edge.
        low_threshold, high_threshold: Gradient limits of the hysteresis, 0 to 255, low below high.
    Returns: RGB, the same size, every pixel 0 or 255.
    Raises: ValueError, if the thresholds are not 0 <= low < high <= 255.
    Source: Zhang et al., arXiv:2302.05543; defaults of the authors' demo, gradio_canny2image.py.
    """
    if not 0 <= low_threshold < high_threshold <= 255:
        raise ValueError(
            f"The thresholds must satisfy 0 <= low < high <= 255, found {low_threshold}, {high_threshold}."
        )
    import cv2  # slow to import, wanted only where an annotator runs

    return to_image(cv2.Canny(to_pixels(image), low_threshold, high_threshold))

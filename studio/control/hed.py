"""HED: edges as a person would draw around things, stronger where they matter more."""

from pathlib import Path
from typing import Any

from PIL import Image

from studio.control.networks import RESOLUTION, aux, detect, filled, looked_at
from studio.control.weights import Weights

FILE = "ControlNetHED.pth"


def softedge(image: Image.Image, *, weights: Weights, resolution: float = RESOLUTION, safe: float = 0) -> Image.Image:
    """Draw edges with a strength: RGB, the same size, light on black.

    Args:
        resolution: Of the shorter side, 256 to 1024.
        safe: 1 to keep three strengths only, so that less of the picture shines through.
    Raises: ValueError, ModelNotFoundError.
    Source: Xie and Tu, arXiv:1504.06375; the network of ControlNet 1.1.
    """
    pixels = looked_at(image, resolution)
    with weights.network([FILE], _open) as detector:
        return detect(detector, pixels, image, safe=safe >= 0.5)


def scribble(image: Image.Image, *, weights: Weights, resolution: float = RESOLUTION) -> Image.Image:
    """Draw the same edges as rough lines, as with a pen: RGB, the same size, white on black."""
    pixels = looked_at(image, resolution)
    with weights.network([FILE], _open) as detector:
        return detect(detector, pixels, image, scribble=True)


def _open(file: Path) -> Any:
    hed = aux().hed
    return hed.HEDdetector(filled(hed.ControlNetHED_Apache2(), file))

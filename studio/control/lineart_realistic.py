"""Line art of photos, fine or coarse, by two networks that learned from drawings."""

from pathlib import Path
from typing import Any

from PIL import Image

from studio.control.networks import RESOLUTION, aux, detect, filled, looked_at
from studio.control.weights import Weights

FINE, COARSE = "sk_model.pth", "sk_model2.pth"
BLOCKS = 3  # between the two halves of the network


def annotate(image: Image.Image, *, weights: Weights, resolution: float = RESOLUTION, coarse: float = 0) -> Image.Image:
    """Draw the picture with a pencil: RGB, the same size, light on black.

    Args:
        resolution: Of the shorter side, 256 to 1024.
        coarse: 1 for fewer and rougher lines.
    Raises: ValueError, ModelNotFoundError.
    Source: Chan et al., arXiv:2203.12691.
    """
    pixels = looked_at(image, resolution)
    with weights.network([FINE, COARSE], _open) as detector:
        return detect(detector, pixels, image, coarse=coarse >= 0.5)


def _open(fine: Path, coarse: Path) -> Any:
    lineart = aux().lineart
    return lineart.LineartDetector(*(filled(lineart.Generator(3, 1, BLOCKS), file) for file in (fine, coarse)))

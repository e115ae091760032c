"""PiDiNet: soft edges from a very small network."""

from pathlib import Path
from typing import Any

from PIL import Image

from studio.control.networks import RESOLUTION, aux, detect, filled, looked_at
from studio.control.weights import Weights

FILE = "table5_pidinet.pth"


def softedge(image: Image.Image, *, weights: Weights, resolution: float = RESOLUTION, safe: float = 0) -> Image.Image:
    """Draw edges with a strength: RGB, the same size, light on black.

    Args:
        resolution: Of the shorter side, 256 to 1024.
        safe: 1 to keep three strengths only, so that less of the picture shines through.
    Raises: ValueError, ModelNotFoundError.
    Source: Su et al., arXiv:2108.07009.
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
    pidi = aux().pidi
    return pidi.PidiNetDetector(filled(pidi.pidinet(), file))

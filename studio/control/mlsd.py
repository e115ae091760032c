"""M-LSD: the straight lines of buildings and rooms."""

from pathlib import Path
from typing import Any

from PIL import Image

from studio.control.networks import RESOLUTION, aux, detect, filled, looked_at
from studio.control.pixels import check_option
from studio.control.weights import Weights

FILE = "mlsd_large_512_fp32.pth"


def annotate(
    image: Image.Image,
    *,
    weights: Weights,
    resolution: float = RESOLUTION,
    score: float = 0.1,
    distance: float = 0.1,
) -> Image.Image:
    """Draw straight lines: RGB, the same size, white on black.

    Args:
        resolution: Of the shorter side, 256 to 1024.
        score: How sure a line must be, 0.01 to 2.
        distance: The least length of a line, 0.01 to 20.
    Raises: ValueError, ModelNotFoundError.
    Source: Gu et al., arXiv:2106.00186; defaults of ControlNet's demo, gradio_hough2image.py.
    """
    check_option("score", score, 0.01, 2)
    check_option("distance", distance, 0.01, 20)
    pixels = looked_at(image, resolution)
    with weights.network([FILE], _open) as detector:
        return detect(detector, pixels, image, thr_v=score, thr_d=distance)


def _open(file: Path) -> Any:
    mlsd = aux().mlsd
    return mlsd.MLSDdetector(filled(mlsd.MobileV2_MLSD_Large(), file))

"""Line art of drawings: the outlines that were under the colours."""

from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from studio.control.networks import RESOLUTION, aux, detect, filled, looked_at
from studio.control.weights import Weights

FILE = "netG.pth"
HALVINGS, WIDTH = 8, 64  # of the network


def annotate(image: Image.Image, *, weights: Weights, resolution: float = RESOLUTION) -> Image.Image:
    """Draw the outlines of a drawing: RGB, the same size, light on black. resolution: 256 to 1024.

    Raises: ValueError, ModelNotFoundError. Source: ControlNet 1.1, after Anime2Sketch.
    """
    pixels = looked_at(image, resolution)
    with weights.network([FILE], _open) as detector:
        return detect(detector, pixels, image)


def _open(file: Path) -> Any:
    from torch.nn import InstanceNorm2d

    anime = aux().lineart_anime
    norm = partial(InstanceNorm2d, affine=False, track_running_stats=False)
    return anime.LineartAnimeDetector(filled(anime.UnetGenerator(3, 1, HALVINGS, WIDTH, norm_layer=norm), file))

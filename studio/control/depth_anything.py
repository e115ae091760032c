"""Depth Anything V2: how near everything is, in fine detail."""

from pathlib import Path
from typing import Any

from PIL import Image

from studio.control.networks import MEAN, RESOLUTION, SPREAD, depth_map, from_folder, looked_at, to_tensor
from studio.control.weights import Weights

FOLDER = "Depth-Anything-V2-Small-hf"
PATCH = 14  # pixels of a side, of which each is one to the network


def annotate(image: Image.Image, *, weights: Weights, resolution: float = RESOLUTION) -> Image.Image:
    """A depth map: RGB, the same size, white near and black far. resolution: of the shorter side, 256 to 1024.

    Raises: ValueError, ModelNotFoundError. Source: Yang et al., arXiv:2406.09414.
    """
    pixels = looked_at(image, resolution, PATCH)
    with weights.network([FOLDER], _open) as network:
        depth = network(to_tensor(pixels, MEAN, SPREAD, weights.device)).predicted_depth[0].cpu().numpy()
    return depth_map(depth, image)


def _open(folder: Path) -> Any:
    from transformers import DepthAnythingForDepthEstimation

    return from_folder(DepthAnythingForDepthEstimation, folder)

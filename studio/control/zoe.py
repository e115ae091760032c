"""ZoeDepth: how far everything is in metres, shown from near to far."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from studio.control.networks import as_map, from_folder, looked_at, to_tensor
from studio.control.weights import Weights

FOLDER = "zoedepth-nyu"
HALF, SIDE = (0.5, 0.5, 0.5), 384
PATCH = 32  # pixels that sides must be multiples of
NEAREST, FARTHEST = 2, 85  # percentiles of the distances that become white and black
BORDER = 3  # of how many root half sides the picture is mirrored around, where the network is not good


def annotate(image: Image.Image, *, weights: Weights, resolution: float = SIDE) -> Image.Image:
    """A depth map: RGB, the same size, white near and black far. resolution: of the shorter side, 256 to 1024.

    Raises: ValueError, ModelNotFoundError. Source: Bhat et al., arXiv:2302.12288; range as in ControlNet 1.1.
    """
    pixels = looked_at(image, resolution, PATCH)
    height, width = (round(np.sqrt(side / 2) * BORDER / PATCH) * PATCH for side in pixels.shape[:2])
    around = np.pad(pixels, ((height, height), (width, width), (0, 0)), mode="reflect")
    with weights.network([FOLDER], _open) as network:
        metres = network(to_tensor(around, HALF, HALF, weights.device)).predicted_depth[0].cpu().numpy()
    share = metres.shape[0] / around.shape[0], metres.shape[1] / around.shape[1]
    top, left = round(height * share[0]), round(width * share[1])
    inside = np.nan_to_num(metres[top : metres.shape[0] - top, left : metres.shape[1] - left])
    near, far = np.percentile(inside, (NEAREST, FARTHEST))
    return as_map(np.clip((far - inside) / max(far - near, 1e-6), 0, 1) * 255, image)


def _open(folder: Path) -> Any:
    from transformers import ZoeDepthForDepthEstimation

    return from_folder(ZoeDepthForDepthEstimation, folder)

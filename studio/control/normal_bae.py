"""BAE: which way every surface looks."""

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from studio.control.networks import MEAN, RESOLUTION, SPREAD, as_map, aux, filled, looked_at, to_tensor
from studio.control.weights import Weights

FILE = "scannet.pt"
LAYOUT = {"mode": "client", "architecture": "BN", "sampling_ratio": 0.4, "importance_ratio": 0.7}


def annotate(image: Image.Image, *, weights: Weights, resolution: float = RESOLUTION) -> Image.Image:
    """A map of normals: RGB, the same size; red, green and blue say left, up and towards who looks.

    resolution: Of the shorter side, 256 to 1024. Raises: ValueError, ModelNotFoundError.
    Source: Bae et al., arXiv:2109.09881.
    """
    pixels = looked_at(image, resolution)
    with weights.network([FILE], _open) as network:
        finest = network(to_tensor(pixels, MEAN, SPREAD, weights.device))[0][-1]
        normals = finest[0, :3].permute(1, 2, 0).cpu().numpy()
    return as_map(np.clip((normals + 1) / 2, 0, 1) * 255, image)


def _open(file: Path) -> Any:
    with redirect_stdout(StringIO()):  # it tells how it is built
        return filled(aux().normalbae.NNET(SimpleNamespace(**LAYOUT)), file)

"""UperNet: what every pixel belongs to, of the 150 classes of ADE20K."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from studio.control.networks import MEAN, RESOLUTION, SPREAD, aux, from_folder, looked_at, to_tensor
from studio.control.weights import Weights

FOLDER = "upernet-convnext-small"


def annotate(image: Image.Image, *, weights: Weights, resolution: float = RESOLUTION) -> Image.Image:
    """Regions in ADE20K's colours: RGB, the same size. resolution: of the shorter side, 256 to 1024.

    Raises: ValueError, ModelNotFoundError. Source: Xiao et al., arXiv:1807.10221.
    """
    pixels = looked_at(image, resolution, 32)
    colors = np.array(aux().util.ade_palette(), np.uint8)
    with weights.network([FOLDER], _open) as network:
        classes = network(to_tensor(pixels, MEAN, SPREAD, weights.device)).logits[0].argmax(0).cpu().numpy()
    return Image.fromarray(colors[classes]).resize(image.size, Image.Resampling.NEAREST)


def _open(folder: Path) -> Any:
    from transformers import UperNetForSemanticSegmentation

    model = from_folder(UperNetForSemanticSegmentation, folder)
    if model.config.num_labels != 150:
        raise ValueError(f"it knows {model.config.num_labels} classes, and ADE20K has 150")
    return model

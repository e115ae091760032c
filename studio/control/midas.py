"""MiDaS: how near everything is, by the network that ControlNet 1.0 used, part convolutions, part transformer."""

from pathlib import Path
from typing import Any

from PIL import Image

from studio.control.networks import RESOLUTION, aux, depth_map, filled, looked_at, to_tensor
from studio.control.weights import Weights

FILE = "dpt_hybrid-midas-501f0c75.pt"
HALF = (0.5, 0.5, 0.5)


def annotate(image: Image.Image, *, weights: Weights, resolution: float = RESOLUTION) -> Image.Image:
    """A depth map: RGB, the same size, white near and black far. resolution: of the shorter side, 256 to 1024.

    Raises: ValueError, ModelNotFoundError. Source: Ranftl et al., arXiv:2103.13413.
    """
    pixels = looked_at(image, resolution)
    with weights.network([FILE], _open) as network:
        depth = network(to_tensor(pixels, HALF, HALF, weights.device))[0].cpu().numpy()
    return depth_map(depth, image)


def _open(file: Path) -> Any:
    aux()
    from controlnet_aux.midas.midas.dpt_depth import DPTDepthModel

    return filled(DPTDepthModel(path=None, backbone="vitb_rn50_384", non_negative=True), file)

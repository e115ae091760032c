"""What the annotators with networks share: the size at which a picture is looked at, and the way back to its own."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from studio.control.pixels import Pixels, check_option, to_image, to_pixels
from studio.control.weights import read_state
from studio.errors import ModelNotFoundError

RESOLUTION, LOWEST, HIGHEST, STEP = 512, 256, 1024, 64
SLENDER = 4  # a picture longer than so many times its shorter side is looked at smaller
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pictures, which many networks want


def looked_at(image: Image.Image, resolution: float, multiple: int = STEP) -> Pixels:
    """The picture as a network is shown it, (h, w, 3) uint8: the shorter side about at `resolution`.

    Sides are multiples of `multiple`, as close to the picture's aspect as that allows.
    Raises: ValueError, if the resolution is not between LOWEST and HIGHEST.
    """
    import cv2

    check_option("resolution", resolution, LOWEST, HIGHEST)
    share = min(resolution / min(image.size), SLENDER * resolution / max(image.size))
    width, height = (max(multiple, round(side * share / multiple) * multiple) for side in image.size)
    way = cv2.INTER_LANCZOS4 if share > 1 else cv2.INTER_AREA
    return cv2.resize(to_pixels(image), (width, height), interpolation=way)


def as_map(found: NDArray, image: Image.Image) -> Image.Image:
    """What was found, 0 to 255, (h, w) or (h, w, 3), as an RGB map of the picture's size."""
    import cv2

    values = np.ascontiguousarray(found, dtype=np.float32)
    return to_image(cv2.resize(values, image.size, interpolation=cv2.INTER_LINEAR))


def detect(detector: Any, pixels: Pixels, image: Image.Image, **options: Any) -> Image.Image:
    """The map that a detector of controlnet-aux draws of the picture as it is looked at. options: its own."""
    side = min(pixels.shape[:2])  # so that the detector changes no size
    drawn = detector(pixels, detect_resolution=side, image_resolution=side, output_type="np", **options)
    return as_map(drawn, image)


def depth_map(depth: NDArray, image: Image.Image) -> Image.Image:
    """A map of how near everything is: near is large in `depth`, (h, w) of any range, and white in the map."""
    near = np.nan_to_num(depth.astype(np.float32))
    reach = near.max() - near.min()
    return as_map((near - near.min()) / (reach or 1) * 255, image)


def to_tensor(pixels: Pixels, mean: tuple[float, ...], spread: tuple[float, ...], device: Any) -> Any:
    """(h, w, 3) bytes to a batch of one, (1, 3, h, w): 0 to 1, less the mean, over the spread."""
    import torch

    values = (pixels.astype(np.float32) / 255 - np.array(mean, np.float32)) / np.array(spread, np.float32)
    return torch.from_numpy(values).permute(2, 0, 1)[None].to(device)


def filled(network: Any, file: Path) -> Any:
    """The network with the file's tensors, every one, ready to run. Raises: as `read_state`."""
    network.load_state_dict(read_state(file))
    return network.eval()


def aux() -> Any:
    """The package controlnet_aux, whose import warns of what does not concern us.

    Raises: ModelNotFoundError, if it is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import controlnet_aux
        except ImportError as error:
            hint = "Start the studio with python launch.py, which installs it, or: pip install controlnet-aux"
            raise ModelNotFoundError(f"This annotator needs controlnet-aux ({error}).", hint=hint) from error
    return controlnet_aux


def from_folder(kind: Any, folder: Path) -> Any:
    """A model of transformers, every tensor of it from the folder's files; no code of a repository is run.

    Raises: OSError, ValueError, RuntimeError or KeyError, if the folder holds something else.
    """
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        model, facts = kind.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    finally:
        logging.set_verbosity(level)
    if missing := sorted({name for name, _ in model.named_parameters()} & set(facts["missing_keys"])):
        raise ValueError(f"{len(missing)} tensors are in no file, such as {missing[0]}")
    return model.float().eval()

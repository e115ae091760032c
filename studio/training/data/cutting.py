"""Pictures, masks and maps as tensors, cut and mirrored the same way."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from PIL.Image import Resampling, Transpose
from torch import Tensor

from studio.datasets.buckets import Cut, Size


@dataclass(frozen=True)
class View:
    """How a picture is seen: cut, and mirrored or not."""

    cut: Cut
    flip: bool = False

    def sizes(self, original: Size) -> list[int]:
        """What SDXL is told: height and width of the original, top and left of the cut, height and width.

        Source: Podell et al., arXiv:2307.01952.
        """
        cut = self.cut
        left = cut.scaled[0] - cut.size[0] - cut.left if self.flip else cut.left
        return [original[1], original[0], cut.top, left, cut.size[1], cut.size[0]]

    def seen(self, image: Image.Image, scaling: Resampling, size: Size | None = None) -> Image.Image:
        """What is seen of it, in `size`, or that of the bucket; an image of another size is taken to be the same one.

        Only what is seen is scaled, so that a picture as thin as a thread costs nothing.
        """
        across, down = (side / scaled for side, scaled in zip(image.size, self.cut.scaled, strict=True))
        left, top, right, bottom = self.cut.box
        box = (left * across, top * down, right * across, bottom * down)
        within = (box[0], box[1], min(box[2], image.width), min(box[3], image.height))
        shown = image.resize(size or self.cut.size, scaling, within)
        return shown.transpose(Transpose.FLIP_LEFT_RIGHT) if self.flip else shown


def to_bytes(image: Image.Image) -> Tensor:
    """(C, H, W), 0 to 255, uint8; one channel for grey, else three."""
    pixels = np.asarray(image if image.mode == "L" else image.convert("RGB"))
    return torch.from_numpy(pixels[None].copy() if pixels.ndim == 2 else pixels.transpose(2, 0, 1).copy())


def to_values(image: Image.Image) -> Tensor:
    """The same, 0 to 1, fp32."""
    return to_bytes(image).float() / 255

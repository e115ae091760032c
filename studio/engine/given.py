"""The picture that a generation begins with: which part of it is made, its latents, and how the result is put back."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor
from torch.nn import functional as F

from studio import inpainting
from studio.engine import decoding
from studio.engine.conditions import LoadImage, to_unit_range
from studio.engine.denoise import Keep
from studio.engine.store import Checkpoint
from studio.inpainting import Window
from studio.params import GenerationParams


@dataclass(frozen=True)
class Source:
    """The first picture as pixels.

    Fields:
        window: The part of it that is made; the whole, if nothing else was asked for.
        picture: RGB, in the window's `whole` size; None for text to image.
        mask: As `studio.inpainting` has it, in that size; None where all may change.
        blur: Pixels over which the new goes over into the old.
    """

    window: Window
    picture: Image.Image | None = None
    mask: Image.Image | None = None
    blur: int = 0

    def put_back(self, made: np.ndarray) -> np.ndarray:
        """The finished picture: what was made, 8-bit RGB (H, W, 3), laid over the first one as far as the mask says."""
        if self.picture is None or self.mask is None:
            return made
        soft = inpainting.feathered(self.mask, self.blur)
        return np.asarray(inpainting.put_back(self.picture, Image.fromarray(made), soft, self.window.box))


def read_source(params: GenerationParams, load_image: LoadImage) -> Source:
    """The picture and the mask of these params, fitted to each other.

    For the whole picture both are stretched to width x height; for the painted part alone the picture keeps its size.
    """
    size = (params.width, params.height)
    everything = Window(size, (0, 0, *size), size)
    if params.init_image is None:
        return Source(everything)
    picture = inpainting.opaque(load_image(params.init_image))
    if params.mask_image is None or params.mask_padding is None:
        picture = picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS)
    if params.mask_image is None:
        return Source(everything, picture)
    mask = inpainting.changeable(load_image(params.mask_image), picture.size)
    if params.mask_padding is None:
        return Source(everything, picture, mask, params.mask_blur)
    touched = inpainting.feathered(mask, params.mask_blur)  # what is faded must lie in the part that is made, too
    box = inpainting.region(touched, params.mask_padding, size)
    return Source(Window(picture.size, box, size), picture, mask, params.mask_blur)


class Given:
    """A source as a checkpoint sees it.

    latents: (1, C, h, w) to begin with; None for text to image.
    mask: (1, 1, h, w), 1 where the latents may change; None where all may.
    beside: (1, 5, h, w), the mask and the latents of what it keeps, for a UNet that was trained to fill in; without a
        picture it may change everything, and what is kept is grey.
    """

    def __init__(self, source: Source, checkpoint: Checkpoint, fill: str, *, tiled: bool) -> None:
        self.latents: Tensor | None = None
        self.mask: Tensor | None = None
        self.beside: Tensor | None = None
        self.fill, self.fills_in = fill, checkpoint.fills_in
        width, height = source.window.size
        picture, wide = torch.zeros(1, 3, height, width), torch.ones(1, 1, height, width)

        def encoded(pixels: Tensor) -> Tensor:
            return decoding.encode(checkpoint.vae, pixels, tiled=tiled, warnings=[])

        if source.picture is not None:
            seen = source.window.seen(source.picture)
            picture, wide = to_pixels(seen), _wide(source)
            self.latents = encoded(self._begun(seen, wide, picture))
            self.mask = None if source.mask is None else narrowed(wide, self.latents)
        if checkpoint.fills_in:
            kept = encoded(picture * (wide < 0.5))
            self.beside = torch.cat([narrowed(wide, kept), kept], 1)

    def _begun(self, seen: Image.Image, wide: Tensor, picture: Tensor) -> Tensor:
        if self.fill != "fill":
            return picture
        mask = Image.fromarray((wide[0, 0] * 255).numpy().astype(np.uint8))
        return to_pixels(inpainting.surrounded(seen, mask))

    def begin(self, generators: list[Generator]) -> Tensor | None:
        """The latents of each picture before noise is added, (N, C, h, w); None for text to image.

        Where the fill is noise, each generator draws it, so that a batch changes nothing.
        """
        if self.latents is None or self.mask is None or self.fill not in ("noise", "nothing"):
            return None if self.latents is None else self.latents.expand(len(generators), -1, -1, -1)
        kept = self.latents * (1 - self.mask)
        if self.fill == "nothing":
            return kept.expand(len(generators), -1, -1, -1)
        drawn = torch.cat([torch.randn(kept.shape, generator=g, dtype=torch.float32) for g in generators])
        return kept + drawn.to(kept) * self.mask

    def keep(self, noise: Tensor) -> Keep | None:
        """What the loop puts back after each step; nothing where the UNet itself is told what to keep."""
        if self.latents is None or self.mask is None or self.fills_in:
            return None
        return Keep(latents=self.latents.expand(len(noise), -1, -1, -1), mask=self.mask, noise=noise)


def to_pixels(image: Image.Image) -> Tensor:
    """A picture as (1, 3, H, W), -1 to 1."""
    return to_unit_range(image) * 2 - 1


def _wide(source: Source) -> Tensor:
    """(1, 1, H, W), 1 where the pixels that are made may change."""
    width, height = source.window.size
    if source.mask is None:
        return torch.ones(1, 1, height, width)
    return (to_unit_range(source.window.seen(source.mask))[:, :1] > 0.5).float()


def narrowed(wide: Tensor, latents: Tensor) -> Tensor:
    """The mask of pixels as one of latents, (1, 1, h, w).

    A latent has the mask of its first pixel, as in diffusers; where that leaves nothing of a fine stroke, every latent
    that it touches.
    """
    size = latents.shape[2:]
    mask = F.interpolate(wide, size=size, mode="nearest")
    if not mask.any():
        mask = F.adaptive_max_pool2d(wide, size)
    return mask.to(latents)

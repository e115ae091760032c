"""What a step of training sees: one batch, whatever it was cached from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """N pictures of one size.

    Fields:
        latents: (N, C, h, w) fp32, scaled as the UNet takes them.
        captions: What each is called, the trigger put in; "" where it was dropped.
        mask: (N, 1, h, w), 0 to 1, how much each place counts; None counts all.
        sizes: (N, 6): original height and width, top and left of the crop, height and width; what SDXL is told.
        maps: (N, 3, H, W), 0 to 1, light on black: control maps, for control models.
        features: (N, D): of reference pictures, for an IP-Adapter; zeros are no picture.
        prior: (N,) bool: which rows are pictures of the class, made by the model itself; None is none.
        pictures: What each row was made from, as a person knows it: names of files. () where nobody asks.
    """

    latents: Tensor
    captions: tuple[str, ...]
    sizes: Tensor
    mask: Tensor | None = None
    maps: Tensor | None = None
    features: Tensor | None = None
    prior: Tensor | None = None
    pictures: tuple[str, ...] = ()


class Data(Protocol):
    """Where batches come from. The same number gives the same batch, in whatever order and process it is asked."""

    def at(self, index: int) -> Batch:
        """The batch of this number, from 0 on without end, of as many pictures as TrainingParams.batch.

        The i-th batch of a step is number step * accumulation + i; more processes share them out in turn.
        """
        ...

    def shown(self, count: int) -> Sequence[Batch]:
        """The first `count` training pictures or all, as they are: none dropped, mirrored or of the class."""
        ...

    def held_out(self) -> Sequence[Batch]:
        """The pictures that are kept for measuring; none where none are kept."""
        ...

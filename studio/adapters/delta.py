"""What an adapter does to one parameter of a model, whatever algorithm its file was made with."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


class Delta(Protocol):
    """A change of one parameter. It holds what the file holds; nothing is computed before it is asked for."""

    def of(self, pristine: Tensor, weight: float) -> Tensor:
        """What is to be added to the parameter, in fp32, in its shape.

        Args:
            pristine: The checkpoint's own parameter, fp32, without any adapter. Not to be written to.
            weight: 0 changes nothing, 1 is as trained.
        """
        ...


@dataclass(frozen=True)
class LowRank:
    """A plain LoRA: scale * up @ down, so that the factors of many can be stacked into one product.

    up: (out, rank); down: (rank, in), for a convolution (rank, in * kh * kw). scale: alpha / rank, or 1.
    """

    up: Tensor
    down: Tensor
    scale: float

    def narrowed(self, rank: int) -> "LowRank":
        """With its first rows alone, each as it was trained. Source: A1111's `dyn`, which DyLoRA was made for."""
        return LowRank(self.up[:, :rank], self.down[:rank], self.scale)

    def of(self, pristine: Tensor, weight: float) -> Tensor:
        """See `Delta.of`."""
        return (self.up.float() @ self.down.float()).view(pristine.shape) * (self.scale * weight)

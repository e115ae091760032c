"""IA3: each input or output of a layer made stronger or weaker.

Source: Liu et al., arXiv:2205.05638; KohakuBlueleaf/LyCORIS, lycoris/modules/ia3.py.
"""

import math
from dataclasses import dataclass

from torch import Tensor

from studio.adapters.formats.layer import Change, Layer, UnusableError, shown
from studio.adapters.formats.numbers import numbers


@dataclass(frozen=True)
class Rescaled:
    """W times one number for each index along `axis`, 0 for outputs and 1 for inputs."""

    factors: Tensor
    axis: int

    def of(self, pristine: Tensor, weight: float) -> Tensor:
        """See `Delta.of`."""
        shape = [1] * pristine.dim()
        shape[self.axis] = -1
        return pristine * (numbers(self.factors, pristine).reshape(shape) * weight)


def build(layer: Layer) -> Change:
    """The change of a layer's weight. Raises: UnusableError."""
    target, shape = layer.target(), layer.shape("ia3")
    layer.shape("on_input")
    axis = 1 if layer.number("on_input", 0.0) else 0
    if math.prod(shape) != target[axis]:
        raise UnusableError(f"is for another layer: it has {shown(shape)}, and {layer.path} has {shown(target)}")
    return Change("IA3", Rescaled(layer.tensor("ia3"), axis))

"""LoKr: the Kronecker product of a small matrix and a larger one, each whole or of low rank.

Source: Edalati et al. (KronA), arXiv:2212.10650; Yeh et al. (LyCORIS), arXiv:2309.14859, lycoris/modules/lokr.py.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from studio.adapters.formats.dora import decomposed
from studio.adapters.formats.layer import Change, Layer, UnusableError
from studio.adapters.formats.numbers import numbers
from studio.adapters.source import Shape

FIRST = ("lokr_w1", "lokr_w1_a", "lokr_w1_b")
SECOND = ("lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2")
ROLES = frozenset(("alpha", "scalar", "dora_scale", "magnitude", *FIRST, *SECOND))


@dataclass(frozen=True)
class Factor:
    """A matrix: `whole`; or up @ down, (out, rank) and (rank, in); or with a core, up then being (rank, out)."""

    whole: Tensor | None = None
    up: Tensor | None = None
    down: Tensor | None = None
    core: Tensor | None = None

    def product(self, like: Tensor) -> Tensor:
        """In fp32, where `like` lies: two dimensions, or four."""
        if self.whole is not None:
            return numbers(self.whole, like)
        assert self.up is not None
        assert self.down is not None
        up, down = numbers(self.up, like), numbers(self.down, like)
        if self.core is None:
            return up @ down
        return torch.einsum("mo,mn...,ni->oi...", up, numbers(self.core, like), down)


@dataclass(frozen=True)
class Kronecker:
    """scale * kron(first, second), which repeats the second in each number of the first, kernels included."""

    first: Factor
    second: Factor
    scale: float

    def of(self, pristine: Tensor, weight: float) -> Tensor:
        """See `Delta.of`."""
        first, second = self.first.product(pristine), self.second.product(pristine).flatten(1)
        blocks = first[:, None, :, None] * second[None, :, None, :]
        return blocks.reshape(pristine.shape) * (self.scale * weight)


def build(layer: Layer) -> Change:
    """The change of a layer's weight. Raises: UnusableError."""
    target = layer.target()
    first, small = _factor(layer, *FIRST)
    second, large = _factor(layer, *SECOND)
    _check(len(small) == 2)
    rows, columns = small[0] * large[0], small[1] * math.prod(large[1:])
    layer.fit((rows, columns), (target[0], math.prod(target[1:])))
    ranks = [layer.shape(role)[0] for role in ("lokr_w1_b", "lokr_w2_b") if role in layer]
    # Without a rank there is nothing that alpha could be held against: LyCORIS then takes 1.
    scale = layer.scale(ranks[-1]) if ranks else layer.number("scalar", 1.0)
    return decomposed(layer, Change("LoKr", Kronecker(first, second, scale)))


def _factor(layer: Layer, whole: str, above: str, below: str, core: str = "") -> tuple[Factor, Shape]:
    """The factor, and its shape, in which a kernel may be part of the second number."""
    if whole in layer:
        shape = layer.shape(whole, 2, 4)
        return Factor(whole=layer.tensor(whole)), shape
    up, down = layer.shape(above, 2), layer.shape(below, 2, 4)
    if core in layer:
        middle = layer.shape(core, 4)
        _check((up[0], down[0]) == middle[:2])
        return Factor(None, layer.tensor(above), layer.matrix(below), layer.tensor(core)), (up[1], down[1], *middle[2:])
    _check(up[1] == down[0])
    return Factor(up=layer.tensor(above), down=layer.matrix(below)), (up[0], math.prod(down[1:]))


def _check(fits: bool) -> None:
    if not fits:
        raise UnusableError("is of no use: the shapes of the layer's lokr tensors do not fit together")

"""LoHa: the product, number by number, of two low-rank matrices.

Source: Hyeon-Woo et al. (FedPara), arXiv:2108.06098; Yeh et al. (LyCORIS), arXiv:2309.14859.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from studio.adapters.formats.dora import decomposed
from studio.adapters.formats.layer import Change, Layer, UnusableError
from studio.adapters.formats.numbers import numbers
from studio.adapters.source import Shape

HALVES = (("hada_w1_a", "hada_w1_b", "hada_t1"), ("hada_w2_a", "hada_w2_b", "hada_t2"))
ROLES = frozenset(("alpha", "scalar", "dora_scale", "magnitude", *HALVES[0], *HALVES[1]))


@dataclass(frozen=True)
class LowRankHalf:
    """up @ down: (out, rank) and (rank, in * kh * kw)."""

    up: Tensor
    down: Tensor

    def product(self, like: Tensor) -> Tensor:
        """In fp32, in the shape of `like`, which has as many numbers."""
        return (numbers(self.up, like) @ numbers(self.down, like)).view(like.shape)


@dataclass(frozen=True)
class TuckerHalf:
    """up: (rank, out); down: (rank, in); core: (rank, rank, kh, kw). LyCORIS turns `up` round in this form."""

    up: Tensor
    down: Tensor
    core: Tensor

    def product(self, like: Tensor) -> Tensor:
        """In fp32, in the shape of `like`."""
        up, core, down = (numbers(part, like) for part in (self.up, self.core, self.down))
        return torch.einsum("mo,mn...,ni->oi...", up, core, down)


@dataclass(frozen=True)
class Hadamard:
    """scale * first * second."""

    first: LowRankHalf | TuckerHalf
    second: LowRankHalf | TuckerHalf
    scale: float

    def of(self, pristine: Tensor, weight: float) -> Tensor:
        """See `Delta.of`."""
        return self.first.product(pristine) * self.second.product(pristine) * (self.scale * weight)


def build(layer: Layer) -> Change:
    """The change of a layer's weight. Raises: UnusableError."""
    tucker = "hada_t1" in layer or "hada_t2" in layer
    first, second = (_half(layer, roles, tucker=tucker) for roles in HALVES)
    delta = Hadamard(first, second, layer.scale(layer.shape("hada_w1_b")[0]))
    return decomposed(layer, Change("LoHa", delta))


def _half(layer: Layer, roles: tuple[str, str, str], *, tucker: bool) -> LowRankHalf | TuckerHalf:
    target = layer.target()
    up, down = layer.shape(roles[0], 2, 4), layer.shape(roles[1], 2, 4)
    if tucker:
        core = layer.shape(roles[2], 4)
        _check((up[0], down[0]) == core[:2])
        layer.fit((up[1], down[1], *core[2:]), target)
        return TuckerHalf(layer.matrix(roles[0]), layer.matrix(roles[1]), layer.tensor(roles[2]))
    _check(up[1] == down[0] and math.prod(up[2:]) == 1)
    flat: Shape = (up[0], math.prod(down[1:]))
    layer.fit(flat, (target[0], math.prod(target[1:])))
    return LowRankHalf(layer.matrix(roles[0]), layer.matrix(roles[1]))


def _check(fits: bool) -> None:
    if not fits:
        raise UnusableError("is of no use: the ranks of the layer's hada tensors differ")

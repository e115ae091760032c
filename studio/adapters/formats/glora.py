"""GLoRA: W @ A + B, with A and B of low rank.

Source: Chavan et al., arXiv:2306.07967; KohakuBlueleaf/LyCORIS, lycoris/modules/glora.py, and its
older order of factors.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from studio.adapters.formats.dora import decomposed
from studio.adapters.formats.layer import Change, Layer, UnusableError, shown
from studio.adapters.formats.numbers import numbers

PARTS = ("glora_a1", "glora_a2", "glora_b1", "glora_b2")
ROLES = frozenset((*PARTS, "alpha", "scalar", "dora_scale", "magnitude"))


@dataclass(frozen=True)
class Generalised:
    """scale * (W @ mix_up @ mix_down + up @ down).

    mix_up: (in, rank); mix_down: (rank, in); up: (out, rank); down: (rank, in * kh * kw).
    """

    mix_up: Tensor
    mix_down: Tensor
    up: Tensor
    down: Tensor
    scale: float

    def of(self, pristine: Tensor, weight: float) -> Tensor:
        """See `Delta.of`."""
        mix_up, mix_down, up, down = (
            numbers(part, pristine) for part in (self.mix_up, self.mix_down, self.up, self.down)
        )
        mixed = torch.einsum("oi...,ir,rj->oj...", pristine, mix_up, mix_down)
        return (mixed + (up @ down).view(pristine.shape)) * (self.scale * weight)


def build(layer: Layer) -> Change:
    """The change of a layer's weight. Raises: UnusableError."""
    target = layer.target()
    shapes = {role: layer.shape(role, 2, 4) for role in PARTS}
    matrices = {role: (shape[0], math.prod(shape[1:])) for role, shape in shapes.items()}
    for order in (PARTS, ("glora_a2", "glora_a1", "glora_b2", "glora_b1")):
        mix_up, mix_down, up, down = (matrices[role] for role in order)
        rank = down[0]
        if (mix_up, mix_down) == ((target[1], rank), (rank, target[1])) and (up, down) == (
            (target[0], rank),
            (rank, math.prod(target[1:])),
        ):
            delta = Generalised(*(layer.matrix(role) for role in order), layer.scale(rank))
            return decomposed(layer, Change("GLoRA", delta))
    found = ", ".join(map(shown, matrices.values()))
    raise UnusableError(f"is for another layer: its a1, a2, b1 and b2 have {found}, and {layer.path} {shown(target)}")

"""OFT and BOFT: blocks of a layer's outputs are rotated; then each output may be rescaled.

A block's rotation is Cayley's (I + Q) (I - Q)^-1 of a skew-symmetric Q. At another weight than 1 each rotation, and the
rescaling, go that share of the way from the identity.

Source: Qiu et al., arXiv:2306.07280; Liu et al. (BOFT), arXiv:2311.06243; kohya-ss/sd-scripts, networks/oft.py;
KohakuBlueleaf/LyCORIS, lycoris/modules/diag_oft.py and boft.py, where alpha is the constraint.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from studio.adapters.formats.layer import Change, Layer, UnusableError, shown
from studio.adapters.formats.numbers import numbers

ROLES = frozenset(("oft_blocks", "boft_blocks", "rescale", "alpha"))


@dataclass(frozen=True)
class Rotation:
    """What both have.

    Fields:
        blocks: (number, size, size), in BOFT (stages, number, size, size). number * size is that of outputs.
        rescale: A number for each output, or None.
        constraint: How long all Q together may be, as one vector; 0 for no limit.
    """

    blocks: Tensor
    rescale: Tensor | None
    constraint: float

    def turns(self, like: Tensor) -> Tensor:
        """Every block's rotation less the identity, in fp32, in the shape of `blocks`."""
        blocks = numbers(self.blocks, like)
        skew = blocks - blocks.mT
        length = torch.linalg.vector_norm(skew)
        if self.constraint and length > self.constraint:
            skew = skew * (self.constraint / length)
        # (I + Q) (I - Q)^-1 - I is 2 Q (I - Q)^-1, which loses no digits where Q is small.
        identity = torch.eye(skew.shape[-1], device=skew.device)
        return torch.linalg.solve(identity - skew, 2 * skew)

    def rescaled(self, change: Tensor, pristine: Tensor, weight: float) -> Tensor:
        """The change with each output rescaled, that which the rotation left included."""
        if self.rescale is None:
            return change
        more = (numbers(self.rescale, pristine).view(-1, *[1] * (pristine.dim() - 1)) - 1) * weight
        return change + more * (pristine + change)


@dataclass(frozen=True)
class Oft(Rotation):
    """Each block of neighbouring outputs is rotated."""

    def of(self, pristine: Tensor, weight: float) -> Tensor:
        """See `Delta.of`."""
        number, size, _ = self.blocks.shape
        rows = pristine.reshape(number, size, -1)
        change = torch.einsum("knm,knp->kmp", self.turns(pristine) * weight, rows)
        return self.rescaled(change.view(pristine.shape), pristine, weight)


@dataclass(frozen=True)
class Boft(Rotation):
    """Stage after stage, outputs further and further from each other make a block: a butterfly."""

    def of(self, pristine: Tensor, weight: float) -> Tensor:
        """See `Delta.of`."""
        rows = pristine.reshape(pristine.shape[0], -1)
        change = torch.zeros_like(rows)
        for stage, turns in enumerate(self.turns(pristine)):
            half = 2**stage * turns.shape[-1] // 2
            change = change + _turned(rows + change, turns * weight, half)
        return self.rescaled(change.view(pristine.shape), pristine, weight)


def build(layer: Layer) -> Change:
    """The change of a layer's weight. Raises: UnusableError."""
    role = "oft_blocks" if "oft_blocks" in layer else "boft_blocks"
    target, shape = layer.target(), layer.shape(role, 3, 4)
    number, size, other = shape[-3:]
    if number * size != target[0] or size != other:
        raise UnusableError(f"is for another layer: its blocks have {shown(shape)}, and {layer.path} {shown(target)}")
    if "rescale" in layer and math.prod(layer.shape("rescale")) != target[0]:
        raise UnusableError(f"is for another layer: rescale has {shown(layer.shape('rescale'))}")
    rescale = layer.tensor("rescale") if "rescale" in layer else None
    constraint = max(layer.number("alpha", 0.0), 0.0) * target[0]
    if len(shape) == 3:
        return Change("OFT", Oft(layer.tensor(role), rescale, constraint))
    if target[0] % (2 ** (shape[0] - 1) * size) or size % 2:
        raise UnusableError(f"is of no use: {target[0]} outputs cannot be mixed in {shape[0]} stages of {size}")
    return Change("BOFT", Boft(layer.tensor(role), rescale, constraint))


def _turned(rows: Tensor, turns: Tensor, half: int) -> Tensor:
    """What the blocks add to the rows, where a block takes rows in turn from both halves of 2 * half of them."""
    paired = rows.view(-1, 2, half, rows.shape[1]).transpose(1, 2)
    blocks = paired.reshape(turns.shape[0], turns.shape[1], -1)
    turned = (turns @ blocks).view(-1, half, 2, rows.shape[1])
    return turned.transpose(1, 2).reshape(rows.shape)

"""OFT and BOFT of PEFT, and OFT of OneTrainer: what reaches a layer's outputs is rotated, block by block.

At another weight than 1 each rotation, and the rescaling, go that share of the way from the identity. PEFT itself
knows no other weight than 1.

Source: peft 0.21, tuners/oft/layer.py and tuners/boft/layer.py (`get_delta_weight`, `merge`, config.py for the
defaults); Nerogar/OneTrainer, modules/module/LoRAModule.py (OFTModule) and oft_utils.py.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from studio.adapters.formats.layer import Change, Layer, UnusableError, shown
from studio.adapters.formats.numbers import numbers
from studio.adapters.formats.oft import Turns, butterfly, check_stages, rotation_of, scales
from studio.adapters.scaling import TERMS
from studio.library.roles import block_size

OFT_ROLES = frozenset(("oft_R", "alpha"))
BOFT_ROLES = frozenset(("boft_R", "boft_s", "alpha"))
SERIES = 5  # terms of the series that PEFT and OneTrainer take for Cayley's rotation, if nothing else is said
SERIES_MAX = 64  # what comes after is less than any precision shows
FREEDOM = 6e-5  # PEFT's eps of a constrained OFT
FLAT = ("lora_", "lycoris_")  # OneTrainer's names; it turns kernels the other way round than layers


@dataclass(frozen=True)
class Triangles:
    """Rotations of which a file holds what is above the diagonal of each skew-symmetric Q.

    Fields:
        rows: (number, size * (size - 1) / 2), row after row of the triangle; one is for all blocks.
        terms: Of the series I + 2 Q + 2 Q^2 + ..., whose last term counts once; 0 for (I - Q) (I + Q)^-1 itself.
        freedom: How long a Q may be, times the root of how many there are; 0 for no limit.
    """

    rows: Tensor
    terms: int
    freedom: float

    def less_identity(self, like: Tensor) -> Tensor:
        """See `Turns.less_identity`."""
        rows, size = numbers(self.rows, like), block_size(self.rows.shape[1])
        above, right = torch.triu_indices(size, size, 1, device=rows.device)
        skew = rows.new_zeros(len(rows), size, size)
        skew[:, above, right] = rows
        skew = skew - skew.mT
        if self.freedom:
            limit = self.freedom / math.sqrt(len(rows))
            length = torch.linalg.vector_norm(skew, dim=(1, 2), keepdim=True)
            skew = torch.where(length > limit, skew * (limit / length), skew)
        return _series(skew, self.terms) if self.terms else rotation_of(-skew)


@dataclass(frozen=True)
class Squares:
    """Rotations (I - Q) (I + Q)^-1 of Q = (blocks - blocks^T) / 2, by stages."""

    blocks: Tensor

    def less_identity(self, like: Tensor) -> Tensor:
        """See `Turns.less_identity`."""
        blocks = numbers(self.blocks, like)
        return rotation_of((blocks.mT - blocks) / 2)


@dataclass(frozen=True)
class InputOft:
    """Each block of neighbouring inputs is rotated; a kernel's places count as inputs of their own."""

    turns: Turns

    def of(self, pristine: Tensor, weight: float) -> Tensor:
        """See `Delta.of`."""
        turns = self.turns.less_identity(pristine) * weight
        blocks = pristine.reshape(pristine.shape[0], -1, turns.shape[-1])
        return torch.einsum("onb,ncb->onc", blocks, turns.expand(blocks.shape[1], -1, -1)).reshape(pristine.shape)


@dataclass(frozen=True)
class Backwards:
    """The same rotations the other way round."""

    turns: Turns

    def less_identity(self, like: Tensor) -> Tensor:
        """See `Turns.less_identity`."""
        return self.turns.less_identity(like).mT


@dataclass(frozen=True)
class InputBoft:
    """Inputs further and further from each other make a block; then outputs are rescaled, where `rescale` is given."""

    turns: Turns
    rescale: Tensor | None

    def of(self, pristine: Tensor, weight: float) -> Tensor:
        """See `Delta.of`."""
        turns = self.turns.less_identity(pristine) * weight
        outputs = pristine.reshape(pristine.shape[0], -1)
        change = butterfly(outputs.T, turns, dealt=max(turns.shape[-1] // 2, 1)).T
        if self.rescale is not None:
            change = change + (numbers(self.rescale, pristine).view(-1, 1) - 1) * weight * (outputs + change)
        return change.reshape(pristine.shape)


def build_oft(layer: Layer) -> Change:
    """The change of a layer's weight. Raises: UnusableError."""
    target, shape = layer.target(), layer.shape("oft_R", 2)
    inputs, size = math.prod(target[1:]), block_size(shape[1])
    if not size or inputs % size or shape[0] not in (1, inputs // size):
        raise UnusableError(f"is for another layer: oft_R has {shown(shape)}, and {layer.path} {shown(target)}")
    said = layer.scaling.said(layer.path)
    terms = min(max(said.get(TERMS, SERIES), 1), SERIES_MAX)
    terms = terms if said.get("use_cayley_neumann", True) else 0
    turns = Triangles(layer.tensor("oft_R"), terms, said.get("eps", FREEDOM) if said.get("coft") else 0.0)
    other_way = len(target) == 4 and layer.keys["oft_R"].startswith(FLAT)
    return Change("OFT", InputOft(Backwards(turns) if other_way else turns))


def build_boft(layer: Layer) -> Change:
    """The change of a layer's weight. Raises: UnusableError."""
    target, shape = layer.target(), layer.shape("boft_R", 4)
    inputs = math.prod(target[1:])
    _, number, size, other = shape
    if number * size != inputs or size != other:
        raise UnusableError(f"is for another layer: its blocks have {shown(shape)}, and {layer.path} {shown(target)}")
    check_stages(shape, inputs, "inputs")
    return Change("BOFT", InputBoft(Squares(layer.tensor("boft_R")), scales(layer, "boft_s", target[0])))


def _series(skew: Tensor, terms: int) -> Tensor:
    """2 Q + 2 Q^2 + ... + Q^(terms - 1). As in PEFT, more than two terms are at least four."""
    if terms < 2:
        return torch.zeros_like(skew)
    total = 2 * skew
    if terms > 2:
        power = skew @ skew
        total = total + 2 * power
        for _ in range(3, terms - 1):
            power = power @ skew
            total = total + 2 * power
        total = total + power @ skew
    return total

"""OFT and BOFT of LyCORIS and kohya: blocks of a layer's outputs are rotated; then each output may be rescaled.

At another weight than 1 each rotation, and the rescaling, go that share of the way from the identity.

Source: Qiu et al., arXiv:2306.07280; Liu et al. (BOFT), arXiv:2311.06243; kohya-ss/sd-scripts, networks/oft.py;
KohakuBlueleaf/LyCORIS, lycoris/modules/diag_oft.py and boft.py, where alpha is the constraint, and their first
versions, which wrote finished rotations as `oft_diag`; AUTOMATIC1111, extensions-builtin/Lora/network_oft.py.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from studio.adapters.formats.layer import Change, Layer, UnusableError, shown
from studio.adapters.formats.numbers import numbers

BLOCKS = ("oft_blocks", "boft_blocks", "oft_diag")
ROLES = frozenset((*BLOCKS, "rescale", "alpha"))


class Turns(Protocol):
    """Rotations of a layer's blocks, however a file holds them."""

    def less_identity(self, like: Tensor) -> Tensor:
        """Every block's rotation less the identity, in fp32, where `like` lies.

        Shape: (number, size, size), in BOFT (stages, number, size, size). number * size is that of what is rotated.
        """
        ...


@dataclass(frozen=True)
class Cayley:
    """Rotations (I + Q) (I - Q)^-1 of skew-symmetric Q = blocks - blocks^T.

    constraint: How long all Q together may be, as one vector; 0 for no limit.
    """

    blocks: Tensor
    constraint: float

    def less_identity(self, like: Tensor) -> Tensor:
        """See `Turns.less_identity`."""
        blocks = numbers(self.blocks, like)
        skew = blocks - blocks.mT
        length = torch.linalg.vector_norm(skew)
        if self.constraint and length > self.constraint:
            skew = skew * (self.constraint / length)
        return rotation_of(skew)


@dataclass(frozen=True)
class Stored:
    """Rotations as the first versions of LyCORIS wrote them, or, before that, what they differ by from the identity.

    Which of both it is tells the diagonal: training begins with the identity, and nowhere gets far from it.
    """

    blocks: Tensor

    def less_identity(self, like: Tensor) -> Tensor:
        """See `Turns.less_identity`."""
        blocks = numbers(self.blocks, like)
        if blocks.diagonal(dim1=-2, dim2=-1).mean() < 0.5:
            return blocks
        return blocks - torch.eye(blocks.shape[-1], device=blocks.device)


@dataclass(frozen=True)
class Rescaled:
    """What both have. rescale: a number for each output, or None."""

    turns: Turns
    rescale: Tensor | None

    def rescaled(self, change: Tensor, pristine: Tensor, weight: float) -> Tensor:
        """The change with each output rescaled, that which the rotation left included."""
        if self.rescale is None:
            return change
        more = (numbers(self.rescale, pristine).view(-1, *[1] * (pristine.dim() - 1)) - 1) * weight
        return change + more * (pristine + change)


@dataclass(frozen=True)
class Oft(Rescaled):
    """Each block of neighbouring outputs is rotated."""

    def of(self, pristine: Tensor, weight: float) -> Tensor:
        """See `Delta.of`."""
        turns = self.turns.less_identity(pristine) * weight
        rows = pristine.reshape(*turns.shape[:2], -1)
        change = torch.einsum("knm,knp->kmp", turns, rows)
        return self.rescaled(change.view(pristine.shape), pristine, weight)


@dataclass(frozen=True)
class Boft(Rescaled):
    """Stage after stage, outputs further and further from each other make a block: a butterfly."""

    def of(self, pristine: Tensor, weight: float) -> Tensor:
        """See `Delta.of`."""
        rows = pristine.reshape(pristine.shape[0], -1)
        change = butterfly(rows, self.turns.less_identity(pristine) * weight, dealt=1)
        return self.rescaled(change.view(pristine.shape), pristine, weight)


def build(layer: Layer) -> Change:
    """The change of a layer's weight. Raises: UnusableError."""
    role = next(role for role in BLOCKS if role in layer)
    target, shape = layer.target(), layer.shape(role, 3, 4)
    number, size, other = shape[-3:]
    if number * size != target[0] or size != other:
        raise UnusableError(f"is for another layer: its blocks have {shown(shape)}, and {layer.path} {shown(target)}")
    rescale = scales(layer, "rescale", target[0])
    blocks = layer.tensor(role)
    constraint = max(layer.number("alpha", 0.0), 0.0) * target[0]
    turns = Stored(blocks) if role == "oft_diag" else Cayley(blocks, constraint)
    if len(shape) == 3:
        return Change("OFT", Oft(turns, rescale))
    check_stages(shape, target[0], "outputs")
    return Change("BOFT", Boft(turns, rescale))


def rotation_of(skew: Tensor) -> Tensor:
    """(I + Q) (I - Q)^-1 - I, of (..., size, size). As 2 Q (I - Q)^-1 it loses no digits where Q is small."""
    return torch.linalg.solve(torch.eye(skew.shape[-1], device=skew.device) - skew, 2 * skew)


def scales(layer: Layer, role: str, outputs: int) -> Tensor | None:
    """What each output is multiplied with; None, if the file does not say. Raises: UnusableError."""
    if role not in layer:
        return None
    if math.prod(layer.shape(role)) != outputs:
        raise UnusableError(f"is for another layer: {role} has {shown(layer.shape(role))}")
    return layer.tensor(role)


def check_stages(shape: tuple[int, ...], count: int, what: str) -> None:
    """Whether blocks of (stages, number, size, size) are a butterfly of `count` rows. Raises: UnusableError."""
    stages, _, size, _ = shape
    if count % (2 ** (stages - 1) * size) or (size % 2 and stages > 1):
        raise UnusableError(f"is of no use: {count} {what} cannot be mixed in {stages} stages of {size}")


def butterfly(rows: Tensor, turns: Tensor, *, dealt: int) -> Tensor:
    """What a butterfly adds to the rows, (count, columns).

    turns: (stages, number, size, size), less the identity. In stage i a block takes its rows from a run of
        size * 2^i, in turn from both halves of it, `dealt` rows at a time: 1 in LyCORIS, size / 2 in PEFT.
    """
    change = torch.zeros_like(rows)
    for stage, now in enumerate(turns):
        half = 2**stage * now.shape[-1] // 2
        change = change + _turned(rows + change, now, half, dealt)
    return change


def _turned(rows: Tensor, turns: Tensor, half: int, dealt: int) -> Tensor:
    if dealt >= half:  # blocks are neighbours
        return (turns @ rows.reshape(*turns.shape[:2], -1)).view(rows.shape)
    paired = rows.reshape(-1, 2, half // dealt, dealt, rows.shape[1]).transpose(1, 2)
    blocks = paired.reshape(*turns.shape[:2], -1)
    turned = (turns @ blocks).view(-1, half // dealt, 2, dealt, rows.shape[1])
    return turned.transpose(1, 2).reshape(rows.shape)

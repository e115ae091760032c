"""New values for the parameters of a checkpoint: with adapters merged in, or mixed from two or three checkpoints."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from studio.adapters.source import Shape
from studio.adapters.stack import Stack, Terms, merge, terms_of
from studio.errors import InvalidRequestError

Read = Callable[[str], Tensor]


@dataclass(frozen=True)
class Baked:
    """Adapters merged into parameters, as a stack does it: the same bits that a picture is made with."""

    terms: Mapping[str, Terms]

    @classmethod
    def of(cls, stack: Stack) -> "Baked":
        """Raises: InvalidRequestError, if the stack changes nothing."""
        terms = terms_of(stack)
        if not terms:
            raise InvalidRequestError(
                "Nothing of these adapters changes this checkpoint.",
                field="adapters",
                hint="Take adapters for its base model, with weights other than 0.",
            )
        return cls(terms)

    def touches(self, name: str) -> bool:
        """Whether an adapter changes the parameter."""
        return name in self.terms

    def value(self, name: str, own: Tensor) -> Tensor:
        """The sum, in fp32. Raises: InvalidRequestError, naming an adapter with NaN or infinity."""
        target = torch.empty(own.shape, dtype=torch.float32)
        merge(target, own, self.terms[name])
        return target


@dataclass(frozen=True)
class Shares:
    """How much of another checkpoint each parameter takes: `whole`, or of the longest beginning of its name that is in
    `blocks`, such as "unet.down_blocks.1"."""

    whole: float
    blocks: tuple[tuple[str, float], ...] = ()

    def of(self, name: str) -> float:
        """For a parameter."""
        fitting = [(prefix, share) for prefix, share in self.blocks if f"{name}.".startswith(f"{prefix}.")]
        return max(fitting, key=lambda row: len(row[0]))[1] if fitting else self.whole


@dataclass(frozen=True)
class Mixed:
    """A weighted sum, A * (1 - share) + B * share; with a third checkpoint A + (B - C) * share. In fp32.

    Fields:
        names: The parameters of all of them.
        other, minus: Read B's and C's.
    """

    names: frozenset[str]
    shares: Shares
    other: Read
    minus: Read | None = None

    def touches(self, name: str) -> bool:
        """Whether B has a share in the parameter."""
        return name in self.names and self.shares.of(name) != 0

    def value(self, name: str, own: Tensor) -> Tensor:
        """Both or all three together."""
        share, other = self.shares.of(name), self.other(name).float()
        if self.minus is None:
            return own.float() * (1 - share) + other * share
        return own.float() + (other - self.minus(name).float()) * share


def check_alike(title: str, shapes: Mapping[str, Shape], others: Sequence[tuple[str, Mapping[str, Shape]]]) -> None:
    """Refuse checkpoints of different structure. Raises: InvalidRequestError, naming the first parameter that differs.

    title, shapes: Of the first; others: the same of the others.
    """
    for other, found in others:
        if differing := sorted(name for name in shapes.keys() | found.keys() if shapes.get(name) != found.get(name)):
            name = differing[0]
            here, there = (_size(shapes.get(name)), _size(found.get(name)))
            raise InvalidRequestError(
                f"{title} and {other} are not built alike: {len(differing)} of their parameters differ, such as "
                f"{name}, {here} in the first and {there} in the second.",
                field="checkpoint",
                hint="Take checkpoints of one base model, and inpainting models only with each other.",
            )


def check_blocks(blocks: Sequence[tuple[str, float]], names: Sequence[str]) -> None:
    """Refuse a block that no parameter lies in. Raises: InvalidRequestError."""
    for prefix, _ in blocks:
        if not any(f"{name}.".startswith(f"{prefix}.") for name in names):
            raise InvalidRequestError(
                f"The checkpoint has no block {prefix[:80]!r}.",
                field="blocks",
                hint="Name the beginning of a parameter, such as unet.down_blocks.1, unet.mid_block or text_encoder.",
            )


def _size(shape: Shape | None) -> str:
    return "absent" if shape is None else " x ".join(map(str, shape)) or "a number"

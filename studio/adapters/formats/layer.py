"""What a file holds for one layer of a model, and what every algorithm asks of it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from studio.adapters.delta import Delta
from studio.adapters.scaling import Scaling
from studio.adapters.source import Shape, Tensors

ENDINGS = {"down": "lora_down or lora_A", "up": "lora_up or lora_B", "ia3": "weight"}


class UnusableError(ValueError):
    """Tensors of a layer that cannot be used. The message says why, as what follows a tensor's name."""


class Change(NamedTuple):
    """What an algorithm makes of a layer. title: the algorithm's name, for people."""

    title: str
    delta: Delta


@dataclass(frozen=True)
class Layer:
    """A layer that a file changes.

    Fields:
        path: Of the module in the checkpoint, with its part: `unet.conv_in`.
        keys: Names in the file, by what each tensor is of the layer (studio/library/roles.py).
        targets: Shapes of the checkpoint's parameters, by name.
    """

    path: str
    keys: Mapping[str, str]
    weights: Tensors
    targets: Mapping[str, Shape]
    scaling: Scaling

    def __contains__(self, role: str) -> bool:
        return role in self.keys

    def target(self, parameter: str = "weight") -> Shape:
        """The shape of the parameter that is to be changed. Raises: UnusableError, if the checkpoint has none."""
        shape = self.targets.get(f"{self.path}.{parameter}")
        if shape is None:
            raise UnusableError(f"changes the {parameter} of {self.path}, which has none in this checkpoint")
        return shape

    def shape(self, role: str, *dimensions: int) -> Shape:
        """The tensor's shape. Raises: UnusableError, if it is not there, or has none of these numbers of dimensions."""
        if role not in self.keys:
            raise UnusableError(f"is of no use without {ENDINGS.get(role, role)}, which the file does not have")
        shape = self.weights.shapes[self.keys[role]]
        if (dimensions and len(shape) not in dimensions) or 0 in shape:
            raise UnusableError(f"is of no use: {ENDINGS.get(role, role)} has the shape {shown(shape)}")
        return shape

    def tensor(self, role: str) -> Tensor:
        """The tensor as it lies in the file."""
        return self.weights.tensor(self.keys[role])

    def matrix(self, role: str) -> Tensor:
        """The tensor as a view of two dimensions, all but the first as one."""
        found = self.tensor(role)
        return found if found.dim() == 2 else found.reshape(found.shape[0], -1)

    def number(self, role: str, default: float) -> float:
        """The one number that the tensor holds, `default` where there is none. Raises: UnusableError."""
        if role not in self.keys:
            return default
        if math.prod(self.weights.shapes[self.keys[role]]) != 1:
            raise UnusableError(f"is of no use: {role} is no single number")
        number = self.tensor(role).item()
        if not math.isfinite(number):
            raise UnusableError(f"is of no use: {role} is {number}")
        return number

    def scale(self, rank: int) -> float:
        """What the product of factors of that rank is to be multiplied with: 1 where there is no alpha, or 0."""
        alpha = self.number("alpha", 0.0)
        scale = alpha / rank if alpha else self.scaling.of(self.path, rank)
        return scale * self.number("scalar", 1.0) if "scalar" in self.keys else scale

    def fit(self, found: Shape, target: Shape) -> None:
        """Hold a change's shape against the parameter's; a 1x1 convolution may be a matrix. Raises: UnusableError."""
        if found != target and (found[:2] != target[:2] or math.prod(found) != math.prod(target)):
            raise UnusableError(f"is for a layer of {shown(found)}, and {self.path} has {shown(target)} here")


def shown(shape: Shape) -> str:
    """A shape for people: `320 x 768`."""
    return " x ".join(map(str, shape)) or "a number"

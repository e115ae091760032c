"""Changes that are stored whole: differences of weights, biases and norms, and weights that replace the checkpoint's.

Source: KohakuBlueleaf/LyCORIS, lycoris/modules/full.py and norms.py; ComfyUI, comfy/lora.py (set_weight).
"""

from dataclasses import dataclass

from torch import Tensor

from studio.adapters.formats.layer import Change, Layer
from studio.adapters.formats.numbers import numbers


@dataclass(frozen=True)
class Full:
    """A difference, in the parameter's shape. scale: what it is to be multiplied with."""

    difference: Tensor
    scale: float = 1.0

    def of(self, pristine: Tensor, weight: float) -> Tensor:
        """See `Delta.of`."""
        return numbers(self.difference, pristine).reshape(pristine.shape) * (self.scale * weight)


@dataclass(frozen=True)
class Replaced:
    """Another value of the parameter, which weight 1 reaches."""

    value: Tensor

    def of(self, pristine: Tensor, weight: float) -> Tensor:
        """See `Delta.of`."""
        return (numbers(self.value, pristine).reshape(pristine.shape) - pristine) * weight


def build_difference(layer: Layer) -> Change:
    """A weight's. Raises: UnusableError."""
    return _full(layer, "diff", "weight", "full")


def build_bias(layer: Layer) -> Change:
    """A bias's. Raises: UnusableError."""
    return _full(layer, "diff_b", "bias", "full")


def build_norm(layer: Layer) -> Change:
    """A norm's weight's. Raises: UnusableError."""
    return _full(layer, "w_norm", "weight", "norm")


def build_norm_bias(layer: Layer) -> Change:
    """A norm's bias's. Raises: UnusableError."""
    return _full(layer, "b_norm", "bias", "norm")


def build_value(layer: Layer) -> Change:
    """A weight that replaces the checkpoint's. Raises: UnusableError."""
    layer.fit(layer.shape("set_weight"), layer.target())
    return Change("full", Replaced(layer.tensor("set_weight")))


def _full(layer: Layer, role: str, parameter: str, title: str) -> Change:
    layer.fit(layer.shape(role), layer.target(parameter))
    return Change(title, Full(layer.tensor(role)))

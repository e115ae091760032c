"""DoRA: a change of direction by another algorithm, and each row's or column's length on its own.

Source: Liu et al., arXiv:2402.09353, equation 5; KohakuBlueleaf/LyCORIS, functional/general.py, for the other axis and
for algorithms beside LoRA; peft, tuners/lora/dora.py, for the shape of its magnitudes.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from studio.adapters.delta import Delta
from studio.adapters.formats.layer import Change, Layer, UnusableError, shown
from studio.adapters.formats.numbers import numbers
from studio.adapters.source import Shape


@dataclass(frozen=True)
class Decomposed:
    """magnitude * (W + D) / |W + D|, with D the change at weight 1; in between, the way there is straight.

    magnitude: One length for each index along `axis`, 0 for outputs and 1 for inputs.
    """

    change: Delta
    magnitude: Tensor
    axis: int

    def of(self, pristine: Tensor, weight: float) -> Tensor:
        """See `Delta.of`."""
        turned = pristine + self.change.of(pristine, 1.0).to(pristine.device)
        others = [dimension for dimension in range(turned.dim()) if dimension != self.axis]
        length = torch.linalg.vector_norm(turned, dim=others, keepdim=True).clamp_min(torch.finfo(turned.dtype).tiny)
        wanted = numbers(self.magnitude, pristine).view(length.shape)
        return (turned * (wanted / length) - pristine) * weight


def decomposed(layer: Layer, change: Change) -> Change:
    """The change as DoRA has it, where the file has magnitudes for the layer; else as it is. Raises: UnusableError."""
    role = next((role for role in ("dora_scale", "magnitude") if role in layer), "")
    if not role:
        return change
    axis = _axis(role, layer.shape(role), layer.target())
    return Change("DoRA", Decomposed(change.delta, layer.tensor(role), axis))


def _axis(role: str, shape: Shape, target: Shape) -> int:
    """LyCORIS writes (out, 1) or (1, in); PEFT always one for each output, as (out,) or (1, out, 1, 1)."""
    outputs, inputs = target[:2]
    count = math.prod(shape)
    if count == outputs and (role == "magnitude" or shape[0] == outputs):
        return 0
    if count == inputs and shape[:2] == (1, inputs):
        return 1
    raise UnusableError(f"is of no use: its magnitudes have the shape {shown(shape)}, for {outputs} x {inputs}")

"""LoRA and LoCon: a product of two matrices, or of two and a small core for kernels.

Source: Hu et al., arXiv:2106.09685; Yeh et al. (LyCORIS), arXiv:2309.14859, section 3.2 and appendix on Tucker's form.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from studio.adapters.delta import LowRank
from studio.adapters.formats.dora import decomposed
from studio.adapters.formats.full import Full
from studio.adapters.formats.layer import Change, Layer, UnusableError
from studio.adapters.formats.numbers import numbers

ROLES = frozenset("down up mid alpha scalar dora_scale magnitude".split())


@dataclass(frozen=True)
class Tucker:
    """A LoCon with a core: scale * up @ core @ down for each place of the kernel.

    up: (out, rank); core: (rank, rank, kh, kw); down: (rank, in).
    """

    up: Tensor
    core: Tensor
    down: Tensor
    scale: float

    def of(self, pristine: Tensor, weight: float) -> Tensor:
        """See `Delta.of`."""
        up, core, down = (numbers(part, pristine) for part in (self.up, self.core, self.down))
        return torch.einsum("om,mn...,ni->oi...", up, core, down) * (self.scale * weight)


def build(layer: Layer) -> Change:
    """The change of a layer's weight. Raises: UnusableError."""
    target = layer.target()
    down, up = layer.shape("down", 2, 4), layer.shape("up", 2, 4)
    if math.prod(up[2:]) != 1:
        raise UnusableError("is of no use: lora_up has a kernel, which no known program writes")
    if "mid" in layer:
        return _tucker(layer)
    if down[0] != up[1]:
        raise UnusableError(f"is of no use: lora_down has rank {down[0]} and lora_up rank {up[1]}")
    layer.fit((up[0], *down[1:]), target)
    delta = LowRank(layer.matrix("up"), layer.matrix("down"), layer.scale(down[0]))
    title = "LoCon" if math.prod(target[2:]) > 1 else "LoRA"
    return decomposed(layer, Change(title, delta))


def build_bias(layer: Layer) -> Change:
    """The bias that PEFT's `lora_bias` gives to lora_B, in the layer's own bias. Raises: UnusableError."""
    layer.fit(layer.shape("up_bias", 1), layer.target("bias"))
    return Change("LoRA", Full(layer.tensor("up_bias"), layer.scale(layer.shape("up", 2, 4)[1])))


def _tucker(layer: Layer) -> Change:
    down, up, core = layer.shape("down", 2, 4), layer.shape("up", 2, 4), layer.shape("mid", 4)
    if (up[1], down[0]) != core[:2] or math.prod(down[2:]) != 1:
        raise UnusableError("is of no use: lora_mid does not fit between lora_up and lora_down")
    layer.fit((up[0], down[1], *core[2:]), layer.target())
    delta = Tucker(layer.matrix("up"), layer.tensor("mid"), layer.matrix("down"), layer.scale(down[0]))
    return decomposed(layer, Change("LoCon", delta))

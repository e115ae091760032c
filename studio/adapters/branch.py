"""Plain LoRAs beside the layers, not in their weights: for weights that change at every step, and for 8-bit layers.

The picture is that of the merged stack within the rounding of the layers' precision: in fp32 a layer's output differs
by 1e-5 of its largest value, in bf16 by 2e-2. Layers with hooks are not compiled, so a weight never compiles anything.
"""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from studio.adapters.delta import Delta, LowRank
from studio.adapters.stack import Terms, Weighted, side_by_side


def fits_beside(layer: nn.Module, delta: Delta) -> bool:
    """Whether the change can run beside the layer: a plain LoRA of a Linear, or of a Conv2d that pads with zeros."""
    plain_conv = isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.padding_mode == "zeros"
    return isinstance(delta, LowRank) and (isinstance(layer, nn.Linear) or plain_conv)


class SideBranches:
    """Stacked LoRAs beside layers. The weights lie in one tensor, which is all that a new weight writes to.

    Args:
        layers: Each with the terms that `fits_beside` allows; their weights are those at full share.
        device, dtype: Of what the layers are given.
    """

    def __init__(self, layers: Mapping[nn.Module, Terms], device: torch.device, dtype: torch.dtype) -> None:
        self.adapters: list[Weighted] = list({t.adapter: None for terms in layers.values() for t in terms})
        ranks = [(t, t.delta.down.shape[0]) for terms in layers.values() for t in terms]
        self._owners = torch.tensor([self.adapters.index(t.adapter) for t, rank in ranks for _ in range(rank)])
        self._owners = self._owners.to(device, torch.long)
        self._shares: list[float] = [1.0] * len(self.adapters)
        self._now = torch.ones(len(self._owners), device=device, dtype=dtype)
        self._hooks: dict[nn.Module, Callable[..., Tensor | None]] = {}
        start = 0
        for layer, terms in layers.items():
            up, down = (factor.to(dtype) for factor in side_by_side(terms, device))
            share = self._now[start : start + len(down)]
            start += len(down)
            self._hooks[layer] = partial(self._add, _branch(layer, up, down, share))

    def weigh(self, share: Callable[[Weighted], float]) -> None:
        """Let each adapter count by its share, 1 as it is weighed in the stack."""
        shares = [share(adapter) for adapter in self.adapters]
        if shares != self._shares:
            self._shares = shares
            self._now.copy_(torch.tensor(shares, device=self._now.device)[self._owners])

    @contextmanager
    def attached(self) -> Generator[None]:
        """Let the layers have them until the block ends; the model is as it was then, even if the block raises."""
        handles = [layer.register_forward_hook(hook) for layer, hook in self._hooks.items()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _add(self, branch: Callable[[Tensor], Tensor], _layer: nn.Module, args: Any, output: Tensor) -> Tensor | None:
        return output + branch(args[0]) if any(self._shares) else None


def _branch(layer: nn.Module, up: Tensor, down: Tensor, share: Tensor) -> Callable[[Tensor], Tensor]:
    """up: (out, R); down: (R, in * kh * kw); share: (R,)."""
    if not isinstance(layer, nn.Conv2d):
        return lambda x: F.linear(F.linear(x, down) * share, up)
    size: Any = layer.kernel_size
    kernel, last, shares = down.view(len(down), layer.in_channels, *size), up[:, :, None, None], share[:, None, None]
    options = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
    return lambda x: F.conv2d(F.conv2d(x, kernel, **options) * shares, last)

"""Averaged weights: they wander less than those that are trained, and often make better pictures."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """An exponential moving average of what a module learns.

    Args:
        module: Its parameters are averaged; nothing else of it is touched.
        decay: 0 keeps no average: then `weights` is empty and `shown` changes nothing. It is reached gradually,
            min(decay, (1 + n) / (10 + n)) after n steps, so that the beginning is forgotten.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self._live = dict(module.named_parameters()) if decay else {}
        self.weights = {name: value.detach().clone() for name, value in self._live.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after `step` steps."""
        decay = min(self.decay, (1 + step) / (10 + step))
        if self._live:
            torch._foreach_lerp_(list(self.weights.values()), list(self._live.values()), 1 - decay)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """The average in place of the trained weights, which come back as they were, bit for bit."""
        trained = {name: value.detach().clone() for name, value in self._live.items()}
        _fill(self._live, self.weights)
        try:
            yield
        finally:
            _fill(self._live, trained)


@torch.no_grad()
def _fill(targets: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    for name, target in targets.items():
        target.copy_(values[name])

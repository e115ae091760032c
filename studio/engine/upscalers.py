"""What spandrel, which knows the architectures of upscalers, says of a file. It is no upscaling yet.

spandrel gets tensors and no files, so that nothing in a pickle runs. Its import needs torchvision; where that fails,
there is nothing more to say than the names of the tensors do.
"""

import logging
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from studio.engine.weights import Weights, open_weights
from studio.errors import ModelNotFoundError
from studio.library.rules.upscaler import PREFIXES, Described

log = logging.getLogger("studio.worker")
LARGEST = 1 << 30  # bytes; upscalers have some millions of weights, and a copy of them is made
PURPOSES = ("SR", "FaceSR", "Restoration")  # and no inpainting
FAILURES = (  # of an import, and of architectures that are given something else
    *(ImportError, OSError, RuntimeError, AttributeError, KeyError, IndexError, TypeError, ValueError),
    *(AssertionError, ArithmeticError, MemoryError),
)


def describe(file: Path) -> Described | None:
    """The architecture, scale and channels of the upscaler in that file; an empty one, if spandrel knows none there.

    None, where spandrel cannot be used at all: the question stays open then. Never raises for what is in a file.
    """
    registry = _registry()
    if registry is None:
        return None
    try:
        if file.stat().st_size > LARGEST:
            return Described()
        tensors = _plain(open_weights(file))
        with torch.no_grad():
            known = next((arch for arch in registry.architectures("detection") if arch.detect(tensors)), None)
            model = known and known.architecture.load(tensors)
    except (ModelNotFoundError, *FAILURES) as error:
        log.info("%s is no upscaler that spandrel reads: %s", file.name, error)
        return Described()
    if model is None or model.purpose not in PURPOSES:
        return Described()
    return Described(str(model.architecture.name), int(model.scale), (model.input_channels, model.output_channels))


@cache
def _registry() -> Any | None:
    """spandrel's architectures; None if it is not there, or what it needs is not."""
    try:
        from spandrel import MAIN_REGISTRY
    except FAILURES as error:
        log.info("spandrel cannot be used: %s", error)
        return None
    return MAIN_REGISTRY


def _plain(weights: Weights) -> dict[str, Tensor]:
    """The tensors without what trainers put before all of their names."""
    names = weights.names()
    prefix = next((prefix for prefix in PREFIXES if prefix and all(name.startswith(prefix) for name in names)), "")
    return {name.removeprefix(prefix): weights.tensor(name) for name in names}

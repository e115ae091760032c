"""Modules without weights, and weights copied into modules that live."""

import inspect
from collections.abc import Mapping
from typing import Any

import diffusers
import torch
import transformers
from accelerate import init_empty_weights
from torch import nn

from studio.engine import torchvision_ops  # noqa: F401  (before diffusers)
from studio.engine.skeletons import TEXT_MODELS, construct
from studio.engine.sources import Part

NAMED = 3


def empty_module(part: Part, device: torch.device, dtype: torch.dtype) -> Any:
    """The part's module in evaluation mode, its parameters allocated and not filled."""
    with init_empty_weights(include_buffers=False):
        module = construct(part.class_name, part.config)
    for owner in module.modules():
        for name, parameter in owner.named_parameters(recurse=False):
            blank = torch.empty(parameter.shape, dtype=dtype, device=device)
            owner.register_parameter(name, nn.Parameter(blank, requires_grad=False))
        for name, buffer in owner.named_buffers(recurse=False):
            kept = buffer.to(device, dtype) if buffer.is_floating_point() else buffer.to(device)
            owner.register_buffer(name, kept, persistent=name not in owner._non_persistent_buffers_set)
    return module.eval()


@torch.no_grad()
def copy_part(part: Part, module: nn.Module) -> None:
    """Copy every tensor of the part into the module's storage, cast to its dtype.

    Raises: ValueError, naming what the part lacks, or a tensor of another shape; the module is then in pieces.
    """
    targets = module.state_dict()
    if missing := sorted(targets.keys() - set(part.names())):
        raise ValueError(f"{len(missing)} of its tensors are missing, such as {', '.join(missing[:NAMED])}")
    for name, target in targets.items():
        tensor = part.tensor(name)
        if tensor.shape != target.shape:
            raise ValueError(f"{name} is {tuple(tensor.shape)} and should be {tuple(target.shape)}")
        target.copy_(tensor)


@torch.no_grad()
def holds(module: nn.Module, part: Part) -> bool:
    """Whether the module has the part's bytes already; ends at the first tensor that differs."""
    names = set(part.names())
    return all(
        name in names and torch.equal(part.tensor(name).to(target), target)
        for name, target in module.state_dict().items()
    )


def full_config(class_name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with what it leaves to the class's defaults; entries that the class does not know are left."""
    if class_name in TEXT_MODELS:
        return transformers.CLIPTextConfig.from_dict(dict(config)).to_dict()
    taken = inspect.signature(getattr(diffusers, class_name).__init__).parameters
    return {name: config.get(name, entry.default) for name, entry in taken.items() if name not in ("self", "kwargs")}

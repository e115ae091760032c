"""Modules without weights, and weights copied into modules that live."""

import inspect
from collections.abc import Mapping
from typing import Any

import diffusers
import torch
import transformers
from accelerate import init_empty_weights
from torch import Tensor, nn

from studio.engine.reading import Stretch, read_all
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

    Raises: ValueError, naming what the part lacks, or a tensor of another shape; OSError, for a file that is cut short
        meanwhile. The module is then in pieces.
    """
    targets = loaded_tensors(module)
    if missing := sorted(targets.keys() - set(part.names())):
        raise ValueError(f"{len(missing)} of its tensors are missing, such as {', '.join(missing[:NAMED])}")
    as_it_is: list[tuple[Stretch, Tensor]] = []
    for name, target in targets.items():
        if part.shapes[name] != target.shape:
            raise ValueError(f"{name} is {part.shapes[name]} and should be {tuple(target.shape)}")
        stretch = part.stretch(name)
        if stretch is not None and stretch.fits(target):
            as_it_is.append((stretch, target))
        else:
            target.copy_(part.tensor(name))
    read_all(as_it_is)


@torch.no_grad()
def holds(module: nn.Module, part: Part) -> bool:
    """Whether the module has the part's bytes already; small tensors are looked at first, up to one that differs."""
    names = set(part.names())
    rows = sorted(loaded_tensors(module).items(), key=lambda row: row[1].numel())
    return all(name in names and torch.equal(part.tensor(name).to(target), target) for name, target in rows)


def loaded_tensors(module: nn.Module) -> dict[str, Tensor]:
    """What `state_dict` names, as it lives; several times as fast, which a swap feels."""
    found: dict[str, Tensor] = {}
    for path, owner in module.named_modules():
        held = owner._parameters | {
            name: buffer for name, buffer in owner._buffers.items() if name not in owner._non_persistent_buffers_set
        }
        prefix = f"{path}." if path else ""
        found |= {prefix + name: tensor for name, tensor in held.items() if tensor is not None}
    return found


def full_config(class_name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with what it leaves to the class's defaults; entries that the class does not know are left."""
    if class_name in TEXT_MODELS:
        return transformers.CLIPTextConfig.from_dict(dict(config)).to_dict()
    taken = inspect.signature(getattr(diffusers, class_name).__init__).parameters
    return {name: config.get(name, entry.default) for name, entry in taken.items() if name not in ("self", "kwargs")}

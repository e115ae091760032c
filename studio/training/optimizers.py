"""Optimizers by their names in TrainingParams, and how the learning rate goes."""

import importlib
import math
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.optim import Optimizer

from studio.errors import InvalidRequestError
from studio.training_couplings import COUPLINGS
from studio.training_params import TrainingParams

Groups = list[dict[str, Any]]


@dataclass(frozen=True)
class Kind:
    """An optimizer. place: "module:class"; package: what pip installs; options: beside rate and weight decay."""

    place: str
    package: str
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])


# Options: Prodigy's of its authors for diffusion models, github.com/konstmish/prodigy; Adafactor's for a rate that is
# given, transformers' documentation of it; Lion's betas of Chen et al., arXiv:2302.06675.
KINDS = {
    "adamw": Kind("torch.optim:AdamW", "torch", {"fused": True}),
    "adamw8bit": Kind("bitsandbytes.optim:AdamW8bit", "bitsandbytes"),
    "prodigy": Kind("prodigyopt:Prodigy", "prodigyopt", {"use_bias_correction": True, "safeguard_warmup": True}),
    "adafactor": Kind(
        "transformers.optimization:Adafactor", "transformers", {"scale_parameter": False, "relative_step": False}
    ),
    "lion": Kind("lion_pytorch:Lion", "lion-pytorch", {"betas": (0.9, 0.99)}),
}


def build_optimizer(params: TrainingParams, groups: Groups) -> Optimizer:
    """The optimizer of a run.

    Args:
        groups: {"params": [...], "lr": base rate} each, as a Method gives them.
    Raises: InvalidRequestError, if its package is not installed, or a rate is one that it cannot use.
    """
    kind = KINDS[params.optimizer]
    rates = sorted({float(group["lr"]) for group in groups})
    if not rates or rates[0] <= 0:
        raise InvalidRequestError(
            f"learning_rate is {rates[0] if rates else 0:g}, so nothing would be learned.",
            field="learning_rate",
            hint="1e-4 suits most LoRAs; the advice for your pictures has one with its reason.",
        )
    if COUPLINGS[params.optimizer].one_rate and len(rates) > 1:
        raise InvalidRequestError(
            f"{params.optimizer} finds one rate for all that learns, and there are {rates[0]:g} and {rates[-1]:g}.",
            field="optimizer",
            hint="Set text_learning_rate to learning_rate and lora_plus to 1, or choose adamw.",
        )
    made = _class(params.optimizer, kind)
    with redirect_stdout(sys.stderr):  # Prodigy prints, and the standard output is for events
        return made(groups, weight_decay=params.weight_decay, **kind.options)


def factor_at(step: int, params: TrainingParams) -> float:
    """The factor of the rate at a step from 0: up in a line while it warms, then held, or down to 0 at the end."""
    if step < params.warmup:
        return (step + 1) / params.warmup
    share = min(1.0, (step - params.warmup) / max(1, params.steps - params.warmup))
    falls: dict[str, Callable[[], float]] = {
        "constant": lambda: 1.0,
        "linear": lambda: 1 - share,
        "cosine": lambda: (1 + math.cos(math.pi * share)) / 2,
    }
    return falls[params.schedule]()


def set_rate(optimizer: Optimizer, bases: list[float], factor: float) -> float:
    """Give every group its base rate times `factor`. Returns: the first group's rate."""
    for group, base in zip(optimizer.param_groups, bases, strict=True):
        group["lr"] = base * factor
    return optimizer.param_groups[0]["lr"]


def learning(groups: Groups) -> list[torch.nn.Parameter]:
    """The parameters of all groups."""
    return [parameter for group in groups for parameter in group["params"]]


def _class(name: str, kind: Kind) -> Callable[..., Optimizer]:
    module, _, attribute = kind.place.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise InvalidRequestError(
            f"The optimizer {name} needs the package {kind.package}, which is not installed.",
            field="optimizer",
            hint=f"Install it with `pip install {kind.package}`, or choose adamw.",
        ) from error

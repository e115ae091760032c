"""Schedulers by their registry rows, on a checkpoint's noise schedule."""

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

import diffusers

from studio.errors import InvalidRequestError
from studio.hookspecs import SchedulerSpec

SIGMA_FLAGS = {
    "karras": "use_karras_sigmas",
    "exponential": "use_exponential_sigmas",
    "beta": "use_beta_sigmas",
}
NOISE_KEYS = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "steps_offset",
    "set_alpha_to_one",
    "clip_sample",
    "rescale_betas_zero_snr",
    "prediction_type",
    "timestep_spacing",
)


def build_scheduler(spec: SchedulerSpec, noise: Mapping[str, Any], *, sigmas: str = "default") -> Any:
    """A fresh scheduler of diffusers' interface.

    Args:
        spec: The row.
        noise: The checkpoint's scheduler configuration; what the class does not take is left out.
        sigmas: One of the row's sigmas.
    Raises: InvalidRequestError, if the row does not list the sigmas.
    """
    if sigmas not in spec.sigmas:
        raise InvalidRequestError(
            f"{spec.label} cannot use {sigmas!r} sigmas.",
            field="sigmas",
            hint=f"Choose one of: {', '.join(spec.sigmas)}.",
        )
    made = _class(spec.class_name)
    options = {key: noise[key] for key in NOISE_KEYS if key in noise} | dict(spec.options)
    if sigmas != "default":
        options[SIGMA_FLAGS[sigmas]] = True
    taken = inspect.signature(made.__init__).parameters
    return made(**{key: value for key, value in options.items() if key in taken})


def _class(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute) if attribute else getattr(diffusers, name)

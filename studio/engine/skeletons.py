"""The networks' classes, and the tensors that each is made of, without any memory for them."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import diffusers
import torch
import transformers
from torch import nn

TEXT_MODELS = ("CLIPTextModel", "CLIPTextModelWithProjection")
VISION_MODEL = "CLIPVisionModelWithProjection"
IMAGE_MODELS = ("UNet2DConditionModel", "AutoencoderKL", "ControlNetModel", "ControlNetUnionModel", "T2IAdapter")


def construct(class_name: str, config: Mapping[str, Any]) -> nn.Module:
    """A new module, on the device that is set. Raises: ValueError, for a class that no checkpoint here has."""
    if class_name in TEXT_MODELS:
        return getattr(transformers, class_name)(transformers.CLIPTextConfig.from_dict(dict(config)))
    if class_name == VISION_MODEL:
        return transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig.from_dict(dict(config)))
    if class_name in IMAGE_MODELS:
        return getattr(diffusers, class_name).from_config(dict(config))
    raise ValueError(f"a {class_name} cannot be used here")


def expected_shapes(class_name: str, config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The name and shape of every tensor that the module is loaded with; remembered for the next file built alike.

    Raises: ValueError, TypeError or KeyError, if the class cannot be built so.
    """
    return _shapes(class_name, json.dumps(dict(config), sort_keys=True))


@lru_cache(maxsize=32)
def _shapes(class_name: str, config: str) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        module = construct(class_name, json.loads(config))
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}

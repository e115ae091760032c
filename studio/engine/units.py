"""Units: what joins the denoiser for a generation. Each is a small class that leaves the model as it found it."""

from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import Tensor, nn


@dataclass(frozen=True)
class StepInput:
    """What a step gives to units. sample: (B, C, h, w) scaled input; prompt_embeds: (B, L, D); index of count steps.

    added: what SDXL is told beside the words: text_embeds (B, D') and time_ids (B, 6); empty for others.
    """

    sample: Tensor
    timestep: Tensor
    prompt_embeds: Tensor
    index: int
    count: int
    added: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass
class Residuals:
    """What units add inside the UNet: one tensor for each skip connection, and one for the middle."""

    down: tuple[Tensor, ...] | None = None
    middle: Tensor | None = None

    def add(self, down: tuple[Tensor, ...], middle: Tensor) -> None:
        """Add another unit's residuals to these."""
        self.down = down if self.down is None else tuple(a + b for a, b in zip(self.down, down, strict=True))
        self.middle = middle if self.middle is None else self.middle + middle


class Unit(Protocol):
    """One condition of a generation."""

    def attached(self, unet: UNet2DConditionModel) -> AbstractContextManager[None]:
        """Change the UNet until the block ends; restored even when the block raises."""
        ...

    def contribute(self, step: StepInput, residuals: Residuals) -> None:
        """Add what this unit has to say at this step."""
        ...


@dataclass
class ControlNetUnit:
    """A ControlNet with its map. map: (1, 3, H, W), 0 to 1. start, end: active range as fractions of the steps.

    What the ControlNet makes of the map does not depend on the step: it is computed once, at the first that is active.
    """

    model: ControlNetModel
    map: Tensor
    conditioning_scale: float = 1.0
    start: float = 0.0
    end: float = 1.0
    _hint: Tensor | None = field(default=None, init=False)

    def attached(self, unet: UNet2DConditionModel) -> AbstractContextManager[None]:  # noqa: ARG002
        """A ControlNet changes no weights."""
        return nullcontext()

    def contribute(self, step: StepInput, residuals: Residuals) -> None:
        """Run the ControlNet, unless it is off at this step: then nothing is computed."""
        if self.conditioning_scale == 0 or not is_active(step.index, step.count, self.start, self.end):
            return
        if self._hint is None:
            self._hint = _embed(self.model, self.map.to(step.sample))
        with _embedded(self.model, self._hint):
            down, middle = self.model(
                step.sample,
                step.timestep,
                encoder_hidden_states=step.prompt_embeds,
                controlnet_cond=self._hint,
                conditioning_scale=self.conditioning_scale,
                added_cond_kwargs=dict(step.added),
                return_dict=False,
            )
        residuals.add(tuple(down), middle)


def _embed(model: ControlNetModel, image: Tensor) -> Tensor:
    """A map as the ControlNet adds it to its first features, (1, C, h, w)."""
    bgr = model.config.controlnet_conditioning_channel_order == "bgr"
    return model.controlnet_cond_embedding(image.flip(1) if bgr else image)


class _Given(nn.Module):
    """In place of layers: what they gave before."""

    def __init__(self, given: Tensor) -> None:
        super().__init__()
        self.given = given

    def forward(self, _anything: Tensor) -> Tensor:
        return self.given


@contextmanager
def _embedded(model: ControlNetModel, hint: Tensor) -> Generator[None]:
    """The model with its map embedded already, until the block ends."""
    layers = model.controlnet_cond_embedding
    model.controlnet_cond_embedding = _Given(hint)
    try:
        yield
    finally:
        model.controlnet_cond_embedding = layers


def is_active(index: int, count: int, start: float, end: float) -> bool:
    """Whether a unit with that range works at step `index` of `count`, by diffusers' rule."""
    return index / count >= start and (index + 1) / count <= end


def control_map(image: Tensor, height: int, width: int) -> Tensor:
    """A map (1, 3, h, w), 0 to 1, in the size of the picture."""
    if image.shape[2:] == (height, width):
        return image
    return torch.nn.functional.interpolate(image, size=(height, width), mode="bicubic", antialias=True).clamp(0, 1)

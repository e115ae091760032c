"""IP-Adapters: pictures that are read as words are."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from studio.control.ip_adapter import IPAdapter, cross_attention_layers, layers_heard
from studio.engine.attention import PictureKeys, split_heads
from studio.engine.units.unit import Residuals, Setting, StepInput


@dataclass
class IPAdapterUnit:
    """An IP-Adapter with what an image encoder made of its pictures.

    Fields:
        features: (pictures, D), or (pictures, L, D) for the plus kind.
        blank: (1, ...), the same of no picture, which the half for the negative prompts sees.
        method: What is taken of the pictures, as control.ip_adapter.layers_heard has it.
    """

    model: IPAdapter
    features: Tensor
    blank: Tensor
    setting: Setting = field(default_factory=Setting)
    method: str = "full"
    _shown: dict[bool, dict[int, PictureKeys]] = field(default_factory=dict, init=False)
    _layers: list[nn.Module] = field(default_factory=list[nn.Module], init=False)
    _heard: list[bool] = field(default_factory=list[bool], init=False)

    @contextmanager
    def attached(self, unet: UNet2DConditionModel) -> Generator[None]:
        """Know the UNet's layers until the block ends. Raises: ValueError, if it has others than the adapter."""
        layers = cross_attention_layers(unet)
        if len(layers) != len(self.model.keys):
            raise ValueError(f"the IP-Adapter has {len(self.model.keys)} layers, and the UNet {len(layers)}")
        self._layers, self._shown, self._heard = layers, {}, layers_heard(unet, self.method)
        try:
            yield
        finally:
            self._layers, self._shown = [], {}

    def contribute(self, step: StepInput, residuals: Residuals) -> None:
        """Show the pictures to the layers; their keys and values are computed at the first step that is on, once for
        rows with the negative prompts' and once for rows without."""
        if step.guided not in self._shown:
            self._shown[step.guided] = self._keys(step)
        for layer, keys in self._shown[step.guided].items():
            residuals.pictures.setdefault(layer, []).append(keys)

    def _keys(self, step: StepInput) -> dict[int, PictureKeys]:
        told = self.model.tokens(self.features.to(step.sample)).flatten(0, 1)[None]  # of all pictures, side by side
        sides = [told]
        if step.guided:
            untold = self.model.tokens(self.blank.to(step.sample)).flatten(0, 1)[None]
            sides = [untold.repeat(1, told.shape[1] // untold.shape[1], 1), told]
        rows = len(step.sample) // len(sides)
        tokens = torch.cat([side.expand(rows, -1, -1) for side in sides])
        scales = self.setting.scales(len(self._layers))
        layers = zip(self._layers, self.model.keys_and_values(tokens), scales, self._heard, strict=True)
        return {
            id(layer): PictureKeys(
                split_heads(key, layer.heads), split_heads(value, layer.heads), scale, self.setting.mask
            )
            for layer, (key, value), scale, heard in layers
            if heard
        }

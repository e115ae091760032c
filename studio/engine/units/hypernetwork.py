"""Hypernetworks at work: what attention layers attend to is changed before keys and values are made of it."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor

from studio.adapters.hypernetworks import Hypernetwork
from studio.adapters.stack import Weighted
from studio.engine.units.unit import Residuals, Setting, StepInput


@dataclass
class HypernetworkUnit:
    """A hypernetwork in the UNet's self- and cross-attention.

    Fields:
        model: Its networks, on the UNet's device and in its precision.
        weighted: How much, in which blocks, and at which steps.
    """

    model: Hypernetwork
    weighted: Weighted
    setting: Setting = field(init=False)
    _layers: dict[int, str] = field(default_factory=dict[int, str], init=False)

    def __post_init__(self) -> None:
        weighted = self.weighted
        self.setting = Setting(scale=weighted.weight, start=weighted.start, end=weighted.end, name="hypernetwork")

    @contextmanager
    def attached(self, unet: UNet2DConditionModel) -> Generator[None]:
        """Know the names of the UNet's attention layers until the block ends."""
        self._layers = {id(layer): f"unet.{name}" for name, layer in attention_layers(unet).items()}
        try:
            yield
        finally:
            self._layers = {}

    def contribute(self, step: StepInput, residuals: Residuals) -> None:
        """Join the hypernetworks of this step, unless the curve is at zero."""
        course = self.weighted.course(step.index, step.count)
        strengths = {layer: course * self.weighted.weight_of(name) for layer, name in self._layers.items()}
        if any(strengths.values()):
            residuals.hypernetworks.append(_AtStep(self.model, strengths))


@dataclass
class _AtStep:
    """A hypernetwork at one step. All layers attend to the same words, so the answer to them is kept."""

    model: Hypernetwork
    strengths: Mapping[int, float]
    _said: dict[tuple[int, float], tuple[Tensor, Tensor, tuple[Tensor, Tensor]]] = field(default_factory=dict)

    def __call__(self, attn: Attention, for_keys: Tensor, for_values: Tensor) -> tuple[Tensor, Tensor]:
        strength = self.strengths[id(attn)]
        if not strength:
            return for_keys, for_values
        key = (for_keys.shape[2], strength)
        known = self._said.get(key)
        if known is None or known[0] is not for_keys or known[1] is not for_values:
            known = for_keys, for_values, self.model(for_keys, for_values, strength)
            self._said[key] = known
        return known[2]


def attention_layers(unet: UNet2DConditionModel) -> dict[str, Attention]:
    """The layers that attend, by name."""
    names = [name.removesuffix(".processor") for name in unet.attn_processors]
    return {name: unet.get_submodule(name) for name in names}


def widths_attended_to(unet: UNet2DConditionModel) -> set[int]:
    """The widths of all that the UNet's layers attend to: its own features' and the words'."""
    return {layer.to_k.in_features for layer in attention_layers(unet).values() if layer.to_k is not None}

"""What every unit is, hears and says; and the rules that they share: when a unit is on, how layers weigh, where."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional as F

from studio.engine.attention import AttentionProcessor, Changer, PictureKeys, Reference, Slots
from studio.engine.kept_words import KeptWords
from studio.engine.regional import Regions

FALLOFF = 0.825
MODES = ("balanced", "prompt", "control")
HEEDED = ("pictures", "references", "hypernetworks", "regions")


@dataclass(frozen=True)
class StepInput:
    """What a step gives to units.

    Fields:
        sample: (B, C, h, w) scaled input; with guidance its first half is for the negative prompts.
        prompt_embeds: (B, L, D).
        index, count: This is step `index` of `count`, from 0.
        added: What SDXL is told beside the words: text_embeds (B, D') and time_ids (B, 6); empty for others.
        guided: Whether there are two halves.
        noised: Gives latents (N, C, h, w) with noise of the same shape, as the UNet takes them at this step.
    """

    sample: Tensor
    timestep: Tensor
    prompt_embeds: Tensor
    index: int
    count: int
    added: Mapping[str, Tensor] = field(default_factory=dict)
    guided: bool = True
    noised: Callable[[Tensor, Tensor], Tensor] = field(default=torch.add)

    def told(self) -> "StepInput":
        """The half with the words alone."""
        if not self.guided:
            return self
        half = len(self.sample) // 2
        added = {name: rows[half:] for name, rows in self.added.items()}
        sample, embeds = self.sample[half:], self.prompt_embeds[half:]
        return replace(self, sample=sample, prompt_embeds=embeds, added=added, guided=False)


@dataclass
class Residuals:
    """What units add inside the UNet.

    Fields:
        down: One tensor for each skip connection; middle: one for the middle block (ControlNets).
        features: One tensor for each block on the way down (T2I-Adapters).
        pictures: What cross-attention layers read of pictures, by the layer's id (IP-Adapters).
        references: What self-attention layers see of other pictures.
        hypernetworks: What changes the states that keys and values are made of, in order.
        regions: Words that parts of the picture hear in place of the prompt's.
    """

    down: tuple[Tensor, ...] | None = None
    middle: Tensor | None = None
    features: tuple[Tensor, ...] | None = None
    pictures: dict[int, list[PictureKeys]] = field(default_factory=dict)
    references: list[Reference] = field(default_factory=list)
    hypernetworks: list[Changer] = field(default_factory=list)
    regions: Regions | None = None

    def add(self, down: Sequence[Tensor], middle: Tensor) -> None:
        """Add another ControlNet's residuals to these."""
        self.down = _sum(self.down, down)
        self.middle = middle if self.middle is None else self.middle + middle

    def add_features(self, features: Sequence[Tensor]) -> None:
        """Add another T2I-Adapter's features to these."""
        self.features = _sum(self.features, features)

    @contextmanager
    def shown(self, unet: UNet2DConditionModel) -> Generator[None]:
        """Let the UNet's attention layers heed pictures, references, hypernetworks and regions until the block ends."""
        heeded = {name: getattr(self, name) or None for name in HEEDED}
        if not any(heeded.values()):
            yield
            return
        slots = slots_of(unet)
        before = {name: getattr(slots, name) for name in HEEDED}
        vars(slots).update(heeded)
        try:
            yield
        finally:
            vars(slots).update(before)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How much, when, where and before whom a unit speaks.

    Fields:
        scale: Multiplies what it says; 0 is off.
        start, end: Active range as fractions of the steps, 0 to 1.
        mode: "balanced"; "prompt", where the words matter more; "control", where the control does.
        mask: (1, 1, H, W), 0 to 1, where it counts; None is everywhere.
        name: What its cost is told under: the control's kind.
    """

    scale: float = 1.0
    start: float = 0.0
    end: float = 1.0
    mode: str = "balanced"
    mask: Tensor | None = None
    name: str = ""

    def on(self, step: StepInput) -> bool:
        """Whether the unit works at this step, by diffusers' rule."""
        i, n = step.index, step.count
        return self.scale != 0 and i / n >= self.start and (i + 1) / n <= self.end

    @property
    def one_sided(self) -> bool:
        """Whether the half for the negative prompts does not hear of it."""
        return self.mode == "control"

    def scales(self, layers: int) -> list[float]:
        """How much each layer weighs, from the first to the last; scale x 0.825^(N - i) where one side matters more.

        Source: Mikubill/sd-webui-controlnet, "control mode".
        """
        return [self.scale * (1.0 if self.mode == "balanced" else FALLOFF ** (layers - 1 - i)) for i in range(layers)]

    def weigh(self, said: Sequence[Tensor]) -> list[Tensor]:
        """Tensors from the first layer to the last, scaled by the mode and cut by the mask."""
        scaled = [t if by == 1 else t * by for t, by in zip(said, self.scales(len(said)), strict=True)]
        return scaled if self.mask is None else [t * mask_for(self.mask, t) for t in scaled]


class Unit(Protocol):
    """One condition of a generation."""

    setting: Setting

    def attached(self, unet: UNet2DConditionModel) -> AbstractContextManager[None]:
        """Change the UNet until the block ends; restored even when the block raises."""
        ...

    def contribute(self, step: StepInput, residuals: Residuals) -> None:
        """Add what this unit has to say at this step."""
        ...


def slots_of(unet: UNet2DConditionModel) -> Slots:
    """What the UNet's attention layers heed. Raises: ValueError, if its attention is not ours."""
    slots = own_slots(unet)
    if slots is None:
        processor = next(iter(unet.attn_processors.values()))
        raise ValueError(f"the attention layers run {type(processor).__name__}, which sees no pictures")
    return slots


def own_slots(model: nn.Module) -> Slots | None:
    """What a model's attention layers heed, if they are ours."""
    processor = next(iter(getattr(model, "attn_processors", {}).values()), None)
    return processor.slots if isinstance(processor, AttentionProcessor) else None


def words_kept(model: nn.Module) -> KeptWords | None:
    """What a model's attention layers keep of the words, if they do."""
    slots = own_slots(model)
    return slots.words if slots else None


@contextmanager
def keeping(model: nn.Module, words: KeptWords | None) -> Generator[None]:
    """Let a model's attention layers keep what they make of words until the block ends, if its attention is ours."""
    slots = own_slots(model) or Slots()
    before, slots.words = slots.words, words
    try:
        yield
    finally:
        slots.words = before


def for_both(said: Sequence[Tensor]) -> list[Tensor]:
    """What is said to the half with the words, and silence for the other half before it."""
    return [torch.cat([torch.zeros_like(t), t]) for t in said]


def mask_for(mask: Tensor, t: Tensor) -> Tensor:
    """A mask in the size of a tensor (B, C, h, w); for one pooled to a point, its mean."""
    return F.adaptive_avg_pool2d(mask.float(), t.shape[2:]).to(t)


def _sum(ours: tuple[Tensor, ...] | None, theirs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(theirs) if ours is None else tuple(a + b for a, b in zip(ours, theirs, strict=True))

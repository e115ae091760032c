"""Regional prompts: inside each painted region the words are that region's own."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from diffusers import UNet2DConditionModel
from torch import Tensor

from studio.engine.prompt import Told
from studio.engine.regional import Regions, RegionWords
from studio.engine.units.unit import Residuals, Setting, StepInput, mask_for, slots_of


@dataclass(frozen=True)
class Region:
    """A painted region.

    Fields:
        told: What it says at each step. Of lines joined by AND the first counts.
        mask: (1, 1, H, W), 0 to 1, where it is; borders may be soft, and regions may lie over one another.
        weight: How much its words count there; what is left of 1 stays with the prompt.
    """

    told: Told
    mask: Tensor
    weight: float = 1.0

    def words(self, step: StepInput) -> Tensor:
        """(1, L, D), at this step."""
        number = step.index * self.told.steps // step.count + 1
        return self.told.lines[0].at(number).tokens.to(step.sample)


@dataclass
class RegionsUnit:
    """Regions with words of their own, for the half with words. Of every prompt that AND joins they are a part.

    Where regions lie over one another, they share the place. With the scale s and a region's weight w its words count
    s * w, and the prompt's the rest: at 1 they stand there alone, at 0 they are off, above 1 what tells them from the
    prompt is exaggerated.
    """

    regions: Sequence[Region]
    setting: Setting = field(default_factory=Setting)

    @property
    def notes(self) -> list[str]:
        """Sentences on what of the words was left out or changed."""
        return list(dict.fromkeys(note for region in self.regions for note in region.told.notes))

    @contextmanager
    def attached(self, unet: UNet2DConditionModel) -> Generator[None]:
        """Nothing of the UNet is changed. Raises: ValueError, if its attention is not ours."""
        slots_of(unet)
        yield

    def contribute(self, step: StepInput, residuals: Residuals) -> None:
        """Let the cross-attention layers hear the regions' words."""
        masks = [mask_for(region.mask, step.sample) for region in self.regions]
        crowd = sum(masks[1:], masks[0]).clamp(min=1)
        by = self.setting.scale / crowd
        if self.setting.mask is not None:
            by = by * mask_for(self.setting.mask, step.sample)
        residuals.regions = Regions(
            [
                RegionWords(region.words(step), mask * by * region.weight)
                for region, mask in zip(self.regions, masks, strict=True)
            ],
            step.guided,
        )

"""Reference-only: another picture's features in the self-attention layers, with no model of its own."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from diffusers import UNet2DConditionModel
from torch import Tensor

from studio.engine.attention import Reference
from studio.engine.units.unit import Residuals, Setting, StepInput, slots_of


@dataclass
class ReferenceUnit:
    """A picture to be like.

    Fields:
        latents: The picture's, scaled, (1, C, h, w); noise: what is added to them, the same at every step.
        fidelity: 0 to 1; how much of the half for the negative prompts stays without the picture.
    """

    latents: Tensor
    noise: Tensor
    setting: Setting = field(default_factory=Setting)
    fidelity: float = 0.5
    _unet: UNet2DConditionModel | None = field(default=None, init=False)

    @contextmanager
    def attached(self, unet: UNet2DConditionModel) -> Generator[None]:
        """Know the UNet until the block ends."""
        self._unet = unet
        try:
            yield
        finally:
            self._unet = None

    def contribute(self, step: StepInput, residuals: Residuals) -> None:
        """Run the UNet over the picture at this step's noise, and keep what its self-attention layers saw.

        A UNet call of one row more at each step that is on. It sees the hypernetworks of the units before this one.
        """
        unet, setting = self._unet, self.setting
        assert unet is not None
        fidelity = 1.0 if setting.mode == "control" else 0.0 if setting.mode == "prompt" else self.fidelity
        seen = Reference(writing=True, scale=setting.scale, fidelity=fidelity, guided=step.guided, mask=setting.mask)
        slots, told = slots_of(unet), step.told()
        before = slots.references, slots.hypernetworks
        slots.references, slots.hypernetworks = [seen], residuals.hypernetworks or None
        try:
            unet(
                step.noised(self.latents, self.noise).to(step.sample),
                step.timestep,
                encoder_hidden_states=told.prompt_embeds[:1],
                added_cond_kwargs={name: rows[:1] for name, rows in told.added.items()},
                return_dict=False,
            )
        finally:
            slots.references, slots.hypernetworks = before
        seen.writing = False
        residuals.references.append(seen)

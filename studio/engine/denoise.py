"""The denoise loop: the one place where latents become a picture, step by step."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Generator, Tensor

from studio.engine.stopwatch import Stopwatch
from studio.engine.units.unit import Residuals, StepInput, Unit


@dataclass(frozen=True)
class Step:
    """A finished step: index (from 1) of count, and the guess at the final latents, (N, C, h, w)."""

    index: int
    count: int
    guess: Tensor


@dataclass(frozen=True, kw_only=True)
class Keep:
    """What inpainting keeps. latents: of the first picture, (N, C, h, w); mask: (1, 1, h, w), 1 where it may change."""

    latents: Tensor
    mask: Tensor
    noise: Tensor


@dataclass(kw_only=True)
class Denoising:
    """Everything of one run of the loop.

    Fields:
        scheduler: Of diffusers' interface, its timesteps set.
        timesteps: Those to run, which may be the last ones of the scheduler's.
        prompt_embeds, negative_embeds: (N, L, D); without negative ones there is no guidance.
        added: What SDXL is told beside the words, rows for the negative prompts first, as `StepInput.added`.
        beside: (N, C', h, w): channels that an inpainting UNet takes after the latents.
        generators: One for each picture, for schedulers that add noise.
        stopwatch: Measures what each unit does in a step, under its setting's name.
        on_step: Told after each step; whatever it raises ends the loop, and the model is as before.
    """

    unet: UNet2DConditionModel
    scheduler: Any
    timesteps: Tensor
    prompt_embeds: Tensor
    generators: list[Generator]
    negative_embeds: Tensor | None = None
    guidance_scale: float = 1.0
    added: Mapping[str, Tensor] = field(default_factory=dict)
    beside: Tensor | None = None
    units: Sequence[Unit] = ()
    keep: Keep | None = None
    stopwatch: Stopwatch = field(default_factory=lambda: Stopwatch(torch.device("cpu")))
    on_step: Callable[[Step], None] = field(default=lambda _step: None)

    def run(self, latents: Tensor) -> Tensor:
        """From noisy latents (N, C, h, w) to clean ones."""
        guided = self.negative_embeds is not None
        embeds = torch.cat([self.negative_embeds, self.prompt_embeds]) if guided else self.prompt_embeds
        takes_generator = "generator" in inspect.signature(self.scheduler.step).parameters
        extra = {"generator": self.generators} if takes_generator else {}
        with ExitStack() as stack:
            for unit in self.units:
                stack.enter_context(unit.attached(self.unet))
            for index, timestep in enumerate(self.timesteps):
                sample = self.scheduler.scale_model_input(
                    torch.cat([latents, latents]) if guided else latents, timestep
                )
                given = sample.to(self.unet.dtype)
                noised = partial(self._noised, timestep)
                step = StepInput(given, timestep, embeds, index, len(self.timesteps), self.added, guided, noised)
                predicted = self._predict(step).float()  # schedulers count in fp32
                if guided:
                    without, told = predicted.chunk(2)
                    predicted = without + self.guidance_scale * (told - without)
                guess = self._guess(sample[: len(latents)], predicted, timestep)
                latents = self.scheduler.step(predicted, timestep, latents, **extra, return_dict=False)[0]
                latents = self._restore_kept(latents, index)
                self.on_step(Step(index + 1, len(self.timesteps), guess))
        return latents

    def _noised(self, timestep: Tensor, latents: Tensor, noise: Tensor) -> Tensor:
        noisy = self.scheduler.add_noise(latents, noise, timestep[None])
        return self._with_channels_beside(self.scheduler.scale_model_input(noisy, timestep))

    def _predict(self, step: StepInput) -> Tensor:
        residuals = Residuals()
        for unit in self.units:
            if unit.setting.on(step):
                with self.stopwatch(unit.setting.name):
                    unit.contribute(step, residuals)
        with residuals.shown(self.unet):
            return self.unet(
                self._with_channels_beside(step.sample),
                step.timestep,
                encoder_hidden_states=step.prompt_embeds,
                added_cond_kwargs=dict(step.added),
                down_block_additional_residuals=residuals.down,
                mid_block_additional_residual=residuals.middle,
                down_intrablock_additional_residuals=None if residuals.features is None else list(residuals.features),
                return_dict=False,
            )[0]

    def _with_channels_beside(self, sample: Tensor) -> Tensor:
        if self.beside is None:
            return sample
        return torch.cat([sample, self.beside.to(sample).repeat(len(sample) // len(self.beside), 1, 1, 1)], 1)

    def _guess(self, sample: Tensor, predicted: Tensor, timestep: Tensor) -> Tensor:
        """The final latents as this step sees them; every scheduler scales its input to a variance of one."""
        alphas = self.scheduler.alphas_cumprod
        alpha = alphas[int(timestep.round().clamp(0, len(alphas) - 1))].to(sample.device, torch.float32)
        if self.scheduler.config.prediction_type == "v_prediction":
            return alpha.sqrt() * sample - (1 - alpha).sqrt() * predicted
        return (sample - (1 - alpha).sqrt() * predicted) / alpha.sqrt()

    def _restore_kept(self, latents: Tensor, index: int) -> Tensor:
        if self.keep is None:
            return latents
        kept = self.keep.latents
        if index < len(self.timesteps) - 1:
            kept = self.scheduler.add_noise(kept, self.keep.noise, self.timesteps[index + 1 : index + 2])
        return (1 - self.keep.mask) * kept + self.keep.mask * latents

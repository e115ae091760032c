"""The denoise loop: the one place where latents become a picture, step by step."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Generator, Tensor

from studio.engine.kept_words import KeptWords
from studio.engine.stopwatch import Stopwatch
from studio.engine.units.unit import Residuals, StepInput, Unit, keeping


@dataclass(frozen=True)
class Step:
    """A finished step: index (from 1) of count, and the guess at the final latents, (N, C, h, w)."""

    index: int
    count: int
    guess: Tensor


@dataclass(frozen=True)
class Joined:
    """A further prompt that counts beside the first: its weight, its embeddings (N, L, D), and what goes with them."""

    weight: float
    prompt_embeds: Tensor
    added: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Words:
    """What the UNet is told at a step.

    Fields:
        prompt_embeds, negative_embeds: (N, L, D); without negative ones there is no guidance, and nothing is joined.
        added: What SDXL is told beside the words, rows for the negative prompts first, as `StepInput.added`.
        weight: Of the prompt, where others are joined to it.
    """

    prompt_embeds: Tensor
    negative_embeds: Tensor | None = None
    added: Mapping[str, Tensor] = field(default_factory=dict)
    weight: float = 1.0
    joined: Sequence[Joined] = ()

    @cached_property
    def rows(self) -> Tensor:
        """What the UNet is told, (N or 2N, L, D), the negative ones first; one tensor for all steps."""
        if self.negative_embeds is None:
            return self.prompt_embeds
        return torch.cat([self.negative_embeds, self.prompt_embeds])


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
        words: What is told at each step, from 0.
        beside: (N, C', h, w): channels that an inpainting UNet takes after the latents.
        generators: One for each picture, for schedulers that add noise.
        stopwatch: Measures what each unit does in a step, under its setting's name.
        on_step: Told after each step; whatever it raises ends the loop, and the model is as before.
    """

    unet: UNet2DConditionModel
    scheduler: Any
    timesteps: Tensor
    words: Callable[[int], Words]
    generators: list[Generator]
    guidance_scale: float = 1.0
    beside: Tensor | None = None
    units: Sequence[Unit] = ()
    keep: Keep | None = None
    stopwatch: Stopwatch = field(default_factory=lambda: Stopwatch(torch.device("cpu")))
    on_step: Callable[[Step], None] = field(default=lambda _step: None)

    def run(self, latents: Tensor) -> Tensor:
        """From noisy latents (N, C, h, w) to clean ones."""
        takes_generator = "generator" in inspect.signature(self.scheduler.step).parameters
        extra = {"generator": self.generators} if takes_generator else {}
        kept, dtype = KeptWords(), self.unet.dtype  # found out once: diffusers looks through all layers for it
        with ExitStack() as stack:
            stack.enter_context(keeping(self.unet, kept))
            for unit in self.units:
                stack.enter_context(unit.attached(self.unet))
            for index, timestep in enumerate(self.timesteps):
                words = self.words(index)
                guided = words.negative_embeds is not None
                kept.tell([words.rows, *(other.prompt_embeds for other in words.joined)])
                sample = self.scheduler.scale_model_input(
                    torch.cat([latents, latents]) if guided else latents, timestep
                )
                given = sample.to(dtype)
                noised = partial(self._noised, timestep)
                step = StepInput(given, timestep, words.rows, index, len(self.timesteps), words.added, guided, noised)
                predicted = self._told(step, words)
                guess = self._guess(sample[: len(latents)], predicted, timestep)
                latents = self.scheduler.step(predicted, timestep, latents, **extra, return_dict=False)[0]
                latents = self._restore_kept(latents, index)
                self.on_step(Step(index + 1, len(self.timesteps), guess))
        return latents

    def _told(self, step: StepInput, words: Words) -> Tensor:
        """What the UNet predicts, in fp32, in which schedulers count. A joined prompt is a call of its own, for its
        rows alone, to which every unit contributes anew.

        Source: Liu et al., arXiv:2206.01714; AUTOMATIC1111/stable-diffusion-webui, combine_denoised, for the weights.
        """
        predicted = self._predict(step).float()
        if not step.guided:
            return predicted
        without, told = predicted.chunk(2)
        change = words.weight * (told - without)
        for other in words.joined:
            alone = replace(step.told(), prompt_embeds=other.prompt_embeds, added=other.added)
            change = change + other.weight * (self._predict(alone).float() - without)
        return without + self.guidance_scale * change

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

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from studio.engine.attention import AttentionProcessor
from studio.engine.denoise import Denoising, Joined, Words
from tests import tiny

STEPS, GUIDANCE, SIDE = 4, 5.0, tiny.SIZE // tiny.FACTOR


@dataclass
class Job:
    """The same job for a pipeline of diffusers' and for our loop. words: rows for the negative prompts come first."""

    pipeline: Any
    unet: Any
    words: Tensor
    noise: Tensor
    pooled: Tensor | None = None

    def theirs(self, pipeline: Any | None = None, **options: Any) -> Tensor:
        told = {"prompt_embeds": self.words[1:], "negative_prompt_embeds": self.words[:1]}
        if self.pooled is not None:
            told |= {"pooled_prompt_embeds": self.pooled[1:], "negative_pooled_prompt_embeds": self.pooled[:1]}
        return (pipeline or self.pipeline)(
            height=tiny.SIZE,
            width=tiny.SIZE,
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            latents=self.noise.clone(),
            output_type="latent",
            **told,
            **options,
        ).images

    def told(self, added: dict[str, Tensor], halves: bool) -> Words:
        half = len(self.words) // 2
        told, untold = self.words[half:], self.words[:half]
        own = {name: rows[half:] for name, rows in added.items()}
        joined = [Joined(0.5, told, own)] if halves else []
        return Words(
            prompt_embeds=told, negative_embeds=untold, added=added, weight=0.5 if halves else 1.0, joined=joined
        )

    @torch.no_grad()
    def ours(self, *units: Any, halves: bool = False, changed: dict[int, Words] | None = None) -> Tensor:
        """halves: With the prompt joined to itself, each at half its weight. changed: Words by step, for those steps
        that are told others."""
        scheduler = DDIMScheduler.from_config(self.pipeline.scheduler.config)
        scheduler.set_timesteps(STEPS)
        added = {}
        if self.pooled is not None:
            size = torch.tensor([[tiny.SIZE, tiny.SIZE, 0, 0, tiny.SIZE, tiny.SIZE]]).float()
            added = {"text_embeds": self.pooled, "time_ids": size.expand(2, -1)}
        said = self.told(added, halves)
        return Denoising(
            unet=self.unet,
            scheduler=scheduler,
            timesteps=scheduler.timesteps,
            words=lambda index: (changed or {}).get(index, said),
            guidance_scale=GUIDANCE,
            generators=[torch.Generator()],
            units=units,
        ).run(self.noise.clone())


def job(pipeline: Any, unet: Any) -> Job:
    rng = torch.Generator().manual_seed(7)
    unet.load_state_dict(pipeline.unet.state_dict())
    unet.set_attn_processor(AttentionProcessor("sdpa"))
    words = torch.randn(2, 16, unet.config.cross_attention_dim, generator=rng)
    pooled = torch.randn(2, tiny.HIDDEN, generator=rng) if unet.config.addition_embed_type else None
    return Job(pipeline, unet.eval(), words, torch.randn(1, 4, SIDE, SIDE, generator=rng), pooled)


@pytest.fixture
def small():
    return job(tiny.tiny_pipeline(), tiny.tiny_unet())


@pytest.fixture
def large():
    pipeline = tiny.tiny_sdxl_pipeline()
    pipeline.set_progress_bar_config(disable=True)
    return job(pipeline, type(pipeline.unet).from_config(pipeline.unet.config))


@pytest.fixture
def picture():
    return torch.rand(1, 3, tiny.SIZE, tiny.SIZE, generator=torch.Generator().manual_seed(8))

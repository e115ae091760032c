"""The plain loop that ours is measured against: what a script of a page does, as its authors show it.

Each step it opens four pictures, encodes them and their captions, and trains a LoRA of the same layers and rank that
PEFT lays into the UNet, with accelerate around the model and AdamW. The model, batch, learning rate, precision and
losses are ours.
Source: https://github.com/huggingface/diffusers/tree/main/examples/dreambooth, train_dreambooth_lora.py, in outline.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

import studio.engine  # noqa: F401  (before diffusers)

# isort: split
from accelerate import Accelerator
from diffusers import DDPMScheduler
from peft import LoraConfig
from PIL import Image
from torch.nn import functional as F

from studio.training_params import TrainingParams


@dataclass
class PlainLoop:
    """A loop on modules of its own.

    Fields:
        unet, vae, text_encoder, tokenizer: As diffusers opens them.
        noise: The scheduler's configuration.
        files, captions: Of the pictures.
        layers: Names of the UNet's layers that learn.
    """

    params: TrainingParams
    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    noise: dict[str, Any]
    files: Sequence[Path]
    captions: Sequence[str]
    layers: Sequence[str]
    accelerator: Accelerator = field(init=False)
    optimizer: Any = field(init=False)

    def __post_init__(self) -> None:
        self.accelerator = Accelerator(cpu=True, mixed_precision="no")
        for module in (self.unet, self.vae, self.text_encoder):
            module.requires_grad_(False)
        rank, alpha = self.params.rank, self.params.alpha
        self.unet.add_adapter(LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(self.layers)))
        learning = [parameter for parameter in self.unet.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(learning, self.params.learning_rate)
        self.unet, self.optimizer = self.accelerator.prepare(self.unet.train(), optimizer)
        self.scheduler = DDPMScheduler(**{k: v for k, v in self.noise.items() if k in DDPM_KEYS})

    def run(self, steps: int) -> None:
        """Take steps."""
        for step in range(steps):
            rows = [(step * self.params.batch + i) % len(self.files) for i in range(self.params.batch)]
            self._step(self._pixels(rows), [self.captions[row] for row in rows])

    def _step(self, pixels: torch.Tensor, captions: list[str]) -> None:
        with torch.no_grad():
            latents = self.vae.encode(pixels).latent_dist.sample() * self.vae.config.scaling_factor
            words = self.text_encoder(self._tokens(captions))[0]
        noise = torch.randn_like(latents)
        timesteps = torch.randint(0, len(self.scheduler.alphas_cumprod), (len(latents),))
        noisy = self.scheduler.add_noise(latents, noise, timesteps)
        loss = F.mse_loss(self.unet(noisy, timesteps, words).sample.float(), noise)
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.unet.parameters(), self.params.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _pixels(self, rows: Sequence[int]) -> torch.Tensor:
        side = self.params.resolution
        images = [Image.open(self.files[row]).convert("RGB").resize((side, side)) for row in rows]
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1

    def _tokens(self, captions: list[str]) -> torch.Tensor:
        size = self.tokenizer.model_max_length
        return self.tokenizer(
            captions, padding="max_length", max_length=size, truncation=True, return_tensors="pt"
        ).input_ids


DDPM_KEYS = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "prediction_type")

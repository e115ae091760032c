"""What a denoiser is asked in training: which timesteps, which noise, and how much each error counts."""

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from studio.training.losses import x0_weights

POWERS = {"uniform": 1, "cubic": 3}


class Objective:
    """Epsilon prediction on a noise schedule.

    Args:
        schedule: The configuration of diffusers' DDPMScheduler.
        snr_gamma: min-SNR weights, w = min(snr, gamma) / snr; None leaves every timestep's error as it is.
            Source: Hang et al., arXiv:2303.09556.
        x0_weight: Counts the error of the guessed picture too, x0_weight * min(1 / snr, 20): an epsilon error is nearly
            blind where the layout is decided.
        offset_noise: Spread of a constant that each channel of a picture's noise gets. Without it the schedule leaks
            the mean colour, and the model learns to read it instead of the words.
        timesteps: "uniform", or "cubic", t = (1 - u^3) T for u uniform in 0 to 1, which draws early, noisy ones more
            often. Source: Mou et al., arXiv:2302.08453, section 3.3.
    """

    def __init__(
        self,
        schedule: Mapping[str, Any],
        *,
        snr_gamma: float | None = None,
        x0_weight: float = 0.0,
        offset_noise: float = 0.0,
        timesteps: str = "uniform",
    ) -> None:
        self.alphas = DDPMScheduler(**schedule).alphas_cumprod
        self.snr = self.alphas / (1 - self.alphas)
        self.weights = torch.ones_like(self.snr) if snr_gamma is None else self.snr.clamp(max=snr_gamma) / self.snr
        self.weights = self.weights + x0_weight * x0_weights(self.snr, "epsilon")
        self.offset_noise = offset_noise
        self.power = POWERS[timesteps]

    def noisy(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Latents (N, C, h, w) with the noise of their timesteps (N,)."""
        alpha = self.alphas[timesteps].view(-1, 1, 1, 1)
        return alpha.sqrt() * latents + (1 - alpha).sqrt() * noise

    def sample(self, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Timesteps (N,), noise and noisy latents, both as `latents`, for a batch."""
        count = len(self.alphas)
        late = 1 - torch.rand(len(latents), dtype=torch.float64) ** self.power
        timesteps = (late * count).long().clamp(max=count - 1)
        noise = torch.randn_like(latents) + self.offset_noise * torch.randn(*latents.shape[:2], 1, 1)
        return timesteps, noise, self.noisy(latents, noise, timesteps)

    def loss(self, predicted: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The weighted squared error, a scalar."""
        return ((predicted - noise).square().mean((1, 2, 3)) * self.weights[timesteps]).mean()

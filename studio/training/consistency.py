"""Teaching a control by what its pictures show: guided steps as in use, each guess looked at, the error sent back.

The usual loss sees scenes with noise on them; in use a denoiser sees what it made itself, under guidance. Source: Li et
al., arXiv:2404.07987 (ControlNet++), whose reward is computed on guesses from noised scenes; here the guesses are those
of the model's own steps.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DPMSolverMultistepScheduler
from torch import Tensor, nn

from studio.training.conditions import Noisy

Look = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Rollout:
    """Guided denoising by a control in training. training: of `studio.training.conditions`.

    schedule: configuration of a diffusers scheduler. steps: of a whole picture.
    """

    training: nn.Module
    schedule: Any
    steps: int = 10
    guidance: float = 5.0

    def losses(
        self, noise: Tensor, words: tuple[Tensor, Tensor], maps: Tensor, at: Collection[int], look: Look
    ) -> Tensor:
        """The mean over the steps `at` of look(guess), a scalar that gradients flow through.

        Args:
            noise: (N, C, h, w), where the pictures begin.
            words: Of the negative prompts and of the prompts, (N, L, D) each.
            maps: (N, 3, H, W), 0 to 1.
            at: Numbers of steps, from 0; no step after the last of them is taken.
            look: From guesses at the clean latents, (N, C, h, w), to a scalar.
        """
        scheduler = DPMSolverMultistepScheduler.from_config(self.schedule)
        scheduler.set_timesteps(self.steps)
        both, shown, found = torch.cat(words), torch.cat([maps, maps]), list[Tensor]()
        latents = noise
        for index, timestep in enumerate(scheduler.timesteps[: max(at) + 1]):
            with torch.set_grad_enabled(index in at):
                predicted = self._predict(latents, timestep, both, shown)
                if index in at:
                    alpha = scheduler.alphas_cumprod[timestep]
                    found.append(look((latents - (1 - alpha).sqrt() * predicted) / alpha.sqrt()))
            latents = scheduler.step(predicted.detach(), timestep, latents, return_dict=False)[0]
        return torch.stack(found).mean()

    def _predict(self, latents: Tensor, timestep: Tensor, both: Tensor, shown: Tensor) -> Tensor:
        noisy = Noisy(torch.cat([latents, latents]), timestep.expand(2 * len(latents)), both)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            predicted = self.training(noisy, shown)
        without, told = predicted.float().chunk(2)
        return without + self.guidance * (told - without)


def soft_edges(pictures: Tensor, threshold: float = 70.0, softness: float = 15.0) -> Tensor:
    """How much of an edge each pixel is, (N, h, w), 0 to 1; pictures: (N, 3, h, w), -1 to 1.

    As Canny sees it before it thins: grey blurred by 3 pixels, |Sobel x| + |Sobel y| of values 0 to 255, and a soft
    threshold.
    """
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1).to(pictures)
    grey = ((pictures.clamp(-1, 1) + 1) * 127.5 * weights).sum(1, keepdim=True)
    smooth, slope = torch.tensor([1.0, 2.0, 1.0]).to(pictures), torch.tensor([-1.0, 0.0, 1.0]).to(pictures)
    across = torch.outer(smooth, slope)
    kernels = torch.stack([across, across.T])[:, None]
    padded = nn.functional.pad(grey, (1, 1, 1, 1), mode="replicate")
    blurred = nn.functional.conv2d(padded, (torch.outer(smooth, smooth) / 16)[None, None])
    slopes = nn.functional.conv2d(nn.functional.pad(blurred, (1, 1, 1, 1), mode="replicate"), kernels)
    return ((slopes.abs().sum(1) - threshold) / softness).sigmoid()


def outline_error(edges: Tensor, outlines: Tensor, tolerance: int = 2) -> Tensor:
    """1 less the harmonic mean of how many edges lie near the outline and how much of it has edges near, (N,).

    edges: (N, h, w), 0 to 1; outlines: (N, h, w), 0 or 1; tolerance in pixels.
    """
    near_wanted, near_edges = (_grown(shown, tolerance) for shown in (outlines, edges))
    precision = (edges * near_wanted).sum((1, 2)) / edges.sum((1, 2)).clamp(min=1)
    recall = (outlines * near_edges).sum((1, 2)) / outlines.sum((1, 2)).clamp(min=1)
    return 1 - 2 * precision * recall / (precision + recall).clamp(min=1e-6)


def _grown(shown: Tensor, by: int) -> Tensor:
    return nn.functional.max_pool2d(shown[:, None], 2 * by + 1, 1, by)[:, 0]

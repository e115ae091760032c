"""What a step loses: each piece a pure function of tensors, and the loss of a batch made of them.

Latents, noise, predictions and targets are (N, C, h, w); timesteps, alphas and signal-to-noise ratios (N,).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from diffusers import DDPMScheduler
from diffusers.schedulers.scheduling_ddpm import rescale_zero_terminal_snr
from torch import Tensor

from studio.errors import InvalidRequestError
from studio.training.batch import Batch
from studio.training_params import TrainingParams

PREDICTIONS = ("epsilon", "v_prediction", "sample")
SCHEDULE_KEYS = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "prediction_type")
SCHEDULE_KEYS += ("rescale_betas_zero_snr",)
X0_MOST = 20.0  # of a weight: at the last timesteps nothing else would count
Predict = Callable[[Batch, Tensor, Tensor], Tensor]  # a Method's `predict`


@dataclass(frozen=True)
class NoiseSchedule:
    """How noise grows. alphas: (T,), the signal's share of the variance at each timestep; prediction_type: of
    PREDICTIONS, what the model was made to say."""

    alphas: Tensor
    prediction_type: str

    @classmethod
    def of(cls, config: Mapping[str, Any], *, zero_terminal_snr: bool = False) -> Self:
        """The schedule of a checkpoint.

        Args:
            config: The configuration of its scheduler, of whatever class.
            zero_terminal_snr: Stretch it, so that the last timestep is noise alone.
        Raises: InvalidRequestError, if it is to be stretched for a model that predicts the noise.
        Source: Lin et al., arXiv:2305.08891; at no signal a predicted noise says nothing of the picture.
        """
        scheduler = DDPMScheduler(**{key: config[key] for key in SCHEDULE_KEYS if key in config})
        prediction = str(scheduler.config["prediction_type"])
        if not zero_terminal_snr:
            return cls(scheduler.alphas_cumprod, prediction)
        if prediction == "epsilon":
            raise InvalidRequestError(
                "zero_terminal_snr is on, and the checkpoint predicts epsilon, which is blind where no signal is left.",
                field="zero_terminal_snr",
                hint="Turn it off, or choose a checkpoint of v_prediction.",
            )
        return cls((1 - rescale_zero_terminal_snr(scheduler.betas)).cumprod(0), prediction)

    def to(self, device: torch.device) -> "NoiseSchedule":
        """The same on another device."""
        return NoiseSchedule(self.alphas.to(device), self.prediction_type)


@dataclass(frozen=True)
class Draws:
    """What chance gave a batch. noise: (N, C, h, w); timesteps: (N,)."""

    noise: Tensor
    timesteps: Tensor


@dataclass(frozen=True)
class Counts:
    """How many rows of a whole step, over all its batches and processes, are of the subject and of the class."""

    subject: float
    prior: float


def losses_of(params: TrainingParams, schedule: NoiseSchedule, batch: Batch, draws: Draws, predict: Predict) -> Tensor:
    """Noise the batch, predict, compare: each picture's loss, (N,). Touches no optimizer and no file."""
    alphas = schedule.alphas[draws.timesteps]
    predicted = predict(batch, add_noise(batch.latents, draws.noise, alphas), draws.timesteps)
    error = predicted - target(schedule.prediction_type, batch.latents, draws.noise, alphas)
    lost = huber(error, params.huber_c) if params.loss == "huber" else error.square()
    each = mean_shown(lost, batch.mask if params.masked else None)
    ratio = snr(alphas)
    weights = snr_weights(ratio, params.snr_gamma, schedule.prediction_type)
    return each * (weights + params.x0_weight * x0_weights(ratio, schedule.prediction_type))


def add_noise(latents: Tensor, noise: Tensor, alphas: Tensor) -> Tensor:
    """Latents as they are at their timesteps: sqrt(a) x + sqrt(1 - a) n."""
    signal, rest = _roots(alphas)
    return signal * latents + rest * noise


def target(prediction_type: str, latents: Tensor, noise: Tensor, alphas: Tensor) -> Tensor:
    """What the model should say: the noise, the velocity sqrt(a) n - sqrt(1 - a) x, or the latents.

    Source of the velocity: Salimans and Ho, arXiv:2202.00512.
    """
    if prediction_type == "epsilon":
        return noise
    if prediction_type == "sample":
        return latents
    signal, rest = _roots(alphas)
    return signal * noise - rest * latents


def snr(alphas: Tensor) -> Tensor:
    """Signal over noise, a / (1 - a); 0 where no signal is left."""
    return alphas / (1 - alphas)


def snr_weights(ratio: Tensor, gamma: float, prediction_type: str) -> Tensor:
    """min-SNR weights: min(snr, gamma) of the error of a guessed picture, as it is worth in the model's own terms.

    gamma: 0 weighs all alike. Source: Hang et al., arXiv:2303.09556: over snr for epsilon, over snr + 1 for v.
    """
    if not gamma:
        return torch.ones_like(ratio)
    if prediction_type == "epsilon":
        return (gamma / ratio).clamp(max=1)  # min(snr, gamma) / snr, and 1 where that is 0 / 0
    capped = ratio.clamp(max=gamma)
    return capped if prediction_type == "sample" else capped / (ratio + 1)


def x0_weights(ratio: Tensor, prediction_type: str) -> Tensor:
    """What an error is worth as one of the guessed picture: over snr for epsilon, over snr + 1 for v; X0_MOST at most.

    Where the layout is decided there is next to no signal, and an error of epsilon hardly tells of it.
    """
    if prediction_type == "sample":
        return torch.ones_like(ratio)
    return (1 / (ratio if prediction_type == "epsilon" else ratio + 1)).clamp(max=X0_MOST)


def huber(error: Tensor, c: float) -> Tensor:
    """The pseudo-Huber loss 2c (sqrt(e^2 + c^2) - c): e^2 where small, 2c |e| where large.

    Source: Khrapov et al., arXiv:2403.16728.
    """
    return 2 * c * ((error.square() + c * c).sqrt() - c)


def offset(noise: Tensor, shifts: Tensor, amount: float) -> Tensor:
    """Noise with a constant added to each channel; shifts: (N, C, 1, 1), of a normal distribution.

    Source: Guttenberg, crosslabs.org/blog/diffusion-with-offset-noise: without it the mean colour leaks through.
    """
    return noise + amount * shifts


def mean_shown(lost: Tensor, mask: Tensor | None) -> Tensor:
    """Each picture's mean over what its mask shows, (N,); mask: (N, 1, h, w), 0 to 1; 0 for one that shows nothing."""
    if mask is None:
        return lost.mean((1, 2, 3))
    places = mask.sum((1, 2, 3)) * lost.shape[1]
    return (lost * mask).sum((1, 2, 3)) / places.clamp(min=1e-6)


def split_prior(each: Tensor, prior: Tensor | None, counts: Counts, weight: float) -> Tensor:
    """A batch's part of its step's loss: the mean over subject rows plus `weight` times the mean over class rows.

    Args:
        each: (N,), losses of the rows. prior: (N,) bool, or None for subject rows alone.
        counts: Of the whole step, so that the parts of its batches add up to the loss, however they are cut.
    Source: Ruiz et al., arXiv:2208.12242.
    """
    if prior is None:
        return each.sum() / counts.subject
    scale = torch.where(prior, weight / max(counts.prior, 1), 1 / max(counts.subject, 1))
    return (each * scale.to(each)).sum()


def _roots(alphas: Tensor) -> tuple[Tensor, Tensor]:
    shares = alphas.view(-1, 1, 1, 1)
    return shares.sqrt(), (1 - shares).sqrt()

"""Losses that can be compared: of the same pictures, with the same noise at the same timesteps, whenever it is asked.

A step's own loss says little: which timestep was drawn matters more than what was learned.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from studio.training.batch import Batch
from studio.training.draws import FIXED, cut, moved, seed_of, seeded
from studio.training.losses import Draws, NoiseSchedule, add_noise, target
from studio.training.step import Lesson
from studio.training_params import TrainingParams

PICTURES, DRAWS = 24, 4
PARTS = 16  # of a held-out loss at least, more draws where pictures are few: the error of its changes is told by them
PARTS_TOLD = 96


Losses = tuple[str, list[float]]  # a picture's name, and its loss at each draw


@dataclass(frozen=True)
class Part:
    """What is measured together. number: 0 for what is learned, 1 for what is held out; rows: at a time."""

    number: int
    rows: int
    draws: int


class FixedNoise:
    """Measures a lesson.

    Args:
        pictures: How many training pictures are measured at most; held-out ones all are.
        draws: Of noise for each picture, one in each part of the timesteps cut in so many.
    """

    def __init__(
        self,
        params: TrainingParams,
        lesson: Lesson,
        schedule: NoiseSchedule,
        *,
        pictures: int = PICTURES,
        draws: int = DRAWS,
    ) -> None:
        self.params, self.lesson, self.schedule = params, lesson, schedule
        self.pictures, self.draws = pictures, draws

    def measure(self, rows: int = 1, heed: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """Look at `rows` pictures at a time, and call `heed` before each; whatever it raises ends the measurement.

        Returns: The mean squared errors, not weighted: train_loss; held_loss, None where nothing is held out; by the
            names of pictures train_losses and held_losses; and held_parts, what held_loss is the mean of, or the first
            PARTS_TOLD of it, empty where one is no number. What is no number is else None. The weights and all
            generators stay as they are.
        """
        trained = self.lesson.method.trained
        was = trained.training
        trained.eval()
        try:
            shown, hidden = self.lesson.data.shown(self.pictures), self.lesson.data.held_out()
            train = self._all(shown, Part(0, rows, self.draws), heed)
            held = self._all(hidden, Part(1, rows, self._held_draws(hidden)), heed)
        finally:
            trained.train(was)
        return {
            "train_loss": _mean(train),
            "held_loss": _mean(held),
            "train_losses": {name: _told(_average(values)) for name, values in train if name},
            "held_losses": {name: _told(_average(values)) for name, values in held if name},
            "held_parts": _parts(held),
        }

    def _held_draws(self, batches: Sequence[Batch]) -> int:
        return max(self.draws, -(-PARTS // max(1, sum(len(batch.latents) for batch in batches))))

    @torch.no_grad()
    def _all(self, batches: Sequence[Batch], part: Part, heed: Callable[[], None]) -> list[Losses]:
        found: list[Losses] = []
        for batch in batches:
            names = batch.pictures or ("",) * len(batch.latents)
            for start in range(0, len(names), part.rows):
                heed()
                piece = cut(batch, start, start + part.rows)
                losses: list[list[float]] = self._losses(piece, part, len(found)).tolist()
                found += zip(names[start:], losses, strict=False)
        return found

    def _losses(self, batch: Batch, part: Part, first: int) -> Tensor:
        """Each picture's loss at each draw, (N, draws). first: how many pictures of the part came before."""
        device = self.schedule.alphas.device
        batch = moved(batch, device)
        losses: list[Tensor] = []
        for number in range(part.draws):
            draws = self._draws(batch, part, (first, number))
            alphas = self.schedule.alphas[draws.timesteps]
            with seeded(FIXED, part.number, first, number, device=device):
                said = self.lesson.method.predict(batch, add_noise(batch.latents, draws.noise, alphas), draws.timesteps)
            wanted = target(self.schedule.prediction_type, batch.latents, draws.noise, alphas)
            losses.append((said - wanted).square().mean((1, 2, 3)))
        return torch.stack(losses, 1)

    def _draws(self, batch: Batch, part: Part, place: tuple[int, int]) -> Draws:
        """The draw of that number for each row: a timestep in the middle of its part, and noise of the row's own."""
        shape, (first, number) = batch.latents.shape, place
        rows = range(len(batch.latents))
        seeds = [seed_of(FIXED, self.params.seed, part.number, first + row, number) for row in rows]
        noise = [torch.randn(shape[1:], generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        timestep = int((number + 0.5) / part.draws * len(self.schedule.alphas))
        return Draws(
            torch.stack(noise).to(batch.latents), torch.full((shape[0],), timestep, device=batch.latents.device)
        )


def _mean(found: Sequence[Losses]) -> float | None:
    return _told(_average([_average(values) for _, values in found])) if found else None


def _parts(found: Sequence[Losses]) -> list[float]:
    parts = [value for _, values in found for value in values][:PARTS_TOLD]
    return parts if all(map(math.isfinite, parts)) else []


def _average(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _told(value: float) -> float | None:
    return value if math.isfinite(value) else None

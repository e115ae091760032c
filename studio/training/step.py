"""The arithmetic of one step: the gradients of a Method on its data. No optimizer, no file, no clock."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from studio.engine.residency import is_out_of_memory
from studio.training import ranks
from studio.training.batch import Batch, Data
from studio.training.draws import cut, draw, moved, seeded
from studio.training.losses import Counts, NoiseSchedule, losses_of, split_prior
from studio.training.method import Method
from studio.training.optimizers import learning
from studio.training_params import TrainingParams


@dataclass(frozen=True)
class Lesson:
    """What is learned. noise: the configuration of the checkpoint's scheduler."""

    method: Method
    data: Data
    noise: Mapping[str, Any]


@dataclass(frozen=True)
class Manner:
    """How a step is carried out, which changes nothing of what it is. pieces: each batch is cut in so many; scale: of
    the loss while gradients flow, which keeps small ones from vanishing in fp16."""

    pieces: int = 1
    scale: float = 1.0


@dataclass(frozen=True)
class Found:
    """Of one step. loss: a scalar; norm: the gradients' length before they were clipped; short: memory ran out, and
    there are no gradients; pictures: what the step saw."""

    loss: float = math.nan
    norm: float = math.nan
    short: bool = False
    pictures: tuple[str, ...] = ()


class Stepper:
    """Computes gradients, step by step; what a step gives follows from its number and the weights alone."""

    def __init__(self, params: TrainingParams, lesson: Lesson) -> None:
        self.params, self.lesson = params, lesson
        self.schedule = NoiseSchedule.of(lesson.noise, zero_terminal_snr=params.zero_terminal_snr).to(self.device)

    @cached_property
    def parameters(self) -> list[torch.nn.Parameter]:
        """All that learns."""
        return learning(self.lesson.method.groups())

    @cached_property
    def device(self) -> torch.device:
        """Where the weights that learn are."""
        return self.parameters[0].device

    def gradients(self, step: int, manner: Manner) -> Found:
        """Leave the gradients of a whole step, over all its batches and processes, in the parameters."""
        self.lesson.method.before_step(step, self.params.steps)
        batches = [self._batch(step, number) for number in range(self.params.accumulation)]
        counts = _counted(batches)
        try:
            loss, short = self._backward(step, batches, counts, manner), False
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            loss, short = 0.0, True
        loss, failed = ranks.total([loss, float(short)])
        if failed:
            return Found(short=True)
        seen = tuple(name for batch in batches for name in batch.pictures)
        return Found(loss, self._gathered(manner.scale), pictures=seen)

    def forget(self) -> None:
        """Let go of the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def _batch(self, step: int, number: int) -> Batch:
        return self.lesson.data.at((step * self.params.accumulation + number) * ranks.WORLD + ranks.RANK)

    def _backward(self, step: int, batches: Sequence[Batch], counts: Counts, manner: Manner) -> float:
        total = torch.zeros((), device=self.device)
        for number, batch in enumerate(batches):
            rows = len(batch.latents)
            length = math.ceil(rows / manner.pieces)
            for start in range(0, rows, length):
                first = (number * ranks.WORLD + ranks.RANK) * rows + start
                part = self._loss(step, first, cut(batch, start, min(rows, start + length)), counts)
                (part * (manner.scale * ranks.WORLD)).backward()
                total += part.detach()
        return total.item()

    def _loss(self, step: int, first: int, batch: Batch, counts: Counts) -> Tensor:
        """A piece's part of the step's loss. first: the number of its first row in the step, pictures of the class
        counted too."""
        rows = range(first, first + len(batch.latents))
        batch = moved(batch, self.device)
        draws = draw(self.params, step, rows, batch, len(self.schedule.alphas))
        with seeded(self.params.seed, step, first, device=self.device):
            each = losses_of(self.params, self.schedule, batch, draws, self.lesson.method.predict)
        return split_prior(each, batch.prior, counts, self.params.prior_loss_weight)

    def _gathered(self, scale: float) -> float:
        """Bring the processes' gradients together and clip them. Returns: their length before that."""
        ranks.mean_gradients(self.parameters)
        found = [p.grad for p in self.parameters if p.grad is not None]
        if scale != 1:
            torch._foreach_div_(found, scale)
        norm = torch.nn.utils.get_total_norm(found)
        if self.params.clip_norm and norm.isfinite():
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.params.clip_norm, norm)
        return ranks.agreed(norm.item())


def _counted(batches: Sequence[Batch]) -> Counts:
    rows = sum(len(batch.latents) for batch in batches)
    prior = sum(int(batch.prior.sum()) for batch in batches if batch.prior is not None)
    return Counts(*ranks.total([rows - prior, prior]))

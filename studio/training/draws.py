"""Chance, stateless: what step n draws for row r follows from (seed, n, r) alone, however steps are cut in batches."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from studio.training.batch import Batch
from studio.training.losses import Draws, offset
from studio.training.objective import POWERS
from studio.training_params import TrainingParams

ROW, WITHIN, FIXED = range(3)  # what a seed is for, so that no two uses share one


def seed_of(*numbers: int) -> int:
    """A seed of 63 bits for these numbers, each 0 or more; others have others."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def draw(params: TrainingParams, step: int, rows: Iterable[int], batch: Batch, timesteps: int) -> Draws:
    """Noise and timesteps for the rows of a batch, on the latents' device.

    Args:
        rows: The number of each row within its step, over all its batches and processes.
        timesteps: T of the noise schedule.
    """
    drawn = [_row(params, seed_of(ROW, params.seed, step, row), batch.latents[0], timesteps) for row in rows]
    device = batch.latents.device
    return Draws(torch.stack([noise for noise, _ in drawn]).to(device), torch.tensor([t for _, t in drawn]).to(device))


def _row(params: TrainingParams, seed: int, like: Tensor, timesteps: int) -> tuple[Tensor, int]:
    """One row's noise, (C, h, w), and timestep. Drawn on the CPU, so that every device gets the same."""
    rng = torch.Generator().manual_seed(seed)
    late = 1 - torch.rand((), generator=rng, dtype=torch.float64).item() ** POWERS[params.timesteps]
    noise = torch.randn(like.shape, generator=rng)
    shifts = torch.randn(like.shape[0], 1, 1, generator=rng)
    return offset(noise, shifts, params.offset_noise), min(int(late * timesteps), timesteps - 1)


@contextmanager
def seeded(*numbers: int, device: torch.device) -> Iterator[None]:
    """torch's own generators, which dropout draws from, begin at these numbers within and are put back after."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed_of(WITHIN, *numbers))
        yield


def cut(batch: Batch, start: int, stop: int) -> Batch:
    """Rows start to stop of a batch."""
    tensors = {name: value[start:stop] for name, value in vars(batch).items() if value is not None}
    return replace(batch, **tensors)


def moved(batch: Batch, device: torch.device) -> Batch:
    """The batch with its tensors on `device`."""
    return replace(batch, **{name: v.to(device) for name, v in vars(batch).items() if isinstance(v, Tensor)})

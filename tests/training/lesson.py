"""A small real Method and small data in memory, for the laws of a training run."""

from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import nn

from studio.training.batch import Batch
from studio.training.session import Hooks, Session
from studio.training.step import Lesson
from studio.training_params import TrainingParams

SIDE = 4
NOISE = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


class Denoiser(nn.Module):
    """Two convolutions and what it adds at each of ten parts of the time; with dropout, so that chance matters."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.first, self.last = nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1)
        self.times = nn.Embedding(10, 8)
        self.dropout = nn.Dropout(dropout)

    def forward(self, noisy, timesteps):
        hidden = self.first(noisy) + self.times(timesteps // 100)[:, :, None, None]
        return self.last(self.dropout(torch.tanh(hidden)))


class Plain:
    """Trains a denoiser wholly. Two groups of parameters, with the rates of `rates`."""

    def __init__(self, dropout=0.1, rates=(1e-2, 1e-2), seed=0):
        torch.manual_seed(seed)
        self.trained = Denoiser(dropout)
        self.rates = rates
        self.steps = []

    def groups(self):
        slow = list(self.trained.times.parameters())
        rest = [p for p in self.trained.parameters() if all(p is not other for other in slow)]
        return [{"params": rest, "lr": self.rates[0]}, {"params": slow, "lr": self.rates[1]}]

    def predict(self, batch, noisy, timesteps):
        return self.trained(noisy, timesteps)

    def before_step(self, step, steps):
        self.steps.append(step)

    def after_step(self):
        with torch.no_grad():
            self.trained.times.weight.clamp_(-1, 1)

    @contextmanager
    def shown(self):
        yield {}

    def exports(self, layout=""):
        return []


class Stored:
    """Pictures in memory, given out in turn; the first `held` of them only for measuring."""

    def __init__(self, batch, count=8, held=2, prior=False, seed=1):
        rng = torch.Generator().manual_seed(seed)
        latents = torch.randn(count, 4, SIDE, SIDE, generator=rng)
        self.batch, self.held = batch, held
        self.whole = Batch(
            latents,
            captions=tuple(f"cup {n}" for n in range(count)),
            sizes=torch.zeros(count, 6),
            mask=(torch.rand(count, 1, SIDE, SIDE, generator=rng) > 0.3).float(),
            prior=torch.arange(count) % 2 == 1 if prior else None,
            pictures=tuple(f"{n}.png" for n in range(count)),
        )

    def rows(self, numbers):
        found = {name: value[numbers] for name, value in vars(self.whole).items() if isinstance(value, torch.Tensor)}
        named = {name: tuple(getattr(self.whole, name)[n] for n in numbers) for name in ("captions", "pictures")}
        return replace(self.whole, **found, **named)

    def at(self, index):
        count = len(self.whole.captions) - self.held
        return self.rows([self.held + (index * self.batch + row) % count for row in range(self.batch)])

    def shown(self, count):
        return [self.rows(list(range(self.held, len(self.whole.captions)))[:count])]

    def held_out(self):
        return [self.rows(list(range(self.held)))] if self.held else []


def params(**given):
    return TrainingParams(**{"name": "cup", "steps": 6, "batch": 2, "learning_rate": 1e-2, "seed": 3} | given)


def session(folder, given=None, hooks=None, **method):
    """A run of a fresh method in `folder`; `hooks`: of Hooks, or its fields."""
    given = given or params()
    hooks = Hooks(**hooks) if isinstance(hooks, dict) else hooks
    return Session(
        given, Lesson(Plain(**method), Stored(given.batch, prior=given.prior_preservation), NOISE), folder, hooks
    )


class Told:
    """Hears events and says words: {step: words in order}, whether it is waited for or not."""

    def __init__(self, words=None):
        self.words = {step: list(said) for step, said in (words or {}).items()}
        self.events = []
        self.step = 0

    def hear(self, event):
        self.events.append(event)
        self.step = event["step"]

    def command(self, wait):
        left = self.words.get(self.step)
        return left.pop(0) if left else None

    def named(self, name):
        return [event for event in self.events if event["event"] == name]

    @property
    def hooks(self):
        return {"hear": self.hear, "command": self.command}

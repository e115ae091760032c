"""The training loop: schedule, averaged weights, checkpoints, resume."""

import json
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from studio.training import ranks

log = logging.getLogger("studio.training")
SAVE_EVERY, REPORT_EVERY = 120.0, 60.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long and how fast. One of minutes (of training, summed over resumes) and samples ends the run.

    learning_rate is held until the share `hold` of the run, then falls to 4 % of itself on a half cosine.
    """

    learning_rate: float
    batch: int
    minutes: float = math.inf
    samples: float = math.inf
    warmup: int = 60
    hold: float = 0.4
    average: float = 0.995
    weight_decay: float = 0.01
    seed: int = 0


@dataclass
class Progress:
    """Where a run stands; kept in its checkpoint. curve: (seconds, samples, running loss, figures)."""

    step: int = 0
    samples: int = 0
    seconds: float = 0.0
    loss: float = 0.0
    curve: list[tuple[float, int, float, dict[str, float]]] = field(default_factory=list)


class Run:
    """One part in training: `module`, its averaged copy and its optimizer, resumed from `folder` if that holds a state.

    slow: parameters that learn at 0.3 of the rate, such as a text encoder that was trained before.
    rng: draws the batches. It and torch's generator are seeded anew for each step, by the step's number, so that a run
    that was stopped goes on exactly as it would have gone.
    """

    def __init__(self, plan: Plan, module: torch.nn.Module, folder: Path, slow: torch.nn.Module | None = None) -> None:
        ranks.join()
        self.plan, self.module, self.folder = plan, module, folder
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        slower = {id(p) for p in slow.parameters()} if slow is not None else set()
        groups = [
            {"params": [p for p in self.parameters if (id(p) in slower) == flag], "factor": factor}
            for flag, factor in ((False, 1.0), (True, 0.3))
        ]
        self.optimizer = torch.optim.AdamW(
            [g for g in groups if g["params"]],
            lr=plan.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=plan.weight_decay,
            fused=True,
        )
        self.averaged = {k: v.detach().clone() for k, v in module.state_dict().items()}
        self.progress = Progress()
        folder.mkdir(parents=True, exist_ok=True)
        self._resume()
        self.rng = np.random.default_rng()

    @property
    def state_file(self) -> Path:
        return self.folder / "state.pt"

    @property
    def share(self) -> float:
        """How much of the plan is done, 0 to 1."""
        done = max(self.progress.seconds / 60 / self.plan.minutes, self.progress.samples / self.plan.samples)
        return min(1.0, done)

    def train(self, loss_of: Callable[[float], Tensor], evaluate: Callable[[], dict[str, float]] | None = None) -> None:
        """Step until the plan is done. loss_of(share) gives the loss of a fresh batch of plan.batch rows."""
        self.module.train()
        saved = reported = clock = time.monotonic()
        while (share := ranks.agreed(self.share)) < 1.0:
            loss = self._step(loss_of, share)
            now = time.monotonic()
            self.progress.seconds, clock = self.progress.seconds + now - clock, now
            self.progress.loss += (loss - self.progress.loss) * (1.0 if self.progress.step == 1 else 0.02)
            if ranks.RANK == 0 and now - reported > REPORT_EVERY:
                self._report(evaluate)
                reported = time.monotonic()
            if ranks.RANK == 0 and now - saved > SAVE_EVERY:
                self.save()
                saved = time.monotonic()
        if ranks.RANK == 0:
            self._report(evaluate)
            self.save()
        ranks.wait()

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """The averaged weights in place of the trained ones, in evaluation mode, until the block ends."""
        trained = {k: v.detach().clone() for k, v in self.module.state_dict().items()}
        self.module.load_state_dict(self.averaged)
        self.module.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.module.load_state_dict(trained)
            self.module.train()

    def save(self) -> None:
        """Write the state beside and rename it, so that a stop at any moment loses two minutes at most."""
        part = self.state_file.with_suffix(".part")
        torch.save(
            {
                "module": self.module.state_dict(),
                "averaged": self.averaged,
                "optimizer": self.optimizer.state_dict(),
                "progress": vars(self.progress),
            },
            part,
        )
        part.replace(self.state_file)

    def _step(self, loss_of: Callable[[float], Tensor], share: float) -> float:
        self.rng = np.random.default_rng((self.plan.seed, ranks.RANK, self.progress.step))
        torch.manual_seed(int(self.rng.integers(2**62)))
        rate = self.plan.learning_rate * schedule(self.progress.step, share, self.plan)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        loss = loss_of(share)
        loss.backward()
        ranks.mean_gradients(self.parameters)
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.progress.step += 1
        self.progress.samples += self.plan.batch * ranks.WORLD
        if ranks.RANK == 0:
            self._average()
        return float(loss.detach())

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.plan.average, (1 + self.progress.step) / (10 + self.progress.step))
        for name, value in self.module.state_dict().items():
            if value.is_floating_point():
                self.averaged[name].lerp_(value, 1 - decay)
            else:
                self.averaged[name].copy_(value)

    def _report(self, evaluate: Callable[[], dict[str, float]] | None) -> None:
        figures: dict[str, float] = {}
        if evaluate is not None:
            with self.averaged_weights():
                figures = evaluate()
        at = self.progress
        at.curve.append((round(at.seconds), at.samples, round(at.loss, 4), figures))
        speed = at.samples / max(at.seconds, 1e-9)
        log.info(
            "%4.0f s  %d samples  %.1f/s  loss %.4f  %s", at.seconds, at.samples, speed, at.loss, json.dumps(figures)
        )

    def _resume(self) -> None:
        if not self.state_file.exists():
            return
        state = torch.load(self.state_file, weights_only=True)
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.averaged = state["averaged"]
        self.progress = Progress(**state["progress"])


def schedule(step: int, share: float, plan: Plan) -> float:
    """The factor of the learning rate: a warm-up by steps, then flat, then a half cosine down to 0.04."""
    warm = min(1.0, (step + 1) / max(1, plan.warmup))
    fall = max(0.0, (share - plan.hold) / (1 - plan.hold))
    return warm * (0.04 + 0.96 * 0.5 * (1 + math.cos(math.pi * fall)))

"""One run of any Method: steps, averaged weights, saved states, orders from outside, and going on after failures.

A run that was stopped, at whatever moment, goes on from its last state as it would have gone: what a step does follows
from its number, the settings and the state alone.
"""

import gc
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from studio.engine.residency import is_out_of_memory
from studio.errors import OutOfMemoryError, StorageError, StudioError
from studio.training import ranks
from studio.training.averaging import Average
from studio.training.checkpoints import Checkpoints
from studio.training.dry import DryRun, dry_run
from studio.training.measuring import FixedNoise
from studio.training.optimizers import build_optimizer, factor_at, set_rate
from studio.training.recovery import FP16_SCALE, Recovery, trouble_of
from studio.training.step import Found, Lesson, Stepper
from studio.training_pace import LATE_SAVE, MEASURE, SAMPLE, SAVE, STEP, Pace
from studio.training_params import TrainingParams

KEEP_EVERY = 60.0  # seconds between states, or more where writing one takes over a twentieth of that
KEEP_SHARE = 20.0
Event = dict[str, Any]


class LeftError(Exception):
    """Raised by a hook amid a measurement, samples or a save: nobody waits for them any more.

    The run keeps its state and ends as if it was told to stop; what was under way is done again when it goes on.
    """


def _nothing(_step: int) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True)
class Hooks:
    """What a run tells and asks of who started it. Of more processes the first one alone calls them; all save memory.

    Fields:
        hear: Takes events: step, measured, warning, resumed, and paused; that says by `kept` whether the state was
            written before, and the process may end without a loss.
        command: pause, go, stop, sample, save, or None where nothing was said. With True it waits for one; None is
            then the end of all orders, as "stop".
        measure: Gives more figures at a step, such as {"similarity": 0.7}, beside the losses at fixed noise.
        sample, save: Make pictures, or files of results, at a step, not before the first; averaged weights are in
            place where there are any.
        save_memory: Turns gradient checkpointing on; False where it is on already, or nothing can do it.
        heed: Called often while losses are measured; it and the hooks that make pictures or files may raise LeftError.
        clock: Seconds.
    """

    hear: Callable[[Event], None] = field(default=lambda _event: None)
    command: Callable[[bool], str | None] = field(default=lambda _wait: None)
    measure: Callable[[int], Mapping[str, Any]] = _nothing
    sample: Callable[[int], Any] = _nothing
    save: Callable[[int], Any] = _nothing
    save_memory: Callable[[], bool] = field(default=lambda: False)
    heed: Callable[[], None] = field(default=lambda: None)
    clock: Callable[[], float] = time.monotonic


class Session:
    """A run in progress, resumed from `folder` if that holds a state.

    Args:
        params, lesson: What is learned, how, and on what.
        folder: Of its states, which no other run shares.
        hooks: What is told and asked.
    Raises: InvalidRequestError, if the settings cannot be used, or the state was made with others; StorageError, if
        there are states and none can be read.
    """

    def __init__(self, params: TrainingParams, lesson: Lesson, folder: Path, hooks: Hooks | None = None) -> None:
        ranks.join()
        self.params, self.lesson, self.hooks = params, lesson, hooks or Hooks()
        self.stepper = Stepper(params, lesson)
        groups = lesson.method.groups()
        self.optimizer = build_optimizer(params, groups)
        self._bases = [float(group["lr"]) for group in groups]
        self.average = Average(lesson.method.trained, params.ema)
        self.fixed = FixedNoise(params, lesson, self.stepper.schedule)
        self.checkpoints = Checkpoints(folder, params)
        self.recovery = Recovery(scale=FP16_SCALE if params.precision == "fp16" else 1.0)
        self.step, self.seconds = 0, 0.0
        self.pace = Pace()
        self._marked = -1
        self._kept = (-1, -1)  # step and mark of the state that was written last
        self._kept_at, self._keeping = self.hooks.clock(), 0.0
        self._resume()

    def rehearse(self) -> DryRun:
        """What a step costs, before the first one; with less memory than it takes, what `run` would do then is done.

        Raises: OutOfMemoryError, if nothing helps.
        """
        while True:
            try:
                found = dry_run(self.params, self.lesson, self.recovery.manner)
                if not any(ranks.total([float(not found.fits)])):
                    self.pace.expect(STEP, found.seconds)
                    return found
                lack = f"A step takes {found.growth / 1e9:.1f} GB, and {found.free / 1e9:.1f} GB are free"
            except OutOfMemoryError:
                lack = "Memory ran out at a trial step"
            self._tighten(lack)

    def begin(self) -> None:
        """Keep the first state, and do what is due before the first step; `run` does it, where nobody has.

        Raises: StorageError, if the state cannot be written and the run was then told to stop.
        """
        if not self.checkpoints.files():
            self._keep()  # before anything was spent, a full disk is met, and a failure has a state to go back to
        self._mark()

    def run(self) -> bool:
        """Train to the end or until told to stop; either way the state is saved. Returns: whether it is the end.

        Raises: TrainingError, OutOfMemoryError, if nothing helps any more; StorageError, if a state or a result cannot
            be written and the run was then told to stop.
        """
        self.begin()
        while True:
            self._mark()
            if self.step >= self.params.steps and not ranks.agreed(float(self._marked < self.step)):
                break
            if not self._goes_on():
                if self._kept != (self.step, self._marked):
                    self._keep()
                return False
            self._advance()
            if self.hooks.clock() - self._kept_at > max(KEEP_EVERY, KEEP_SHARE * self._keeping):
                self._keep()
        self._keep()
        ranks.wait()
        return True

    def left(self) -> float:
        """Seconds to the end: steps, and all that is measured, shown, saved and kept on the way."""
        left = self.pace.left(self.params, self.step, marked=self._marked == self.step)
        return left + self._keeping * (1 + left / max(KEEP_EVERY, KEEP_SHARE * self._keeping))

    def shown(self) -> AbstractContextManager[None]:
        """The weights that results are made of: the averaged ones, where there are any, until the block ends."""
        return self.average.shown()

    def state(self) -> dict[str, Any]:
        """All that the rest of the run follows from."""
        return {
            "step": self.step,
            "marked": self._marked,
            "seconds": self.seconds,
            "pace": asdict(self.pace),
            "trained": dict(self.lesson.method.trained.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.weights,
            "recovery": asdict(self.recovery),
        }

    # One step.

    def _advance(self) -> None:
        """Take the next step; or, if it fails, get ready to take it otherwise."""
        began = self.hooks.clock()
        found = self.stepper.gradients(self.step, self.recovery.manner)
        if found.short:
            self._tighten(f"Memory ran out at step {self.step + 1}")
        elif not trouble_of(found):
            rate = set_rate(self.optimizer, self._bases, self.recovery.rate * factor_at(self.step, self.params))
            if self._learn():
                self._passed(found.loss, rate, self.hooks.clock() - began)
        elif not self.recovery.rescaled(found):
            self._go_back(found)
        self.stepper.forget()

    def _learn(self) -> bool:
        """The optimizer's step. Returns: whether it was taken; if memory ran out amid it, the run went back."""
        short = False
        try:
            self.optimizer.step()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            short = True
        if any(ranks.total([float(short)])):
            self._tighten(f"Memory ran out at step {self.step + 1}")
            self._restore()
            return False
        self.lesson.method.after_step()
        return True

    def _passed(self, loss: float, rate: float, seconds: float) -> None:
        self.recovery.passed(self.step)
        self.step += 1
        self.average.update(self.step)
        self.seconds += seconds
        self.pace.took(STEP, seconds)
        self._tell(
            "step", steps=self.params.steps, loss=loss, learning_rate=rate, seconds=self.seconds, left=self.left()
        )

    # Failures.

    def _tighten(self, lack: str) -> None:
        self.stepper.forget()
        gc.collect()
        torch.cuda.empty_cache()
        done = self.recovery.tighten(self.params.batch, self.hooks.save_memory)
        self._warn(f"{lack}; {done}, which changes nothing of what is learned.")

    def _go_back(self, found: Found) -> None:
        failed = self.step
        self.recovery.slow_down(failed, found)
        self._restore(but_one=self.recovery.stuck)
        self._warn(
            f"{trouble_of(found)} at step {failed + 1}. The run went back to step {self.step} and goes on with"
            f" {self.recovery.rate:g} times the learning rate."
        )

    # States.

    def _keep(self) -> None:
        if ranks.RANK:
            return
        began = self.hooks.clock()
        self._stored(lambda: self.checkpoints.write(self.step, self.state()))
        self._kept = self.step, self._marked
        self._kept_at = self.hooks.clock()
        self._keeping = self._kept_at - began

    def _resume(self) -> None:
        if (state := self.checkpoints.newest()) is not None:
            self.recovery, self.pace = Recovery(**state["recovery"]), Pace(**state.get("pace", {}))
            self._set(state)
            if self.recovery.saving_memory:
                self.hooks.save_memory()
        ranks.share([value.detach() for value in self.lesson.method.trained.state_dict().values()])
        ranks.share(list(self.average.weights.values()))

    def _restore(self, *, but_one: bool = False) -> None:
        """Back to the last state or the one before it, but for what was learned of failures."""
        state = self.checkpoints.newest(but_one=but_one)
        assert state is not None, "run() keeps a state before the first step"
        self._set(state)
        ranks.wait()  # the first one may write the next state only when all have read this one

    def _set(self, state: Mapping[str, Any]) -> None:
        self.step, self._marked, self.seconds = state["step"], state["marked"], state["seconds"]
        self.lesson.method.trained.load_state_dict(state["trained"])
        self.optimizer.load_state_dict(state["optimizer"])
        for name, value in self.average.weights.items():
            value.copy_(state["average"][name])

    # Orders, and what is due at a step.

    def _goes_on(self) -> bool:
        stop = ranks.RANK == 0 and self._obey(self.hooks.command(False)) == "stop"
        return not ranks.agreed(float(stop))

    def _obey(self, word: str | None) -> str | None:
        """Do what was said. Returns: the word, after a pause the one that ended it."""
        if word == "pause":
            self._keep()
            return self._rest(kept=True)
        if word == "sample":
            self._show(self.hooks.sample)
        if word == "save":
            self._save()
        return word

    def _rest(self, *, kept: bool = False) -> str:
        """Wait until told to go on or to stop; what else is said meanwhile is done."""
        self._tell("paused", kept=kept)
        while (word := self.hooks.command(True)) not in ("go", "stop", None):
            if word != "pause":
                self._obey(word)
        if word == "go":
            self._tell("resumed")
        return word or "stop"

    def _mark(self) -> None:
        """Measure, show and save what is due after so many steps, once; all of it again, if it was left amid it."""
        if self._marked < self.step and ranks.RANK == 0:
            try:
                self._do_due()
            except LeftError:
                return
        self._marked = max(self._marked, self.step)

    def _do_due(self) -> None:
        params, last = self.params, self.step == self.params.steps
        measured = _due(self.step, params.measure_every, last)
        if measured:
            self._timed(MEASURE, lambda: self._show(self._measure))
        if self.step and _due(self.step, params.sample_every, last):
            self._timed(SAMPLE, lambda: self._show(self.hooks.sample))
        if self.step and _due(self.step, params.save_every, last):
            self._timed(SAVE if measured else LATE_SAVE, self._save)

    def _timed(self, part: str, act: Callable[[], Any]) -> None:
        began = self.hooks.clock()
        act()
        self.pace.took(part, self.hooks.clock() - began)

    def _measure(self, step: int) -> None:
        rows = self.recovery.rows(self.params.batch)
        self._tell("measured", **self.fixed.measure(rows, self.hooks.heed), **self.hooks.measure(step))

    def _show(self, act: Callable[[int], Any]) -> None:
        """What a run can do without: if it fails, that is told, and the run goes on."""
        try:
            with self.shown():
                act(self.step)
        except StudioError as error:
            self._warn(error.sentence())

    def _save(self) -> None:
        with self.shown():
            self._stored(lambda: self.hooks.save(self.step))

    def _stored(self, write: Callable[[], Any]) -> None:
        """Write; if there is no room, rest until told to go on, and try again."""
        while True:
            try:
                write()
                return
            except StorageError as error:
                self._warn(f"{error.sentence()} The run waits, and nothing is lost: make room, then go on.")
                if self._rest() == "stop":
                    raise

    def _tell(self, event: str, **values: Any) -> None:
        if ranks.RANK == 0:
            self.hooks.hear({"event": event, "step": self.step, **values})

    def _warn(self, text: str) -> None:
        self._tell("warning", text=text)


def _due(step: int, every: int, last: bool) -> bool:
    return last or (every > 0 and step % every == 0)

"""What a run will cost, from real steps that leave no trace: seconds and memory."""

import ctypes
import gc
import statistics
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil
import torch

from studio.engine.residency import CudaMeter, Meter, bytes_of, device_memory, is_out_of_memory
from studio.errors import OutOfMemoryError
from studio.training import ranks
from studio.training.optimizers import build_optimizer
from studio.training.step import Lesson, Manner, Stepper
from studio.training_params import TrainingParams

ENOUGH, STEPS_LEAST, STEPS_MOST = 1.0, 3, 9  # seconds of steps, and how many, have a fair median
SLOW, WEARY = 2.0, 15.0  # seconds of a step: one is enough; what sets things up costs little beside such a first one
LOOK_EVERY = 0.002  # seconds between looks at the process's memory


@dataclass(frozen=True)
class DryRun:
    """What steps took.

    Fields:
        seconds: Of one step, on average over the run: the median of some, so that other programs count little.
        growth: Bytes beyond what was held before, at the peak; the optimizer's states are among them.
        held: Bytes that were held before: by the process, or allocated on the GPU.
        free: Bytes that the device had left then; of the CPU's, this process's share.
    """

    seconds: float
    growth: int
    held: int
    free: int

    @property
    def bytes(self) -> int:
        """The most that the run will hold."""
        return self.held + self.growth

    @property
    def fits(self) -> bool:
        """Whether the device has as much."""
        return self.growth <= self.free


def dry_run(params: TrainingParams, lesson: Lesson, manner: Manner) -> DryRun:
    """Take steps at the beginning and at the end of a run, whose stages may differ, with an optimizer of their own.

    The weights that learn and all generators are afterwards as they were.
    Raises: OutOfMemoryError, if memory runs out; InvalidRequestError, if the settings cannot be used.
    """
    trained = lesson.method.trained
    stepper = Stepper(params, lesson)
    host = HostMeter()
    meter: Meter = CudaMeter(stepper.device) if stepper.device.type == "cuda" else host
    sharing = ranks.WORLD if stepper.device.type == "cpu" else 1
    held = meter.begin()  # first: what it gives back is free
    free = device_memory(stepper.device).available // sharing
    kept = {name: value.detach().to("cpu", copy=True) for name, value in trained.state_dict().items()}
    try:
        optimizer = build_optimizer(params, lesson.method.groups())
        seconds = _step_seconds(params, _Trial(stepper, manner, optimizer, host.look))
    finally:
        peak = meter.peak()
        stepper.forget()
        trained.load_state_dict(kept)
    aside = bytes_of(trained) if stepper.device.type == "cpu" else 0  # `kept`, which no run has
    return DryRun(seconds, max(0, peak - held - aside), held, free)


@dataclass
class HostMeter:
    """The process's memory, watched by a thread: what an allocator gives back between two steps is seen too.

    A thread may come late; whoever knows when much is held calls `look`.
    """

    _most: int = 0
    _done: threading.Event = field(default_factory=threading.Event)
    _watch: threading.Thread | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _process: psutil.Process = field(default_factory=psutil.Process)

    def begin(self) -> int:
        """What is held now; the peak is counted from here on. What nobody needs goes first, garbage and what the
        allocator keeps of it: steps would take it again, and hide what they take."""
        gc.collect()
        _give_back()
        self._most = held = held_by(self._process)
        self._watch = threading.Thread(target=self._keep_looking, daemon=True)
        self._watch.start()
        return held

    def peak(self) -> int:
        """The most since then; the watch ends."""
        self._done.set()
        if self._watch is not None:
            self._watch.join()
        return self._most

    def look(self) -> None:
        """Count what is held at this moment."""
        with self._lock:
            self._most = max(self._most, held_by(self._process))

    def _keep_looking(self) -> None:
        while not self._done.wait(LOOK_EVERY):
            self.look()


def _give_back() -> None:
    """Have the C library return its free pages to the system, where it can: glibc keeps what lies between blocks."""
    if sys.platform == "linux" and hasattr(c_library := ctypes.CDLL(None), "malloc_trim"):
        c_library.malloc_trim(0)


def held_by(process: psutil.Process) -> int:
    """Bytes of its memory. Pages of mapped files do not count where the system tells them (Linux): it takes them back
    when others need room."""
    told = process.memory_info()
    return told.rss - getattr(told, "shared", 0)


@dataclass(frozen=True)
class _Trial:
    """Steps with an optimizer of their own. look: Called when a step holds all that outlives its sums."""

    stepper: Stepper
    manner: Manner
    optimizer: torch.optim.Optimizer
    look: Callable[[], None]

    def median(self, step: int) -> float:
        """Seconds of a step there: of a few, after one that sets things up."""
        times = [self._seconds(step)]
        if times[0] < WEARY:
            times = [self._seconds(step)]
        while times[0] < SLOW and len(times) < STEPS_MOST and (len(times) < STEPS_LEAST or sum(times) < ENOUGH):
            times.append(self._seconds(step))
        return statistics.median(times)

    def _seconds(self, step: int) -> float:
        began = time.perf_counter()
        try:
            short = self.stepper.gradients(step, self.manner).short
            if not short:
                self.optimizer.step()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            short = True
        if any(ranks.total([float(short)])):
            raise OutOfMemoryError("There is too little memory for one step with these settings.")
        self.stepper.lesson.method.after_step()
        took = time.perf_counter() - began
        self.look()
        self.stepper.forget()
        return ranks.agreed(took)  # so that every process takes as many steps


def _step_seconds(params: TrainingParams, trial: _Trial) -> float:
    """Both ends by their shares: a pivotal run's first stage is as long as its params say."""
    first, last = (trial.median(step) for step in (0, params.steps - 1))
    share = params.inversion_share if params.method == "pivotal" else 0.5
    return share * first + (1 - share) * last

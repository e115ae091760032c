"""Whether a run takes the time and the memory that it told before its start: eight runs of different sorts."""

import json
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from studio.bench.figures import Figure
from studio.bench.training.resume import copied, events, running
from studio.errors import JobError
from studio.training.dry import held_by
from studio.training_params import TrainingParams
from studio.trainings.process import COMMAND

BAR = 1.25  # times too much or too little, of the worst
LOOK_EVERY = 0.005  # seconds
COMMON: dict[str, Any] = {
    "steps": 24,
    "measure_every": 24,
    "save_every": 24,
    "sample_every": 0,
    "sample_prompts": (),
    "prior_preservation": False,
}
PLAIN_LORA = {"rank": 4, "alpha": 4.0, "conv_rank": 0}
RUNS: dict[str, dict[str, Any]] = {
    "LoRA of rank 4, batch 1": {**PLAIN_LORA, "batch": 1},
    "LoRA of rank 64 with convolutions, batch 4": {"rank": 64, "alpha": 64.0, "conv_rank": 64, "batch": 4},
    "inversion, batch 4": {"method": "inversion", "vectors": 4, "ema": 0.0, "batch": 4},
    "pivotal, batch 1": {"method": "pivotal", **PLAIN_LORA, "inversion_share": 0.3, "batch": 1},
    "hypernetwork, recomputing, batch 4": {"method": "hypernetwork", "gradient_checkpointing": True, "batch": 4},
    "DreamBooth with its text encoder, batch 4": {"method": "dreambooth", "train_text_encoder": True, "batch": 4},
    "ControlNet, batch 1": {"method": "controlnet", "control_kind": "scribble", "annotator": "scribble", "batch": 1},
    "T2I-Adapter, batch 4": {"method": "t2i_adapter", "control_kind": "scribble", "annotator": "scribble", "batch": 4},
}


@dataclass(frozen=True)
class Outcome:
    """Of one run, from its estimate to its end: seconds and bytes, as told and as taken."""

    told_seconds: float
    seconds: float
    told_bytes: int
    bytes: int

    @property
    def time(self) -> float:
        """Told over taken."""
        return self.told_seconds / self.seconds

    @property
    def memory(self) -> float:
        """Told over taken."""
        return self.told_bytes / self.bytes

    def line(self, name: str) -> str:
        """For who waits."""
        return (
            f"{name}: {self.told_seconds:.1f} s told, {self.seconds:.1f} s taken ({self.time:.2f});"
            f" {self.told_bytes / 1e9:.2f} GB told, {self.bytes / 1e9:.2f} GB taken ({self.memory:.2f})"
        )


def estimate_figures(
    run: Path, say: Callable[[str], None], runs: Mapping[str, Mapping[str, Any]] = RUNS
) -> dict[str, Figure]:
    """Runs on the pictures and the checkpoint of `run`, the folder of one that has ended; each is told by `say`."""
    found: dict[str, Outcome] = {}
    for number, (name, settings) in enumerate(runs.items()):
        found[name] = outcome(prepared(run, f"estimated-{number}", settings))
        say(found[name].line(name))
    return summary(found)


def summary(found: Mapping[str, Outcome]) -> dict[str, Figure]:
    """The worst of each with its bar, and all for information."""
    figures: dict[str, Figure] = {}
    for what in ("time", "memory"):
        ratios = {name: float(getattr(one, what)) for name, one in found.items()}
        figures[f"estimated {what} of {len(found)} runs: off by, at the most"] = Figure(
            max(map(off, ratios.values())), "x", BAR
        )
        figures[f"estimated {what}: off by, median"] = Figure(statistics.median(map(off, ratios.values())), "x")
        figures |= {f"estimated / actual {what}, {name}": Figure(ratio, "x") for name, ratio in ratios.items()}
    return figures


def off(ratio: float) -> float:
    """How many times too much or too little."""
    return max(ratio, 1 / ratio)


def prepared(run: Path, name: str, settings: Mapping[str, Any]) -> Path:
    """A folder with the order of another run, with other settings; on the CPU, where all memory is the process's."""
    folder = copied(run, name, device="cpu")
    params = TrainingParams.from_dict(json.loads((run / "params.json").read_bytes()))
    changed = replace(params, **{**COMMON, **settings})
    (folder / "params.json").write_text(json.dumps(changed.to_dict()))
    return folder


def outcome(folder: Path, command: tuple[str, ...] = COMMAND) -> Outcome:
    """Run it to its end. Raises: JobError, if it fails."""
    told: dict[str, Any] = {}
    began = ended = 0.0
    with running(folder, command) as process, watched(process.pid) as most:
        for event in events(process):
            if event["event"] == "estimate":
                told, began = event, time.monotonic()
                most.begin()
            if event["event"] == "done":
                ended = time.monotonic()
            if event["event"] == "error":
                raise JobError(f"{folder.name} failed: {event['error']}", hint=str(event.get("hint", "")))
    if not told or not ended:
        raise JobError(f"{folder.name} did not end.", hint=f"{folder / 'child.log'} has the details.")
    return Outcome(float(told["seconds"]), ended - began, int(told["bytes"]), most.bytes)


@dataclass
class Most:
    """The most bytes that were seen since it began; what a look that was under way by then finds is of before."""

    bytes: int = 0
    done: threading.Event = field(default_factory=threading.Event)
    _beginning: object = field(default_factory=object)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self) -> None:
        """Nothing seen so far counts."""
        with self._lock:
            self.bytes, self._beginning = 0, object()

    def look(self, held: Callable[[], int]) -> None:
        """Once."""
        beginning = self._beginning
        seen = held()
        with self._lock:
            if beginning is self._beginning:
                self.bytes = max(self.bytes, seen)

    def keep_looking(self, pid: int) -> None:
        """Until it is done, or the process is gone."""
        process = psutil.Process(pid)
        with suppress(psutil.Error):
            while not self.done.wait(LOOK_EVERY):
                self.look(lambda: held_by(process))


@contextmanager
def watched(pid: int) -> Iterator[Most]:
    """The memory of a process, watched until the block ends."""
    most = Most()
    watch = threading.Thread(target=most.keep_looking, args=(pid,), daemon=True)
    watch.start()
    try:
        yield most
    finally:
        most.done.set()
        watch.join()

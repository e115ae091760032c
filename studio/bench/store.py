"""The store suite: swapping checkpoints against copying their bytes, loading against diffusers, and memory."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from studio.bench.figures import Figure
from studio.bench.library import measure_library
from studio.errors import StudioError
from studio.messages import ModelLocation
from studio.settings import BUILTIN, Settings

VALUES = {"sd1": 1_066_000_000, "sdxl": 3_469_000_000}  # numbers in a checkpoint of that base model
BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}
NAMES = {"sd1": "SD 1.5", "sdxl": "SDXL"}
SLACK = 6 * 10**9  # with 3, SDXL was killed for memory on a machine of 24 GB
LOADS = 3


class BenchError(StudioError):
    """A part of the suite broke off."""

    hint = "Run the suite again; if it stays, report the lines above."


@dataclass(frozen=True)
class Room:
    """Bytes that are free on the disk of temporary files, and in memory."""

    disk: int
    memory: int


def store_suite(settings: Settings) -> dict[str, Figure]:
    """Loading and swapping random weights in real shapes, then the index at ten thousand files; all deleted after."""
    with tempfile.TemporaryDirectory(prefix="maquette-bench-") as folder:
        chosen = run_task("choose", Task(folder, "sd1", settings.device))
        figures: dict[str, Figure] = {}
        for base in VALUES:
            precision = affordable(base, chosen, room(Path(folder)))
            if precision is None:
                size = needed(base, "bf16") / 1e9
                say(f"{NAMES[base]} is left out: {size:.0f} GB of memory and as much disk would be needed.")
                continue
            figures |= checkpoint_figures(Task(folder, base, settings.device, precision))
            for file in Path(folder).glob("*.safetensors"):
                file.unlink()
        say("ten thousand model files")
        return figures | measure_library(Path(folder))


@dataclass(frozen=True)
class Task:
    """What a part of the suite is told, in a process of its own. base: sd1 or sdxl; precision: fp32, fp16 or bf16."""

    folder: str
    base: str
    device: str
    precision: str = "fp32"

    @property
    def configs(self) -> Path:
        """The folder of configurations that diffusers needs."""
        return Path(self.folder) / f"{self.base}-configs"

    def location(self, name: str) -> ModelLocation:
        """The checkpoint a or b, as the worker is told of it."""
        file = Path(self.folder) / f"{self.base}-{name}.safetensors"
        return ModelLocation(name, name, str(file), "checkpoint", self.base)


def needed(base: str, precision: str) -> int:
    """Bytes of memory: two files in the page cache, living modules, and what diffusers holds beside them."""
    return 3 * VALUES[base] * BYTES[precision] + SLACK


def affordable(base: str, chosen: dict[str, str], free: Room) -> str | None:
    """The precision to measure in: the studio's own choice, on a CPU with little memory bf16; None without room."""
    tried = [chosen["precision"], "bf16"] if chosen["device"] == "cpu" else [chosen["precision"]]
    return next((name for name in tried if needed(base, name) <= min(free.memory, free.disk)), None)


def room(folder: Path) -> Room:
    """What is free now."""
    return Room(shutil.disk_usage(folder).free, psutil.virtual_memory().available)


def checkpoint_figures(task: Task) -> dict[str, Figure]:
    """All figures of one base model; the bars are those of SD 1.5, and information for others."""
    size = run_task("make", task)["bytes"]
    say(f"{NAMES[task.base]} in {task.precision}: two files of {size / 1e9:.2f} GB")
    swaps, loads, shown = run_task("swap", task), load_ratios(task), run_task("pictures", task)
    held = run_task("memory", task) if Path("/proc/self/status").exists() else None
    bar: Callable[[float], float | None] = lambda value: value if task.base == "sd1" else None  # noqa: E731
    swap, copy = (statistics.median(swaps[key]) for key in ("swap", "copy"))
    figures = {
        "swap / plain copy of the bytes": Figure(swap / copy, "x", bar(1.4)),
        "swap": Figure(swap, "s"),
        "diffusers from_single_file / our first load": Figure(loads["ratio"], "x", bar(3.0), "higher"),
        "the same until each weight was looked at once": Figure(loads["used_ratio"], "x"),
        "our first load": Figure(loads["ours"], "s"),
        "pictures alike after A, B, A": Figure(float(shown["same"] and shown["other"]), "of 1", 1.0, "higher"),
    }
    if held is not None:
        figures |= {
            "private memory while swapping / live module": Figure(held["peak"] / held["live"], "x", bar(1.1)),
            "private memory after 50 swaps / after 2": Figure(held["many"] / held["few"], "x", bar(1.03)),
        }
    return {f"{NAMES[task.base]}: {name}": figure for name, figure in figures.items()}


def load_ratios(task: Task) -> dict[str, float]:
    """Median seconds of first loads, each in a new process, in turn with diffusers'.

    diffusers maps a file whose precision is wanted as it is stored, and reads it when the weights are used: so both are
    measured until then, too.
    """
    ours, theirs = list[dict[str, float]](), list[dict[str, float]]()
    for _ in range(LOADS):
        ours.append(run_task("load", task))
        theirs.append(run_task("load_theirs", task))

    def median(rows: list[dict[str, float]], key: str) -> float:
        return statistics.median(row[key] for row in rows)

    return {
        "ours": median(ours, "seconds"),
        "ratio": median(theirs, "seconds") / median(ours, "seconds"),
        "used_ratio": median(theirs, "used") / median(ours, "used"),
    }


def run_task(name: str, task: Task) -> dict[str, Any]:
    """Measure a part in a new process. Raises: BenchError, with the last line that it said."""
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "DIFFUSERS_VERBOSITY": "error",
    }
    environment["PYTHONPATH"] = os.pathsep.join([str(BUILTIN), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "studio.bench.store_child", name, json.dumps(asdict(task))]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise BenchError(f"The part {name} ended with status {done.returncode}: {lines[-1] if lines else 'no word'}")
    return json.loads(done.stdout.splitlines()[-1])


def say(line: str) -> None:
    """Tell whoever waits for the table."""
    print(line, flush=True)  # noqa: T201

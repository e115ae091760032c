"""Whether a run that is killed at any moment ends as if it had not been.

`python -m studio.bench.training.resume FOLDER` is the process that trains, keeping states every second in place of
every minute, so that short runs have some to go on from.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from studio.bench.figures import Figure
from studio.bench.training.desk import Desk
from studio.settings import BUILTIN
from studio.starter.subjects import SUBJECTS
from studio.training import child, session
from studio.trainings.process import COMMAND

TIMES, EACH, STEPS = 20, 4, 40  # kills in all and of one run
EVERY = 1.0  # seconds between states
SHORT = {"steps": STEPS, "save_every": 0, "sample_every": 0, "measure_every": 0, "sample_prompts": [], "ema": 0.9}
HASTY = (sys.executable, "-m", "studio.bench.training.resume")


@dataclass
class States:
    """When the states of a run came to be.

    Fields:
        last: Of the latest, or of the start, as time.time() tells.
        lost: Seconds since then when it was killed, at the most. apart: seconds between two of them, at the most.
    """

    folder: Path
    lost: float = 0.0
    apart: float = 0.0
    last: float = field(default_factory=time.time)

    def begun(self) -> None:
        """A process takes its first step from here on."""
        self.last = time.time()

    def look(self) -> None:
        """See whether there is a new one."""
        written = max((file.stat().st_mtime for file in (self.folder / "state").glob("step-*")), default=0.0)
        if written > self.last:
            self.apart = max(self.apart, written - self.last)
            self.last = written

    def killed(self) -> None:
        """What came after the last one is lost."""
        self.look()
        self.lost = max(self.lost, time.time() - self.last)


def resume_figures(desk: Desk, times: int = TIMES) -> dict[str, Figure]:
    """Kill runs of a LoRA at random moments, each run several times, and let them go on to their ends; without the
    pictures by which a run is scored, which take most of the time."""
    whole = desk.press(SUBJECTS[0], "lora", SHORT).folder
    expected, rng, exact = weights(whole), random.Random(0), 0
    lost, apart = 0.0, 0.0
    each = min(EACH, times)
    for number in range(times // each):
        states = States(copied(whole, f"killed-{number}", pack=""))
        for step in sorted(rng.sample(range(1, STEPS), each)):
            kill(states, step, rng.random())
        finish(states)
        exact += each * same(weights(states.folder), expected)
        lost, apart = max(lost, states.lost), max(apart, states.apart)
    return {
        "resumed after kill -9 at a random moment, exact": Figure(exact, f"of {times}", times, "higher"),
        "work lost to kill -9 / the time between states": Figure(lost / apart, "x", 1.0),
        "work lost to kill -9, at the most": Figure(lost, "s"),
    }


def copied(run: Path, name: str, **changed: str) -> Path:
    """A folder with the same params, that has not begun. changed: fields of its order."""
    folder = run.with_name(name)
    folder.mkdir()
    shutil.copyfile(run / "params.json", folder / "params.json")
    order: dict[str, Any] = json.loads((run / "order.json").read_bytes())
    (folder / "order.json").write_text(json.dumps({**order, **changed}))
    return folder


def kill(states: States, step: int, share: float) -> None:
    """Run until that step is told or a later one, wait for a share of the time of a step, and kill."""
    with running(states.folder, HASTY) as process:
        for event in heeded(process, states):
            if event["event"] == "step" and event["step"] >= step:
                time.sleep(share * event["seconds"] / event["step"])
                break
        process.kill()
        states.killed()


def finish(states: States) -> None:
    """Run to the end."""
    with running(states.folder, HASTY) as process:
        for _ in heeded(process, states):
            pass


def heeded(process: subprocess.Popen[str], states: States) -> Iterator[dict[str, Any]]:
    """What it tells, while its states are watched."""
    stepping = False
    for event in events(process):
        if not stepping and event["event"] == "phase" and event["name"] == "training":
            states.begun()
            stepping = True
        if stepping and event["event"] == "step":  # what is loaded before and measured after them is no gap
            states.look()
        yield event


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    """Whether they are equal to the bit."""
    return found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The last save of a run."""
    last = max((folder / "saves").iterdir(), key=lambda path: int(path.name))
    return load_file(next(last.glob("*.safetensors")))


@contextmanager
def running(folder: Path, command: tuple[str, ...] = COMMAND) -> Iterator[subprocess.Popen[str]]:
    """The process that trains a run, as the studio starts it."""
    path = os.pathsep.join([str(BUILTIN), os.environ.get("PYTHONPATH", "")])
    with (
        (folder / "child.log").open("ab") as log,
        subprocess.Popen(
            [*command, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": path},
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def events(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    """What it tells; a line that was cut off when it was killed is none."""
    for line in process.stdout or ():
        if line.endswith("\n"):
            yield json.loads(line)


if __name__ == "__main__":
    session.KEEP_EVERY, session.KEEP_SHARE = EVERY, 0.0
    sys.exit(child.main(Path(sys.argv[1])))

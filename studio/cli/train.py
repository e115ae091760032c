"""`train`: a TOML file in, a model in the library out, progress on stderr.

The file has the fields of a training: name, dataset, subject, method, checkpoint, trigger, class_word, and [settings].
dataset is a folder of pictures, taken from where the file lies and imported first, or the name of a dataset.
"""

import argparse
import json
import os
import sys
import tomllib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from studio.access import LOCAL_USER
from studio.cli.backends import LocalBackend, Plain, RemoteBackend
from studio.cli.generate import OpenStudio, backend
from studio.datasets.importing import files_of
from studio.errors import InvalidRequestError, WorkerError
from studio.services import Studio
from studio.settings import Settings
from studio.training_params import NAME

GOING = ("queued", "preparing", "running", "paused")
RUNS = "/api/v1/training/runs"
JSON = "application/json"


class Trainer(Protocol):
    """What the command needs of a studio."""

    def datasets(self) -> list[str]:
        """Names of all datasets."""
        ...

    def pictures(self, name: str) -> list[str]:
        """Names of the pictures of a dataset."""
        ...

    def add(self, name: str, folder: Path) -> None:
        """Make the dataset if there is none, and copy what is in the folder into it."""
        ...

    def start(self, body: Plain) -> Plain:
        """Queue a run. Raises: StudioError, naming what cannot be used."""
        ...

    def runs(self) -> list[Plain]:
        """Every run."""
        ...

    def resume(self, run_id: str) -> Plain:
        """Let one go on."""
        ...

    def events(self) -> Iterator[Plain | None]:
        """What happens from now on; None at least every few seconds."""
        ...


class LocalTrainer:
    """A studio in this process."""

    def __init__(self, studio: Studio) -> None:
        self.studio, self.events = studio, LocalBackend(studio).events

    def datasets(self) -> list[str]:
        """Look."""
        return self.studio.datasets.names()

    def pictures(self, name: str) -> list[str]:
        """Look."""
        return [picture.name for picture in self.studio.datasets.pictures(name)]

    def add(self, name: str, folder: Path) -> None:
        """Copy."""
        if name not in self.datasets():
            self.studio.datasets.create(name)
        self.studio.datasets.add(name, files_of(folder))

    def start(self, body: Plain) -> Plain:
        """Queue it."""
        return self.studio.trainings.start(body, LOCAL_USER)

    def runs(self) -> list[Plain]:
        """List them."""
        return self.studio.trainings.list(LOCAL_USER)

    def resume(self, run_id: str) -> Plain:
        """Say so."""
        return self.studio.trainings.order(run_id, "resume", LOCAL_USER)


class RemoteTrainer:
    """The studio that serves the data folder, on this machine."""

    def __init__(self, studio: RemoteBackend) -> None:
        self.ask, self.events = studio.ask, studio.events

    def datasets(self) -> list[str]:
        """Ask."""
        return [row["name"] for row in self.ask("/api/v1/datasets")]

    def pictures(self, name: str) -> list[str]:
        """Ask."""
        return [row["file"] for row in self.ask(f"/api/v1/datasets/{quote(name)}")["pictures"]]

    def add(self, name: str, folder: Path) -> None:
        """Post the name of the folder."""
        if name not in self.datasets():
            self.ask("/api/v1/datasets", json.dumps({"name": name}).encode(), JSON)
        self.ask(f"/api/v1/datasets/{quote(name)}/folder", json.dumps({"path": str(folder)}).encode(), JSON)

    def start(self, body: Plain) -> Plain:
        """Post it."""
        return self.ask(RUNS, json.dumps(body).encode(), JSON)

    def runs(self) -> list[Plain]:
        """Ask."""
        return self.ask(RUNS)

    def resume(self, run_id: str) -> Plain:
        """Post it."""
        return self.ask(f"{RUNS}/{run_id}/resume", b"{}", JSON)


def train(flags: argparse.Namespace, settings: Settings, open_studio: OpenStudio) -> int:
    """Train to the end. Exit status: 0 done, 1 failed or stopped. Raises: StudioError for wrong use.

    Ctrl+C leaves a run of this process at its last step, from which --resume goes on; one of a studio that serves goes
    on there. Of the processes that `accelerate launch` starts this for, the first one starts a run of as many.
    """
    if int(os.environ.get("RANK", "0")):
        return 0
    body = shared(read_request(flags.file), flags.processes or int(os.environ.get("WORLD_SIZE", "0")))
    with backend(settings, partial(open_studio, worker=False)) as studio:
        trainer = RemoteTrainer(studio) if isinstance(studio, RemoteBackend) else LocalTrainer(_studio(studio))
        events = trainer.events()
        run = _resume(trainer, body) if flags.resume else trainer.start(imported(trainer, body, flags.file.parent))
        run = follow(trainer, events, run, Progress(sys.stderr.isatty()))
    return report(run, settings, as_json=flags.json)


def read_request(file: Path) -> Plain:
    """The fields of the file. Raises: InvalidRequestError."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidRequestError(f"{file} cannot be read: {reason}.", field="file") from error


def shared(body: Plain, processes: int) -> Plain:
    """The request for so many processes; 0 leaves it as it is."""
    settings = body.get("settings", {})
    if not processes or not isinstance(settings, dict):
        return body  # the studio says what settings are
    return body | {"settings": {**settings, "processes": processes}}


def imported(trainer: Trainer, body: Plain, beside: Path) -> Plain:
    """The request with the name of a dataset; a folder is imported under the run's name first.

    Raises: InvalidRequestError, if there is neither, or a dataset of that name with other pictures.
    """
    said, name = body.get("dataset"), body.get("name")
    if not isinstance(said, str) or not said or not isinstance(name, str):
        return body  # the studio says what is missing
    folder = (beside / Path(said).expanduser()).absolute()
    if not folder.is_dir():
        return body
    if not NAME.fullmatch(name):
        raise InvalidRequestError(f"The name is {name[:40]!r}.", field="name", hint="Use letters, digits and spaces.")
    there = trainer.pictures(name) if name in trainer.datasets() else []
    here = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    if others := [picture for picture in there if picture not in here]:
        raise InvalidRequestError(
            f"There is a dataset {name} already, with {others[0][:80]} in it, which {folder} has not.",
            field="dataset",
            hint=f'Write dataset = "{name}" to train from it as it is, or give another name.',
        )
    trainer.add(name, folder)
    return body | {"dataset": name}


def follow(trainer: Trainer, events: Iterator[Plain | None], run: Plain, progress: "Progress") -> Plain:
    """Wait for the run's end, showing how far it is."""
    try:
        for event in events:
            if event is None or event["type"] == "hello":
                run = next((one for one in trainer.runs() if one["id"] == run["id"]), run)
            elif event["type"] == "training" and event["run"]["id"] == run["id"]:
                run = event["run"]
                progress.show(run)
            if run["state"] not in GOING:
                return run
    finally:
        progress.end()
    raise WorkerError("The studio stopped while the training ran.", hint="Go on with --resume.")


class Progress:
    """Progress on stderr: one line that changes on a terminal, a line for each phase and each tenth elsewhere."""

    def __init__(self, terminal: bool) -> None:
        self.terminal, self.last = terminal, ""

    def show(self, run: Plain) -> None:
        """Tell the phase, the step, the loss and the time left."""
        phase = run["phase"] or run["state"]
        mark = f"{phase} {10 * run['step'] // max(run['steps'], 1) if phase == 'training' else ''}"
        text = phase if phase != "training" else f"step {run['step']} of {run['steps']}"
        text += f", loss {run['loss']:.4f}" if run["loss"] is not None and phase == "training" else ""
        text += f", {run['left']:.0f} s left" if run["left"] else ""
        if self.terminal:
            print(f"\r{text:<70}", end="", file=sys.stderr, flush=True)
        elif mark != self.last:
            print(text, file=sys.stderr, flush=True)
        self.last = mark

    def end(self) -> None:
        """Leave the changing line."""
        if self.terminal and self.last:
            print(file=sys.stderr)


def report(run: Plain, settings: Settings, *, as_json: bool) -> int:
    """Print what came of it; the exit status."""
    done = run["state"] == "done"
    for warning in run["warnings"]:
        print(f"Note: {warning}", file=sys.stderr)
    paths = [str(settings.paths.models / one["file"]) for one in run["results"]]
    if not done:
        print(f"{run['error'] or 'It was stopped.'} {run['hint']}".strip(), file=sys.stderr)
    if as_json:
        names = ("id", "name", "method", "step", "steps", "seconds", "verdict", "scores", "kept", "warnings", "params")
        told: dict[str, Any] = {"status": run["state"], **{name: run[name] for name in names}, "files": paths}
        print(json.dumps(told | {"results": run["results"], "error": run["error"]}))
    elif paths:
        print("\n".join(paths))
    return 0 if done else 1


def _resume(trainer: Trainer, body: Plain) -> Plain:
    """The last run of that name that ended early goes on. Raises: InvalidRequestError, if there is none."""
    name = str(body.get("name", ""))
    runs = [run for run in trainer.runs() if run["name"] == name and run["resumable"]]
    if not runs:
        raise InvalidRequestError(
            f"There is no run {name[:80]!r} that ended early.", field="resume", hint="Start it without --resume."
        )
    return trainer.resume(max(runs, key=lambda run: run["created"])["id"])


def _studio(found: Any) -> Studio:
    assert isinstance(found, LocalBackend)
    return found.studio

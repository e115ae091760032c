"""`python -m studio.training.child FOLDER`: the process that trains one run, and tells how it goes.

The folder holds the order (params.json, order.json) and gets what the run makes: state/, samples/, saves/STEP/,
log.jsonl, header.json, result.json. Events go to the standard output, orders come from the standard input, each a line
of JSON; when the input ends, the state is kept and the process ends.
"""

import gc
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil
import torch

from studio.engine.residency import device_memory
from studio.errors import InvalidRequestError, OutOfMemoryError, StudioError
from studio.files import write_whole
from studio.training import ranks
from studio.training.data.batches import Batches
from studio.training.exporting import write_export
from studio.training.guiding import open_guide
from studio.training.header import Facts, header_of, published
from studio.training.judging import Judge
from studio.training.methods.build import build_method
from studio.training.room import bytes_written, check_room, picture_bytes
from studio.training.session import Hooks, LeftError, Session
from studio.training.showing import Showing
from studio.training.step import Lesson
from studio.training.talk import Talk
from studio.training.workplace import Order, Workplace
from studio.training_pace import MEASURE, SAMPLE

BUGS = (RuntimeError, ValueError, TypeError, KeyError, AttributeError, OSError, ArithmeticError, MemoryError)
BUG_HINT = "child.log in the folder of the run has the details; please report it."
RESULT, HEADER = "result.json", "header.json"


class Trainee:
    """One run, from its order to its results."""

    def __init__(self, order: Order, talk: Talk) -> None:
        self.order, self.params, self.talk = order, order.params, talk
        self.folder, self.started, self.began = order.folder, time.time(), time.monotonic()
        self.before = 0.0
        self.looks = {SAMPLE: 0.0, "base": 0.0, "learning": 0.0}  # seconds that samples and scores took
        talk.phase("loading")
        self.work = Workplace(order)
        self.data: Batches = ranks.in_turn(lambda: self.work.batches(self.told))
        self.showing = Showing(self.work, self.folder, talk.say, heed=self.heed)
        self.saves: dict[int, dict[str, Any]] = _read_saves(self.folder)
        if ranks.RANK == 0:
            self._prepare()
        ranks.wait()
        torch.manual_seed(self.params.seed)
        self.method = build_method(
            self.params, self.work.checkpoint, self.work.engine, start=self._start(), features=self._features()
        )
        self.method.captions.expected = self.data.captions()
        self.work.checkpoint.prompts.cache.clear()
        hooks = Hooks(
            hear=self.hear,
            command=talk.command,
            measure=self.measure,
            sample=self.sample,
            save=self.save,
            save_memory=self.save_memory,
            heed=self.heed,
        )
        self.lesson = Lesson(self.method, self.data, self.work.checkpoint.noise)
        self.session = Session(self.params, self.lesson, self.folder / "state", hooks)

    def heed(self) -> None:
        """Raises: LeftError, once nobody listens any more: the studio has ended, or was killed."""
        if self.talk.ended.is_set():
            raise LeftError

    def told(self, name: str, done: int = 0, total: int = 0) -> None:
        """Say how far the data is. Raises: LeftError."""
        self.heed()
        self.talk.phase(name, done, total)

    # ---- before the start

    def _prepare(self) -> None:
        """Fill the caches, and look at the model as it is before it learns. Raises: StorageError, without room."""
        if self.data.classes is not None and (missing := len(self.data.classes.missing())):
            home = self.data.classes.folder
            self.check_room(picture_bytes(self.params, missing), home, f"{missing} pictures of the class")
        self.data.prepare()
        self.showing.guide = open_guide(self.work, self.data)
        for name, why in self.data.skipped:
            self.talk.say({"event": "warning", "step": 0, "text": f"{name} is left out: {why}"})
        with torch.inference_mode(mode=False):
            began = time.monotonic()
            self.showing.base()
            self.looks[SAMPLE] = time.monotonic() - began
            began = time.monotonic()
            self.judge = Judge.open(self.order, self.showing.paint, self.data, self.talk)
            self.looks["base"] = (time.monotonic() - began) * self.judge.share
        self.judge.saved |= self.saves.keys()
        if self.showing.guide is not None:
            self.judge.guide, self.judge.guided = self.showing.guide, self.showing.guided
        gc.collect()

    def _start(self) -> Any:
        """The control model to go on from, if one is named."""
        return next((one for one in self.order.models.values() if one.name == self.params.start_from), None)

    def _features(self) -> int:
        if self.params.method != "ip_adapter":
            return 0
        shown = self.data.shown(1)[0].features
        return 0 if shown is None else shown.shape[1]

    def check_room(self, needed: int, folder: Path, what: str) -> None:
        """Warn where the disk will nearly be full. Raises: StorageError, if it will be."""
        if close := check_room(needed, folder, what):
            self.talk.say({"event": "warning", "step": 0, "text": close})

    def estimate(self) -> None:
        """Say how long it will take, and how much memory. Raises: OutOfMemoryError, if that memory is not there."""
        self.talk.phase("estimating")
        told: dict[str, Any] = {"event": "estimate", "seconds": None, "bytes": None}
        try:
            dry = self.session.rehearse()
        except OutOfMemoryError as error:
            self.talk.say({**told, "ok": False, "text": error.sentence()})
            raise
        pace, base = self.session.pace, self.looks["base"]
        slower = (self.looks["learning"] or base) / base if base else 1.0
        pace.expect(MEASURE, base)
        pace.expect(SAMPLE, self.looks[SAMPLE] * slower)
        seconds = self.session.left()
        each = f" in each of {ranks.WORLD} processes" if ranks.WORLD > 1 else ""
        text = f"About {_spoken(seconds)}, and {dry.bytes / 1e9:.1f} GB of memory{each}."
        self.talk.say({**told, "seconds": seconds, "bytes": dry.bytes, "ok": True, "text": text})

    # ---- the run

    def run(self) -> None:
        """Train to the end, or until told to stop; then say what came of it. Raises: StudioError."""
        if not self.session.step:
            self.check_room(bytes_written(self.params, self.method), self.folder, "States, samples and saves")
            self.session.begin()
            self.heed()
            self.estimate()
        if ranks.RANK == 0:
            self.write_header()
        self.before = time.monotonic() - self.began
        self.talk.phase("training", self.session.step, self.params.steps)
        ended = self.session.run()
        if ranks.RANK or (not ended and self.talk.left):
            return
        step = self.session.step
        if step and step not in self.saves:
            with self.session.shown():
                self.save(step)
        scores = {str(at): one["scores"] for at, one in sorted(self.saves.items()) if one.get("scores")}
        best = self.judge.best(self.saves) if self.saves else None
        files = self.saves[best]["files"] if best is not None else []
        result = {"files": files, "best_step": best, "scores": scores, "stopped": not ended, "pace": self.told_pace()}
        write_whole(self.folder / RESULT, json.dumps(result).encode())
        self.talk.say({"event": "done", "step": step, **result})

    def told_pace(self) -> dict[str, Any]:
        """What it cost, in seconds: one of each part, all of each, and what came before the first step this time."""
        return {**asdict(self.session.pace), "before": self.before}

    def hear(self, event: Mapping[str, Any]) -> None:
        """What the session tells, and of a pause whether memory is short; after a measurement follows what it means."""
        self.talk.say({**event, "short": self.lacks_memory()} if event["event"] == "paused" else event)
        if event["event"] == "measured" and (said := self.judge.note(event)):
            self.talk.say({"event": "verdict", "step": event["step"], **said})
        if event["event"] in ("measured", "resumed"):
            self.talk.phase("training", event["step"], self.params.steps)

    def lacks_memory(self) -> bool:
        """Whether less memory is free than this process holds: pictures that are waited for need about as much."""
        device = self.session.stepper.device
        gc.collect()
        torch.cuda.empty_cache()
        memory = device_memory(device)
        held = memory.reserved if device.type == "cuda" else psutil.Process().memory_info().rss
        return memory.available < held

    def measure(self, step: int) -> Mapping[str, Any]:
        """The scores of pictures that it makes now."""
        self.talk.phase("scoring")
        began = time.monotonic()
        with self.method.shown() as more:
            found = self.judge.score(step, more)
        self.looks["learning"] = time.monotonic() - began
        return found

    def sample(self, step: int) -> None:
        """Show what it makes now."""
        with self.method.shown() as more:
            self.showing.at(step, more)
        self.talk.phase("training", step, self.params.steps)

    def save(self, step: int) -> None:
        """Write what it is now, scored. Raises: StorageError."""
        self.talk.phase("saving")
        home = self.folder / "saves" / str(step)
        facts, files = self.facts(step), list[dict[str, Any]]()
        for export in self.method.exports():
            header = header_of(self.params, export, facts)
            path = write_export(export, home, _stem(self.params.name, export.kind), header)
            told = path.relative_to(self.folder).as_posix()
            files.append({"file": told, "kind": export.kind, "layout": export.layout, "tensors": len(export.tensors)})
        scores = self.judge.known(step)
        if scores is None:
            with self.method.shown() as more:
                scores = dict(self.judge.score(step, more))
        self.saves[step] = {"files": files, "scores": scores}
        write_whole(home / "save.json", json.dumps(self.saves[step]).encode())
        self.talk.say({"event": "saved", "step": step, "file": files[0]["file"], "files": files, "scores": scores})
        if said := self.judge.note_save(step):
            self.talk.say({"event": "verdict", "step": step, **said})
        self.talk.phase("training", step, self.params.steps)

    def save_memory(self) -> bool:
        """Turn gradient checkpointing on; whether that changes anything."""
        on = bool(getattr(self.work.checkpoint.unet, "is_gradient_checkpointing", False))
        if not on:
            self.method.checkpoint_gradients(True)
        return not on

    # ---- what is published

    def facts(self, step: int) -> Facts:
        """What a header may say of the run."""
        return Facts(
            step=step,
            pictures=len(self.data.pictures),
            held_out=len(self.data.held),
            class_pictures=self.params.class_pictures if self.params.prior_preservation else 0,
            started=self.started,
            finished=time.time(),
        )

    def write_header(self) -> None:
        """Write what would be published, for who wants to see it before. Raises: StorageError."""
        export = self.method.exports()[0]
        rows = published({**_texts(export.metadata), **header_of(self.params, export, self.facts(self.params.steps))})
        write_whole(self.folder / HEADER, json.dumps({row.name: row.value for row in rows}).encode())


def _texts(metadata: Mapping[str, Any]) -> dict[str, str]:
    return {name: value for name, value in metadata.items() if isinstance(value, str)}


def _stem(name: str, kind: str) -> str:
    return f"{name}-words" if kind == "embedding" else name


def _spoken(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def _read_saves(folder: Path) -> dict[int, dict[str, Any]]:
    """What was saved before the run was resumed."""
    found = dict[int, dict[str, Any]]()
    for file in folder.glob("saves/*/save.json"):
        try:
            found[int(file.parent.name)] = json.loads(file.read_bytes())
        except (OSError, ValueError):
            continue
    return found


def main(folder: Path) -> int:
    """Train; the exit status: 0 done, stopped or left, 2 wrong use, 1 anything else."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    talk = Talk(folder)
    if ranks.WORLD > 1:
        signal.signal(signal.SIGTERM, _lost)
    try:
        ranks.join()
        order = Order.read(folder)
        Trainee(replace(order, params=replace(order.params, processes=ranks.WORLD)), talk).run()
    except LeftError:
        return 0
    except ranks.LostError as error:
        if ranks.RANK == 0:
            return _failed(talk, error)
        sys.stderr.write(f"{error}\n")
        return 1
    except StudioError as error:
        return _failed(talk, error)
    except BUGS as bug:
        traceback.print_exc()
        said = f"The training met an error ({type(bug).__name__}: {bug})"[:400]
        return _failed(talk, StudioError(said, hint=BUG_HINT))
    return 0


def _lost(_signal: int, _frame: object) -> None:
    """What starts the processes ends all of them when one is gone."""
    raise ranks.LostError


def _failed(talk: Talk, error: StudioError) -> int:
    field = error.field if isinstance(error, InvalidRequestError) else ""
    wrong = isinstance(error, InvalidRequestError)
    talk.say({"event": "error", "error": str(error), "hint": error.hint, "field": field, "wrong_use": wrong})
    return 2 if wrong else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

"""Trainings: what the studio's owner may do with runs; one is on its way at a time, the others wait in order."""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from studio.access import LOCAL_USER, User, require
from studio.advice.advise import Advice, advise
from studio.advice.methods import TABLE
from studio.advice.wish import Base, Pictures, Wish
from studio.errors import InvalidRequestError, JobError, MissingError, ModelNotFoundError, StorageError
from studio.jobs.lease import Lease
from studio.library.download.fetch import Arrived
from studio.library.entry import ModelEntry
from studio.library.index import Library
from studio.trainings.course import Course, Event
from studio.trainings.exports import Exporter
from studio.trainings.folder import RunFolder, purge, read_runs, restore
from studio.trainings.past import estimate
from studio.trainings.process import COMMAND, Child
from studio.trainings.results import check_free, place, step_to_place
from studio.trainings.run import GOING, PAUSED, QUEUED, RESUMABLE, RUNNING, STOPPED, Plain, Run

log = logging.getLogger("studio.training")
ORDERS = {"pause": (RUNNING, PAUSED), "go": (PAUSED,), "sample": (RUNNING,), "save": (RUNNING,)}
CHECKPOINTS = ("checkpoint", "diffusers")
STEP_PACE = 0.25  # seconds between two steps that are told
KEEP_PACE = 5.0  # seconds between two that are written to run.json
BUG = "The studio met an error of its own."
BUG_HINT = "logs/studio.log says more; please report it."


@dataclass(frozen=True, kw_only=True)
class Places:
    """What trainings need of the studio around them.

    Fields:
        runs, models, trash, cache: Folders. starter: the starter pack's.
        device: As in the settings.
        extensions, annotators: Folders that have them.
        pictures: What is known of a dataset, by name, resolution and trigger. Raises: MissingError.
        dataset: Where it lies, and the id of what is in it. Raises: MissingError.
        checkpoint: The checkpoint of a name, or the usual one for "". Raises: ModelNotFoundError.
        arrived: Called with a model that is here now; what the library says of it.
        tell: Told of every change: the event, and the name of whom it is for.
    """

    runs: Path
    models: Path
    trash: Path
    cache: Path
    starter: Path
    device: str
    extensions: Sequence[Path]
    annotators: Sequence[Path]
    pictures: Callable[[str, int, str], Pictures]
    dataset: Callable[[str], tuple[Path, str]]
    checkpoint: Callable[[str], ModelEntry]
    arrived: Callable[[Arrived], Plain | None]
    tell: Callable[[Plain, str], object]


class Trainings:
    """The runs of a studio. Every call may come from any thread and returns at once."""

    def __init__(self, places: Places, library: Library, lease: Lease, command: Sequence[str] = COMMAND) -> None:
        self.places, self.library, self.lease, self.command = places, library, lease, command
        self._changed, self._exporting = threading.Condition(), threading.Lock()
        purge(places.trash)
        self._runs = {run.id: run for run in read_runs(places.runs)}
        self._course: Course | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        self._told = self._written = 0.0

    # ---- before the start

    def methods(self, user: User) -> list[Plain]:
        """Every method in words. Raises: ForbiddenError."""
        require(user, "train")
        return [one.view() for one in TABLE]

    def advice(self, body: Mapping[str, Any], user: User) -> Plain:
        """What would be done, and why. Raises: ForbiddenError; InvalidRequestError, naming the field."""
        require(user, "train")
        advice, _ = self._advise(Wish.from_dict(body))
        warnings = [*advice.warnings, *self._name_trouble(advice)]
        known = estimate(advice.params, self._runs.values())
        return advice.view() | {"warnings": warnings, "estimate": known}

    def start(self, body: Mapping[str, Any], user: User) -> Plain:
        """Queue a run; a checkpoint that nobody has used is read first. Raises: as `advice`, and for a taken name."""
        require(user, "train")
        wish = Wish.from_dict(body)
        advice, entry = self._advise(wish)
        self._check_name(advice)
        _, dataset_id = self.places.dataset(wish.dataset)
        params = replace(advice.params, dataset_id=dataset_id, checkpoint_id=self.library.content_id(entry))
        stamp = time.strftime("%Y%m%d-%H%M%S")
        run = Run(f"{stamp}-{secrets.token_hex(3)}", time.time(), params, wish.yield_to_pictures, steps=params.steps)
        run.warnings = list(advice.warnings)
        with self._changed:
            self._check_name(advice)
            self._folder(run).write(run)
            self._runs[run.id] = run
            self._tell(run, None)
            self._begin()
            return run.view()

    # ---- runs

    def list(self, user: User) -> list[Plain]:
        """Every run, the oldest first. Raises: ForbiddenError."""
        require(user, "train")
        with self._changed:
            return [run.view() for run in self._runs.values()]

    def get(self, run_id: str, user: User) -> Plain:
        """One, with its log. Raises: MissingError."""
        run = self._run(run_id, user)
        return run.view() | {"log": self._folder(run).log()}

    def header(self, run_id: str, user: User) -> Plain:
        """What its files say of themselves. Raises: MissingError."""
        return self._folder(self._run(run_id, user)).header()

    def file(self, run_id: str, name: str, user: User) -> Path:
        """A sample picture of it. Raises: MissingError."""
        return self._folder(self._run(run_id, user)).file(name)

    def order(self, run_id: str, word: str, user: User) -> Plain:
        """Say pause, go, stop, sample, save or resume. Raises: MissingError; JobError, if its state forbids it."""
        run = self._run(run_id, user)
        with self._changed:
            if word == "resume":
                self._resume(run)
            elif word == "stop":
                self._stop(run)
            elif self._course is not None and self._course.run is run and run.state in ORDERS.get(word, ()):
                self._course.do(word)
            else:
                raise JobError(f"{run.params.name} is {run.state}.", hint=f"It cannot be told to {word[:20]} now.")
            return run.view()

    def keep(self, run_id: str, step: Any, user: User) -> Plain:
        """Make what was saved at that step its result. Raises: MissingError; JobError; StorageError."""
        run = self._run(run_id, user)
        if not isinstance(step, int) or isinstance(step, bool):
            raise InvalidRequestError("step must be a whole number.", field="step", hint="One that was saved.")
        with self._changed:
            if run.state in (*GOING, QUEUED):
                raise JobError(f"{run.params.name} is {run.state}.", hint="Stop it first, or wait for its end.")
            place(run, step, self._folder(run).path, self.places.models, self.places.arrived)
            self._keep(run)
            self._tell(run, None)
            return run.view()

    def export(self, run_id: str, layout: object, user: User) -> Sequence[Plain]:
        """Its results in another layout too: [{name, kind, layout, file, key, tensors}]. It takes some seconds.

        Raises: MissingError; JobError; InvalidRequestError, naming the layouts that there are; StudioError.
        """
        run, places = self._run(run_id, user), self.places
        exporter = Exporter(library=self.library, models=places.models, device=places.device, arrived=places.arrived)
        with self._exporting:
            return exporter.export(run, layout)

    def delete(self, run_id: str, user: User) -> Plain:
        """Move it to the trash, {id, deleted, undo}; its results stay. Raises: MissingError; JobError, while it is on
        its way; StorageError."""
        run = self._run(run_id, user)
        with self._changed:
            if run.state in GOING:
                raise JobError(f"{run.params.name} is {run.state}.", hint="Stop it first.")
            undo = self._folder(run).discard(self.places.trash)
            del self._runs[run.id]
            self._changed.notify_all()
            return {"id": run.id, "deleted": True, "undo": undo}

    def restore(self, undo: object, user: User) -> Plain:
        """Bring one back from the trash; if it was waiting, it waits again. Raises: MissingError; StorageError."""
        require(user, "train")
        with self._changed:
            run = restore(self.places.trash, undo, self.places.runs)
            self._runs = {one.id: one for one in sorted([*self._runs.values(), run], key=lambda one: one.created)}
            self._tell(run, None)
            self._begin()
            return run.view()

    def wait(self, run_id: str, user: User, timeout: float | None = None) -> Plain:
        """Its view when it has ended, or after `timeout` seconds. Raises: MissingError."""
        run = self._run(run_id, user)
        with self._changed:
            self._changed.wait_for(lambda: run.state not in (QUEUED, *GOING), timeout)
            return run.view()

    def go_on(self) -> None:
        """After a start of the studio: runs that were waiting begin."""
        with self._changed:
            self._begin()

    def close(self) -> None:
        """The studio ends: a run keeps its state, and can be resumed."""
        with self._changed:
            self._closed = True
            if self._course is not None:
                self._course.leave()
            thread = self._thread
        if thread is not None:
            thread.join()

    # ---- inside

    def _advise(self, wish: Wish) -> tuple[Advice, ModelEntry]:
        try:
            entry = self.places.checkpoint(wish.checkpoint)
        except ModelNotFoundError as error:
            raise InvalidRequestError(str(error), field="checkpoint", hint=error.hint) from error
        card = entry.card
        base = Base(
            name=entry.name,
            base=entry.base,
            native_size=card.native_size if card else 512,
            prediction_type=entry.prediction_type or (card.prediction_type if card else "epsilon"),
            known_words=card.known_words if card else (),
        )
        try:
            pictures = self.places.pictures(wish.dataset, base.native_size, wish.trigger)
        except MissingError as error:
            raise InvalidRequestError(str(error), field="dataset", hint=error.hint) from error
        return advise(wish, pictures, base), entry

    def _check_name(self, advice: Advice) -> None:
        """Raises: InvalidRequestError, if a model or a run that will make one has that name."""
        params = advice.params
        check_free(params.method, params.name, params.trigger, self.places.models)
        for run in self._runs.values():
            same = (run.params.name.casefold(), run.params.method) == (params.name.casefold(), params.method)
            if same and run.state in (QUEUED, *GOING):
                raise InvalidRequestError(
                    f"A run called {run.params.name} is {run.state} already.", field="name", hint="Give another name."
                )

    def _name_trouble(self, advice: Advice) -> Sequence[str]:
        try:
            self._check_name(advice)
        except InvalidRequestError as error:
            return [error.sentence()]
        return []

    def _run(self, run_id: str, user: User) -> Run:
        require(user, "train")
        if run_id not in self._runs:
            raise MissingError(f"There is no run {run_id[:40]}.", hint="Reload the page to see what there is.")
        return self._runs[run_id]

    def _folder(self, run: Run) -> RunFolder:
        return RunFolder(self.places.runs / run.id)

    def _resume(self, run: Run) -> None:
        if run.state not in RESUMABLE:
            raise JobError(f"{run.params.name} is {run.state}.", hint="Only a run that ended early can go on.")
        self._order(run)  # refuses now what would fail later
        if self.places.dataset(run.params.dataset)[1] != run.params.dataset_id:
            run.warn("The pictures have changed since the run began; it goes on with those of now.")
        run.again()
        self._keep(run)
        self._tell(run, None)
        self._begin()

    def _stop(self, run: Run) -> None:
        if self._course is not None and self._course.run is run:
            self._course.do("stop")
        elif run.state == QUEUED:
            run.state = STOPPED
            self._keep(run)
            self._tell(run, None)
        else:
            raise JobError(f"{run.params.name} is {run.state}.", hint="It has ended already.")

    def _order(self, run: Run) -> Plain:
        """What its process is told. Raises: ModelNotFoundError; MissingError."""
        params = run.params
        entries = [entry for entry in self.library.entries() if entry.usable]
        entry = next((one for one in entries if one.id and one.id == params.checkpoint_id), None)
        entry = entry or next(
            (one for one in entries if one.name == params.checkpoint and one.kind in CHECKPOINTS), None
        )
        if entry is None or self.library.content_id(entry) != params.checkpoint_id:
            found = "is not here any more" if entry is None else "has changed"
            raise ModelNotFoundError(
                f"The checkpoint {params.checkpoint} {found} since the run began.",
                hint="Put it back as it was, or start a new run.",
            )
        models = {params.checkpoint_id: asdict(self.library.location(entry))}
        if params.start_from:
            begin = self.library.find(params.start_from, params.method)
            models[self.library.content_id(begin)] = asdict(self.library.location(begin))
        starter = entry.base.startswith("starter")
        return {
            "models": models,
            "dataset": str(self.places.dataset(params.dataset)[0]),
            "device": self.places.device,
            "extensions": [str(folder) for folder in self.places.extensions],
            "annotators": [str(folder) for folder in self.places.annotators],
            "cache": str(self.places.cache),
            "class_pictures": str(self.places.cache / "class_pictures"),
            "pack": str(self.places.starter / "clip") if starter else "",
        }

    def _begin(self) -> None:
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._work, name="trainings", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        """The thread: the oldest that waits, until none does."""
        while True:
            with self._changed:
                run = next((run for run in self._runs.values() if run.state == QUEUED), None)
                if run is None or self._closed:
                    self._thread = None
                    return
                course = self._course = Course(
                    run=run,
                    lease=self.lease,
                    start=lambda run=run: self._start(run),
                    finish=lambda event, run=run: self._finish(run, event),
                    changed=lambda event, run=run: self._note(run, event),
                )
            try:
                course.carry_out()
            finally:  # a bug must not leave it on its way for ever; the next request starts another thread
                self._end(run)

    def _end(self, run: Run) -> None:
        with self._changed:
            self._course = None
            if run.state in GOING:
                log.error("a training met a bug", exc_info=True)
                self._thread = None
                run.fail(BUG, BUG_HINT)
                self._keep(run)
                self._tell(run, None)

    def _start(self, run: Run) -> Child:
        folder = self._folder(run)
        folder.write_order(run, self._order(run))
        processes = run.params.processes
        return Child(folder.path, device=self.places.device, command=self.command, processes=processes)

    def _finish(self, run: Run, event: Event) -> None:
        """Its process has made what it can: the best of it becomes a model."""
        run.scores, run.pace = dict(event.get("scores") or {}), event.get("pace")
        step = step_to_place(run, event)
        if step is not None:
            place(run, step, self._folder(run).path, self.places.models, self.places.arrived)

    def _note(self, run: Run, event: Event | None) -> None:
        now, with_step = time.monotonic(), event is not None and event["event"] == "step"
        with self._changed:
            if not with_step or now - self._written > KEEP_PACE:
                self._keep(run)
                self._written = now
            if not with_step or now - self._told > STEP_PACE:
                self._tell(run, event)
                self._told = now if with_step else 0.0

    def _keep(self, run: Run) -> None:
        """Write how it stands; on a full disk that is said, and it goes on."""
        try:
            self._folder(run).write(run)
        except StorageError as error:
            run.warn(error.sentence())

    def _tell(self, run: Run, event: Event | None) -> None:
        told: Plain = {"type": "training", "run": run.view()}
        self.places.tell(told | ({"event": event} if event else {}), LOCAL_USER.name)
        self._changed.notify_all()

"""Tools at work for the page: one after another, with progress, until each has ended or is stopped."""

import logging
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from studio.access import LOCAL_USER, User, require
from studio.errors import JobError, MissingError, StudioError
from studio.library.download.fetch import Arrived
from studio.library.index import Library
from studio.library.tools.order import Plan, read_plan
from studio.library.tools.process import Child, run_tool
from studio.library.tools.size import about
from studio.library.tools.table import described

log = logging.getLogger("studio.library")
Plain = dict[str, Any]
Process = Callable[[Mapping[str, Any], str, Callable[[int, int], None], Callable[[Child], None]], Plain]
QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"
KEPT = 50  # ended ones that stay in the list
BUG = "The studio met an error of its own."
FIELDS = {"file": "files", "adapters": "files", "weights": "files", "tuned": "files", "out": "name"}  # others' words


@dataclass
class Run:
    """One use of a tool. body: as it was asked for; model: the result's row in the library."""

    id: str
    plan: Plan
    body: Plain
    text: str
    state: str = QUEUED
    done: int = 0
    total: int = 0
    notes: list[str] = field(default_factory=list[str])
    error: str = ""
    hint: str = ""
    field: str = ""
    model: Plain | None = None
    child: Child | None = None

    def view(self) -> Plain:
        """As front ends show it."""
        names = ("id", "text", "state", "done", "total", "notes", "error", "hint", "field", "model")
        tool = self.plan.tool
        told = {"tool": tool.name, "label": tool.label, "kind": tool.makes, "name": self.plan.out.name}
        return told | {name: getattr(self, name) for name in names} | {"request": self.body}


class Tools:
    """What the studio's owner may make of model files.

    Args:
        models: The folder that has loras/ and checkpoints/ in it.
        device: As in the settings.
        tell: Told of every change: the event, and the name of whom it is for.
        arrived: Called with a model that is here now; what the library says of it.
    """

    def __init__(
        self,
        library: Library,
        models: Path,
        *,
        device: str,
        tell: Callable[[Plain, str], object],
        arrived: Callable[[Arrived], Plain | None],
    ) -> None:
        self.library, self.models, self.device = library, models, device
        self.process: Process = run_tool
        self._tell, self._arrived = tell, arrived
        self._changed = threading.Condition()
        self._runs: dict[str, Run] = {}
        self._thread: threading.Thread | None = None

    def table(self, user: User) -> list[Plain]:
        """Every tool with its fields. Raises: ForbiddenError."""
        require(user, "tools")
        return described()

    def plan(self, body: Mapping[str, Any], user: User) -> Plain:
        """What would come out: {text, bytes, name}. Raises: ForbiddenError; InvalidRequestError, naming the field."""
        require(user, "tools")
        plan = read_plan(body, self.library, self.models)
        text, size = about(plan)
        return {"text": text, "bytes": size, "name": plan.out.name}

    def start(self, body: Mapping[str, Any], user: User) -> Plain:
        """Queue a run; answers at once. Raises: as `plan`."""
        require(user, "tools")
        plan = read_plan(body, self.library, self.models)
        run = Run(secrets.token_hex(8), plan, dict(body), about(plan)[0])
        with self._changed:
            ended = [one.id for one in self._runs.values() if one.state not in (QUEUED, RUNNING)]
            for old in ended[: max(0, len(ended) - KEPT + 1)]:
                del self._runs[old]
            self._runs[run.id] = run
            self._set(run, state=QUEUED)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="tools", daemon=True)
                self._thread.start()
            return run.view()

    def list(self, user: User) -> list[Plain]:
        """Every run, newest last. Raises: ForbiddenError."""
        require(user, "tools")
        with self._changed:
            return [run.view() for run in self._runs.values()]

    def cancel(self, run_id: str, user: User) -> Plain:
        """Stop it; nothing of its result stays. Nothing happens to one that has ended. Raises: MissingError."""
        with self._changed:
            run = self._run(run_id, user)
            self._stop(run)
            return run.view()

    def forget(self, run_id: str, user: User) -> None:
        """Take an ended one off the list; its result stays. Raises: MissingError; JobError, if it has not ended."""
        with self._changed:
            run = self._run(run_id, user)
            if run.state in (QUEUED, RUNNING):
                raise JobError(f"{run.plan.out.name} is being made.", hint="Cancel it first.")
            del self._runs[run_id]

    def wait(self, run_id: str, user: User, timeout: float | None = None) -> Plain:
        """Its view when it has ended, or after `timeout` seconds. Raises: MissingError."""
        with self._changed:
            run = self._run(run_id, user)
            self._changed.wait_for(lambda: run.state not in (QUEUED, RUNNING), timeout)
            return run.view()

    def close(self) -> None:
        """Stop all of them, and wait a moment for the thread."""
        with self._changed:
            for run in self._runs.values():
                self._stop(run)
            thread = self._thread
        if thread is not None:
            thread.join(5.0)

    def _run(self, run_id: str, user: User) -> Run:
        require(user, "tools")
        if run_id not in self._runs:
            raise MissingError(f"There is no run {run_id[:40]}.", hint="Reload the page to see what there is.")
        return self._runs[run_id]

    def _stop(self, run: Run) -> None:
        if run.state in (QUEUED, RUNNING):
            self._set(run, state=CANCELLED)
            if run.child is not None:
                run.child.terminate()

    def _work(self) -> None:
        """The thread: the oldest that waits, until none does."""
        while True:
            with self._changed:
                run = next((run for run in self._runs.values() if run.state == QUEUED), None)
                if run is None:
                    self._thread = None
                    return
                self._set(run, state=RUNNING)
            try:
                self._carry_out(run)
            finally:  # a bug must not leave it running for ever; the next request starts another thread
                with self._changed:
                    if run.state == RUNNING:
                        log.error("a tool met a bug", exc_info=True)
                        self._thread = None
                        self._set(run, state=FAILED, error=BUG, hint="logs/studio.log says more; please report it.")

    def _carry_out(self, run: Run) -> None:
        def told(done: int, total: int) -> None:
            with self._changed:
                if run.state == RUNNING:
                    self._set(run, done=done, total=total)

        def began(child: Child) -> None:
            with self._changed:
                run.child = child
                if run.state != RUNNING:
                    child.terminate()

        try:
            said = self.process(run.plan.order(), self.device, told, began)
            if "path" in said:  # it is here, even if somebody stopped it a moment ago
                model = self._arrived(Arrived(path=run.plan.out, kind=run.plan.tool.makes, hashes={}))
                self._end(run, DONE, notes=said["notes"], model=model)
            else:
                self._fail(run, said["error"], said["hint"], said.get("field", ""))
        except StudioError as error:
            self._fail(run, str(error), error.hint)

    def _fail(self, run: Run, error: str, hint: str, field: str = "") -> None:
        with self._changed:
            if run.state == RUNNING:  # else it was stopped, and has no more to say
                self._end(run, FAILED, error=error, hint=hint, field=FIELDS.get(field, field))

    def _end(self, run: Run, state: str, **changes: Any) -> None:
        with self._changed:
            run.child = None
            self._set(run, state=state, **changes)

    def _set(self, run: Run, **changes: Any) -> None:
        for name, value in changes.items():
            setattr(run, name, value)
        self._tell({"type": "tool", **run.view()}, LOCAL_USER.name)
        self._changed.notify_all()

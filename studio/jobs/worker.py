"""The process seam: one thread owns the worker process, gives it one job at a time and tells how it goes."""

import base64
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from studio.errors import StudioError, WorkerError
from studio.jobs.events import Events
from studio.jobs.queue import Job, JobQueue
from studio.messages import (
    Cancel,
    Cancelled,
    Failed,
    Free,
    Generate,
    Hello,
    ModelLocation,
    Prefetch,
    Preview,
    Progress,
    Ready,
    Residency,
    Resident,
    Result,
    Shutdown,
)
from studio.params import GenerationParams

log = logging.getLogger("studio.jobs")
AGAIN = "Started again: the generation process ended."
STARTS, BACK_OFF, STOP_SECONDS = 3, 1.0, 5.0


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """What the dispatcher is given, since it knows no torch, no library and no gallery.

    Fields:
        start_worker: The target of the worker process; takes its end of the pipe. A top-level function.
        hello: The first message to each worker.
        locate: The models that params name, by content id. May raise StudioError.
        save: Keeps the pictures of a result; their gallery ids. May raise StudioError.
        view: A job as plain values for front ends.
    """

    start_worker: Callable[[Connection], None]
    hello: Hello
    locate: Callable[[GenerationParams], dict[str, ModelLocation]]
    save: Callable[[Job, Result], tuple[int, ...]]
    view: Callable[[Job], dict[str, Any]]
    preview_every: int = 1


@dataclass
class _State:
    """What the thread knows of its worker. state: off, starting, ready, busy, restarting or failed."""

    state: str = "off"
    ready: Ready | None = None
    reason: str = ""
    running: Job | None = None
    prefetch: Prefetch | None = None
    failures: int = 0
    answers: list["queue.SimpleQueue[Resident]"] = field(default_factory=list["queue.SimpleQueue[Resident]"])


class Dispatcher:
    """Runs the queue. Public calls may come from any thread and return at once; the worker is reached by one thread."""

    def __init__(self, jobs: JobQueue, events: Events, wiring: Wiring) -> None:
        self.jobs, self.events, self.wiring = jobs, events, wiring
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._wake_in, self._wake_out = get_context("spawn").Pipe(duplex=False)
        self._wake_lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None
        self._state = _State()
        self._stopping = False

    # ---- for every thread

    def start(self) -> None:
        """Queue again what was interrupted, then start the thread and its worker."""
        for job in self.jobs.recover():
            log.warning("job %s: %s", job.id, job.note or job.error)
        self._thread.start()

    def stop(self) -> None:
        """End the worker; a job that runs is queued again at the next start."""
        self._stopping = True
        self.wake()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS * 2)

    def wake(self) -> None:
        """Look at the queue now."""
        with self._wake_lock:
            if not self._wake_in.poll():
                self._wake_out.send_bytes(b"!")

    def cancel(self, job_id: str) -> None:
        """Cancel a job: at once if it waits, at its next step if it runs; one that has ended is left as it is."""
        if self.jobs.cancel_queued(job_id):
            self._announce(job_id)
            self.announce_queue()
        else:
            self._order(lambda: self._cancel_running(job_id))

    def prefetch(self, checkpoint: ModelLocation, controls: tuple[ModelLocation, ...] = ()) -> None:
        """Warm these models up when there is nothing else to do."""

        def note() -> None:
            self._state.prefetch = Prefetch(checkpoint, controls)

        self._order(note)

    def residency(self, timeout: float) -> Resident | None:
        """What the worker holds in memory; None if it does not answer in `timeout` seconds."""
        return self._ask(Residency(), timeout)

    def free(self, timeout: float = 30.0) -> Resident | None:
        """Unload every model."""
        return self._ask(Free(), timeout)

    def worker_status(self) -> dict[str, Any]:
        """Plain values: state, reason, and what the worker said of itself."""
        facts = {} if self._state.ready is None else asdict(self._state.ready)
        return {"state": self._state.state, "reason": self._state.reason, **facts}

    def announce(self, job: Job) -> None:
        """Tell everybody who may know how the job stands."""
        self.events.publish({"type": "job", "job": self.wiring.view(job)}, job.owner)

    def announce_queue(self) -> None:
        """Tell everybody how many jobs wait."""
        self.events.publish({"type": "queue", "waiting": self.jobs.count_waiting()})

    def worker_pid(self) -> int | None:
        """The process id of the worker, for tests and for `doctor`."""
        return None if self._process is None else self._process.pid

    # ---- the thread

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._turn()
            except Exception:
                log.exception("the dispatcher met a bug and goes on")
                time.sleep(BACK_OFF)
        self._end_worker()

    def _turn(self) -> None:
        if self._connection is None and self._state.state != "failed":
            self._start_worker()
        sources = [self._wake_in, *([self._connection] if self._connection else [])]
        for source in wait(sources, timeout=1.0):
            if source is self._wake_in:
                with self._wake_lock:
                    self._wake_in.recv_bytes()
                self._obey()
            else:
                self._hear()
        self._next()

    def _obey(self) -> None:
        if self._state.state == "failed" and not self._stopping and self.jobs.count_waiting():
            self._state = _State()
        while not self._commands.empty():
            self._commands.get()()

    def _hear(self) -> None:
        assert self._connection is not None
        try:
            message = self._connection.recv()
        except (EOFError, OSError):
            self._worker_died()
            return
        self._handle(message)

    def _next(self) -> None:
        state = self._state
        if state.state != "ready" or self._connection is None:
            return
        job = self.jobs.claim()
        if job is not None:
            self._give(job)
        elif state.prefetch is not None:
            self._send(state.prefetch)
            state.prefetch = None

    def _give(self, job: Job) -> None:
        self._state.running = job
        self._set_state("busy")
        self.announce(job)
        self.announce_queue()
        try:
            params = GenerationParams.from_dict(job.params)
            models = self.wiring.locate(params)
        except StudioError as error:
            self._fail(job, str(error), error.hint)
            return
        self._send(Generate(job.id, params, models, self.wiring.preview_every))

    def _handle(self, message: object) -> None:
        job = self._state.running
        match message:
            case Ready():
                self._state.ready, self._state.failures = message, 0
                self._set_state("ready")
            case Resident():
                for answer in self._state.answers:
                    answer.put(message)
                self._state.answers.clear()
            case Progress() if job is not None:
                self.events.publish({"type": "progress", **asdict(message)}, job.owner)
            case Preview() if job is not None:
                url = "data:image/jpeg;base64," + base64.b64encode(message.jpeg).decode()
                event = {"type": "preview", "job_id": message.job_id, "step": message.step, "url": url}
                self.events.publish(event, job.owner)
            case Result() if job is not None:
                self._save(job, message)
            case Cancelled() if job is not None:
                self.jobs.set_cancelled(job.id)
                self._done(job)
            case Failed() if job is not None:
                log.error("job %s failed: %s\n%s", job.id, message.message, message.detail)
                self._fail(job, message.message, message.hint)
            case _:
                log.warning("the worker said %s, which nobody waits for", type(message).__name__)

    def _save(self, job: Job, result: Result) -> None:
        try:
            ids = self.wiring.save(job, result)
        except StudioError as error:
            self._fail(job, str(error), error.hint)
            return
        self.jobs.finish(job.id, ids, (*job.warnings, *result.warnings), result.seconds)
        self._done(job)

    def _fail(self, job: Job, message: str, hint: str) -> None:
        self.jobs.fail(job.id, message, hint)
        self._done(job)

    def _done(self, job: Job) -> None:
        self._state.running = None
        self._announce(job.id)
        if self._state.state == "busy":
            self._set_state("ready")

    def _announce(self, job_id: str) -> None:
        self.announce(self.jobs.required(job_id))

    # ---- the worker process

    def _start_worker(self) -> None:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        self._process = context.Process(
            target=self.wiring.start_worker, args=(theirs,), name="studio-worker", daemon=True
        )
        self._set_state("restarting" if self._state.failures else "starting")
        self._process.start()
        theirs.close()
        self._connection = ours
        self._send(self.wiring.hello)

    def _worker_died(self) -> None:
        assert self._process is not None
        self._process.join(STOP_SECONDS)
        code = self._process.exitcode
        log.error("the worker ended with status %s", code)
        self._connection, job = None, self._state.running
        was_ready = self._state.ready is not None
        self._state = _State(
            state="restarting", failures=0 if was_ready else self._state.failures + 1, prefetch=self._state.prefetch
        )
        if job is not None and not self.jobs.requeue(job.id, AGAIN):
            self.jobs.fail(job.id, "The generation process ended twice while it made this picture.", WorkerError.hint)
        if job is not None:
            self._announce(job.id)
        if self._state.failures >= STARTS:
            self._state.reason = f"The generation process cannot start (status {code}); logs/studio.log has the reason."
            self._set_state("failed")
            self.events.warn(self._state.reason)
        elif self._state.failures:
            time.sleep(BACK_OFF * self._state.failures)

    def _end_worker(self) -> None:
        if self._process is None:
            return
        self._send(Shutdown())
        self._process.join(STOP_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join(STOP_SECONDS)
        if self._connection is not None:
            self._connection.close()
        self._set_state("off")

    def _send(self, message: object) -> None:
        if self._connection is None:
            return
        try:
            self._connection.send(message)
        except (BrokenPipeError, OSError):
            log.warning("the worker is gone; %s was not delivered", type(message).__name__)

    def _cancel_running(self, job_id: str) -> None:
        if self._state.running is not None and self._state.running.id == job_id:
            self._send(Cancel(job_id))

    def _ask(self, message: object, timeout: float) -> Resident | None:
        answer: queue.SimpleQueue[Resident] = queue.SimpleQueue()

        def ask() -> None:
            self._state.answers.append(answer)
            self._send(message)

        self._order(ask)
        try:
            return answer.get(timeout=timeout)
        except queue.Empty:
            return None

    def _order(self, command: Callable[[], None]) -> None:
        self._commands.put(command)
        self.wake()

    def _set_state(self, state: str) -> None:
        self._state.state = state
        self.events.publish({"type": "worker", **self.worker_status()})

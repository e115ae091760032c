"""The process seam: one thread owns the worker process, gives it one job at a time and tells how it goes."""

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import wait
from typing import Any

from studio.access import LOCAL_USER
from studio.errors import StorageError, StudioError, WorkerError
from studio.jobs.events import Events
from studio.jobs.handle import STOP_SECONDS, WorkerHandle
from studio.jobs.maps import Maps
from studio.jobs.queue import Job, JobQueue
from studio.jobs.wiring import State, Wiring, event_of
from studio.messages import (
    Annotate,
    Annotated,
    Cancel,
    Cancelled,
    Failed,
    Free,
    Generate,
    Identified,
    Identify,
    Loading,
    Prefetch,
    Preview,
    Progress,
    Ready,
    Residency,
    Resident,
    Result,
    Tokenize,
    Tokenized,
)
from studio.params import GenerationParams

log = logging.getLogger("studio.jobs")
AGAIN = "Started again: the generation process ended."
BUG = "The studio met an error that it did not expect."
BUG_HINT = "Try the job again; logs/studio.log has the details."
GONE = "The generation process ended before it could answer."
STARTS, BACK_OFF = 3, 1.0


class Dispatcher:
    """Runs the queue. Public calls may come from any thread and return at once; the worker is reached by one thread."""

    def __init__(self, jobs: JobQueue, events: Events, wiring: Wiring) -> None:
        self.jobs, self.events, self.wiring = jobs, events, wiring
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._wake_in, self._wake_out = get_context("spawn").Pipe(duplex=False)
        self._wake_lock, self._woken = threading.Lock(), False
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)
        self._worker: WorkerHandle | None = None
        self._started, self._telling = False, threading.Lock()
        self._state, self._maps = State(), Maps()
        self._stop, self._trouble = threading.Event(), ""

    # ---- for every thread

    def start(self) -> None:
        """Queue again what was interrupted, then start the thread and its worker."""
        for job in self.jobs.recover():
            log.warning("job %s: %s", job.id, job.note or job.error)
        self.wiring.lease.serve(self._nudge)
        self._thread.start()

    def stop(self) -> None:
        """End the worker; a job that runs is put back into the queue, for the next start."""
        self._stop.set()
        self._nudge()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS * 4)

    def wake(self) -> None:
        """Look at the queue now; a worker that could not start is tried once more."""
        self._order(self._try_again)

    def cancel(self, job_id: str) -> None:
        """Cancel a job: at once if it waits, at its next step if it runs; one that has ended is left as it is."""
        if self.jobs.cancel_queued(job_id):
            self._tell_cancelled(job_id)
        else:
            self._order(lambda: self._cancel_running(job_id))

    def prefetch(self, models: Prefetch) -> None:
        """Warm these models up when there is nothing else to do."""

        def note() -> None:
            self._state.prefetch = models
            self._next()

        self._order(note)

    def identify(self, path: str, mark: str) -> None:
        """Ask what a file is, if there is a worker now; what it says goes to the wiring's `identified`."""

        def ask() -> None:
            if self._state.state in ("ready", "busy"):
                self._send(Identify(path, mark))

        self._order(ask)

    def annotate(self, question: Annotate, owner: str) -> Annotated:
        """Have a map made, and wait for it. Raises: InvalidRequestError, JobError, WorkerError."""
        return self._answer(question, owner)

    def tokenize(self, question: Tokenize, owner: str) -> Tokenized:
        """Have a prompt read, and wait for it. Raises: InvalidRequestError, JobError, WorkerError."""
        return self._answer(question, owner)

    def _answer(self, question: Annotate | Tokenize, owner: str) -> Any:
        if not self._thread.is_alive() or self._state.state == "failed":
            raise WorkerError(self._state.reason or "The generation process does not run.")
        asked = self._maps.ask(question, owner)
        self._order(lambda: self._send(question) if self._worker else self._maps.give_up(GONE))
        return self._maps.wait(asked)

    def residency(self, timeout: float) -> Resident | None:
        """What the worker holds in memory; what it said last, if it is busy or silent for `timeout` seconds."""
        return self._ask(Residency(), timeout) or self._state.held

    def free(self, timeout: float = 30.0) -> Resident | None:
        """Unload every model."""
        return self._ask(Free(), timeout)

    def worker_status(self) -> dict[str, Any]:
        """Plain values: state, reason, and what the worker said of itself."""
        facts = {} if self._state.ready is None else asdict(self._state.ready)
        return {"state": self._state.state, "reason": self._state.reason, **facts}

    def announce(self, job: Job) -> None:
        """Tell everybody who may know how the job stands by now, whatever was known when this was asked."""
        with self._telling:
            now = self.jobs.get(job.id) or job
            self.events.publish({"type": "job", "job": self.wiring.view(now)}, job.owner)

    def announce_queue(self) -> None:
        """Tell everybody how many jobs wait, and for what."""
        waits_for = self.wiring.lease.reason
        self.events.publish({"type": "queue", "waiting": self.jobs.count_waiting(), "waits_for": waits_for})

    def worker_pid(self) -> int | None:
        """The process id of the worker, for tests and for `doctor`."""
        return None if self._worker is None else self._worker.pid

    # ---- the thread

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._turn()
                self._trouble = ""
            except StorageError as error:  # the disk is full: everything is tried again until there is room
                self._tell_trouble(error)
                self._stop.wait(BACK_OFF)
            except Exception:
                log.exception("the dispatcher met a bug and goes on")
                self._give_up_job()
                self._stop.wait(BACK_OFF)
        self._end_worker()

    def _turn(self) -> None:
        self._write_ending()
        if self._worker is None and self._state.state != "failed":
            self._start_worker()
        worker = self._worker
        found = wait([self._wake_in, *([worker.connection, worker.sentinel] if worker else [])], timeout=1.0)
        if self._wake_in in found:
            self._obey()
        if worker is not None and worker.connection in found:
            self._hear(worker)
        elif worker is not None and worker.sentinel in found:
            self._worker_died(worker)
        self._next()

    def _obey(self) -> None:
        with self._wake_lock:
            self._wake_in.recv_bytes()
            self._woken = False
        while not self._commands.empty():
            self._commands.get()()

    def _try_again(self) -> None:
        if self._state.state == "failed" and self.jobs.count_waiting():
            self._state = State(prefetch=self._state.prefetch)
            self.wiring.lease.serve(self._nudge)

    def _hear(self, worker: WorkerHandle) -> None:
        try:
            message = worker.receive()
        except (EOFError, OSError):
            self._worker_died(worker)
            return
        if message is not None:
            self._handle(message)

    def _next(self) -> None:
        state = self._state
        if state.state != "ready" or self._worker is None:
            return
        if self.wiring.lease.keeps_back(self.jobs.count_waiting, self._send):
            return
        job = self.jobs.claim()
        if job is not None:
            self._give(job)
        elif state.prefetch is not None:
            self._send(state.prefetch)
            state.prefetch = None

    def _give(self, job: Job) -> None:
        self._state.running, self._state.cancelled = job, False
        self._state.prefetch = None  # the job loads what it needs, and that stays loaded
        self._set_state("busy")
        self.announce(job)
        self.announce_queue()
        try:
            params = GenerationParams.from_dict(job.params)
            models = self.wiring.locate(params)
        except StudioError as error:
            self._fail(job, str(error), error.hint)
            return
        self._send(Generate(job.id, params, models, self.wiring.preview_every, self.wiring.turbo))

    def _handle(self, message: object) -> None:
        job = self._state.running
        if job is None or getattr(message, "job_id", job.id) != job.id:
            job = None  # the last words on a job that was given up
        match message:
            case Ready():
                self._state.ready, self._state.failures = message, 0
                self._set_state("ready")
            case Resident():
                self._state.keep(message)
                self.wiring.lease.heard(message)
                self.events.publish({"type": "resident", **asdict(message)}, LOCAL_USER.name)
            case Loading():
                self.events.publish({"type": "loading", **asdict(message)}, LOCAL_USER.name)
            case Identified():
                if key := self.wiring.identified(message):
                    self.events.publish({"type": "model", "key": key}, LOCAL_USER.name)
            case Annotated() | Tokenized():
                self._maps.heard(message)
            case Progress() | Preview() if job is not None:
                self.events.publish(event_of(message), job.owner)
            case Result() if job is not None:
                self._save(job, message)
            case Cancelled() if job is not None:
                self._end(lambda: self.jobs.set_cancelled(job.id))
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
        warnings = (*job.warnings, *result.warnings)
        if result.costs:
            self.events.publish({"type": "costs", "costs": result.costs}, job.owner)
        self._end(lambda: self.jobs.finish(job.id, ids, warnings, result.seconds))

    def _fail(self, job: Job, message: str, hint: str) -> None:
        self._end(lambda: self.jobs.fail(job.id, message, hint))

    def _end(self, ending: Callable[[], object]) -> None:
        self._state.ending = ending
        self._write_ending()

    def _write_ending(self) -> None:
        """Write how the running job ended and tell it. Raises: StorageError; then the next turn tries it again."""
        state = self._state
        if state.ending is None or state.running is None:
            return
        state.ending()
        job, state.running, state.ending = state.running, None, None
        if state.state == "busy":
            self._set_state("ready")
        self.announce(job)

    def _give_up_job(self) -> None:
        job = self._state.running
        if job is not None and self._state.ending is None:
            self._send(Cancel(job.id))
            self._state.ending = lambda: self.jobs.fail(job.id, BUG, BUG_HINT)

    def _tell_trouble(self, error: StorageError) -> None:
        if self._trouble != str(error):
            self._trouble = str(error)
            log.error("%s", error)
            self.events.warn(error.sentence())

    def _tell_cancelled(self, job_id: str) -> None:
        self.announce(self.jobs.required(job_id))
        self.announce_queue()

    def _start_worker(self) -> None:
        self._set_state("restarting" if self._started else "starting")
        self._started = True
        try:
            self._worker = WorkerHandle(self.wiring.start_worker)
        except OSError as error:
            self._not_started(str(error))
            return
        self._send(self.wiring.hello)

    def _worker_died(self, worker: WorkerHandle) -> None:
        status, old = worker.bury(), self._state
        self._worker = None
        self.wiring.lease.worker_gone()
        self._maps.give_up(GONE)
        log.error("the worker ended with status %s", status)
        self._state = replace(old, state="restarting", reason="", ready=None, failures=0, answers=[])
        if old.ready is None:
            self._state.failures = old.failures
            self._not_started(f"status {status}")
        if old.running is not None and old.ending is None:
            self._end(partial(self._after_death, old.running))

    def _after_death(self, job: Job) -> None:
        if self._state.cancelled:
            self.jobs.set_cancelled(job.id)
        elif not self.jobs.requeue(job.id, AGAIN):
            self.jobs.fail(job.id, "The generation process ended twice while it made this picture.", WorkerError.hint)

    def _not_started(self, why: str) -> None:
        self._state.failures += 1
        log.error("the worker was not ready: %s", why)
        if self._state.failures < STARTS:
            self._stop.wait(BACK_OFF * self._state.failures)
            return
        self._state.reason = f"The generation process cannot start ({why}); logs/studio.log has the reason."
        self._set_state("failed")
        self.wiring.lease.serve(None)
        self.events.warn(self._state.reason)

    def _end_worker(self) -> None:
        if self._state.running is not None and self._state.ending is None:
            self._state.ending = partial(self.jobs.put_back, self._state.running.id)
        try:
            self._write_ending()
        except StorageError as error:
            self._tell_trouble(error)
        if self._worker is not None:
            self._worker.end()
            self._worker = None
        self._maps.give_up(GONE)
        self.wiring.lease.serve(None)
        self._set_state("off")

    def _send(self, message: object) -> None:
        if self._worker is not None:
            self._worker.send(message)

    def _cancel_running(self, job_id: str) -> None:
        if self._state.running is not None and self._state.running.id == job_id:
            self._state.cancelled = True
            self._send(Cancel(job_id))
        elif self.jobs.cancel_queued(job_id):  # it was queued again meanwhile
            self._tell_cancelled(job_id)

    def _ask(self, message: object, timeout: float) -> Resident | None:
        if self._state.state != "ready":
            return None
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
        self._nudge()

    def _nudge(self) -> None:
        with self._wake_lock:
            if not self._woken:
                self._woken = True
                self._wake_out.send_bytes(b"!")

    def _set_state(self, state: str) -> None:
        self._state.state = state
        self.events.publish({"type": "worker", **self.worker_status()})

"""What the dispatcher is given, and what it knows of its worker."""

import base64
import queue
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from studio.jobs.lease import Lease
from studio.jobs.queue import Job
from studio.messages import Hello, Identified, ModelLocation, Prefetch, Preview, Progress, Ready, Resident, Result
from studio.params import GenerationParams


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """What the dispatcher is given, since it knows no torch, no library and no gallery.

    Fields:
        start_worker: The target of the worker process; takes its end of the pipe. A top-level function.
        hello: The first message to each worker.
        locate: The models that params name, by content id. May raise StudioError.
        save: Keeps the pictures of a result; their gallery ids. May raise StudioError.
        identified: Keeps what the worker found out about a model; its key, or "" if there is nothing new.
        view: A job as plain values for front ends.
        lease: Lends the device to training, when somebody asks.
    """

    start_worker: Callable[[Connection], None]
    hello: Hello
    locate: Callable[[GenerationParams], dict[str, ModelLocation]]
    save: Callable[[Job, Result], tuple[int, ...]]
    view: Callable[[Job], dict[str, Any]]
    identified: Callable[[Identified], str] = lambda _: ""
    preview_every: int = 1
    turbo: bool = False
    lease: Lease = field(default_factory=Lease)


@dataclass
class State:
    """What the thread knows of its worker.

    Fields:
        state: off, starting, ready, busy, restarting or failed.
        ending: How the running job ended, to be written; kept until the disk takes it.
        cancelled: Whether somebody asked to stop the running job.
        failures: Starts in a row after which the worker was never ready.
        held: What the worker said last of its memory.
    """

    state: str = "off"
    ready: Ready | None = None
    reason: str = ""
    running: Job | None = None
    ending: Callable[[], object] | None = None
    cancelled: bool = False
    prefetch: Prefetch | None = None
    failures: int = 0
    held: Resident | None = None
    answers: list["queue.SimpleQueue[Resident]"] = field(default_factory=list["queue.SimpleQueue[Resident]"])

    def keep(self, resident: Resident) -> None:
        """What the worker holds now, for those who asked, too."""
        self.held = resident
        for answer in self.answers:
            answer.put(resident)
        self.answers.clear()


def event_of(message: Progress | Preview) -> dict[str, Any]:
    """How far a job is, as front ends are told of it; a preview as the address of its bytes."""
    if isinstance(message, Progress):
        return {"type": "progress", **asdict(message)}
    url = "data:image/jpeg;base64," + base64.b64encode(message.jpeg).decode()
    return {"type": "preview", "job_id": message.job_id, "step": message.step, "url": url}

"""The worker: takes messages from the web process, runs one job at a time, and hears `Cancel` between two steps."""

import logging
import os
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
from PIL import Image

from studio.errors import AssetError, OutOfMemoryError, StudioError
from studio.importing import uncollected
from studio.messages import (
    Annotate,
    Cancel,
    Cancelled,
    Failed,
    Free,
    Generate,
    Hello,
    Identified,
    Identify,
    Loading,
    ModelLocation,
    Prefetch,
    Preview,
    Progress,
    RawImage,
    Ready,
    Residency,
    Resident,
    Result,
    Shutdown,
    Tokenize,
)
from studio.params import GenerationParams, asset_path
from studio.worker.lines import relay

log = logging.getLogger("studio.worker")
BUGS = (RuntimeError, ValueError, TypeError, KeyError, AttributeError, OSError, ArithmeticError, MemoryError)
BUG = "The picture could not be made: an error that the studio did not expect."


def main(connection: Connection) -> None:
    """Serve until the pipe closes or `Shutdown` comes: the worker never outlives the web process."""
    hello = connection.recv()
    assert isinstance(hello, Hello)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    inbox = Inbox(connection)
    with uncollected():
        from studio.engine.readahead import ReadAhead

    inbox.selected = ReadAhead().begin
    threading.Thread(target=inbox.receive, name="inbox", daemon=True).start()
    worker = _Worker(connection, inbox, hello)
    relay(worker.say)
    worker.say(worker.ready())
    while (message := inbox.next()) is not None:
        worker.handle(message)


@dataclass
class Inbox:
    """Messages in order; cancelled job ids and stale prefetches are taken out as they arrive.

    selected: called in the receiving thread with the checkpoint of a prefetch, which may have to wait for a job.
    """

    connection: Connection
    selected: Callable[[ModelLocation], None] = field(default=lambda _location: None)
    messages: deque[object] = field(default_factory=deque)
    cancelled: set[str] = field(default_factory=set)
    closed: bool = False
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def receive(self) -> None:
        """Read the pipe until it closes. Runs in a thread of its own."""
        while not self.closed:
            try:
                message = self.connection.recv()
            except (EOFError, OSError):
                message = Shutdown()
            with self.arrived:
                match message:
                    case Shutdown():
                        self.closed = True
                    case Cancel():
                        self.cancelled.add(message.job_id)
                    case Prefetch():
                        self.messages = deque(m for m in self.messages if not isinstance(m, Prefetch))
                        self.messages.append(message)
                        self.selected(message.checkpoint)
                    case Annotate() | Tokenize() if message.page:
                        self.messages = deque(m for m in self.messages if not is_older(m, message))
                        self.messages.append(message)
                    case Identify() if message in self.messages:
                        pass  # asked again before it was answered
                    case _:
                        self.messages.append(message)
                self.arrived.notify_all()

    def put(self, message: object) -> None:
        """Add a message of our own."""
        with self.arrived:
            self.messages.append(message)
            self.arrived.notify_all()

    def next(self) -> object | None:
        """Wait for the next message; None when there will be no more."""
        with self.arrived:
            self.arrived.wait_for(lambda: self.messages or self.closed)
            return None if self.closed else self.messages.popleft()

    def next_question(self) -> Annotate | Tokenize | None:
        """The first question for a map or a prompt, ahead of all else that waits; None if there is none."""
        with self.arrived:
            found = next((message for message in self.messages if isinstance(message, Annotate | Tokenize)), None)
            if found is not None:
                self.messages.remove(found)
            return found

    def wants(self) -> bool:
        """Whether a job waits, so that a warm-up should end."""
        return self.closed or any(isinstance(message, Generate) for message in self.messages)


def is_older(message: object, newer: Annotate | Tokenize) -> bool:
    """Whether it is an earlier question of the same sort and page."""
    return isinstance(message, type(newer)) and message.page == newer.page


@dataclass(frozen=True)
class Tend:
    """What turbo prepared can be taken in."""


class _Worker:
    """The engine with its messages."""

    def __init__(self, connection: Connection, inbox: Inbox, hello: Hello) -> None:
        with uncollected():
            import torch

            from studio.control.weights import Weights
            from studio.engine.generate import Engine
            from studio.engine.precision import choose_device
            from studio.engine.probe import measured
            from studio.engine.store import Store
            from studio.engine.turbo import Turbo
            from studio.engine.working_sets import WorkingSets
            from studio.library.annotators import AnnotatorFiles
            from studio.registry import load_registry

        self.connection, self.inbox, self.assets = connection, inbox, Path(hello.assets)
        self.sending = threading.Lock()
        device = choose_device(hello.device)
        if device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(os.cpu_count() or 1)
        cache = Path(hello.cache) if hello.cache else None
        self.precision, kernel = measured(hello.precision, device, cache)
        peaks = WorkingSets(cache / "working_sets.json" if cache else None)
        self.store = Store(device, self.precision.dtype, kernel.name, working_sets=peaks)
        self.turbo = Turbo(device, on_prepared=lambda: inbox.put(Tend()))
        registry = load_registry([Path(folder) for folder in hello.extensions])
        self.annotators = registry.annotators
        self.weights = Weights(AnnotatorFiles(tuple(map(Path, hello.annotators))), str(device))
        self.engine = Engine(store=self.store, schedulers=registry.schedulers, load_image=self.load_image)

    def ready(self) -> Ready:
        """Who we are."""
        import diffusers
        import torch
        import transformers

        device = self.store.device
        named = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()
        versions = {"torch": str(torch.__version__), "diffusers": diffusers.__version__}
        versions["transformers"] = transformers.__version__
        gpus = torch.cuda.device_count()
        return Ready(str(device), named, self.precision.name, self.store.kernel, versions, gpus)

    def say(self, message: object) -> None:
        """Send; a pipe that is closed ends the worker at its next turn."""
        with self.sending:
            try:
                self.connection.send(message)
            except (BrokenPipeError, OSError):
                self.inbox.closed = True

    def handle(self, message: object) -> None:
        """Obey one message."""
        match message:
            case Generate():
                self.answer(message.job_id, lambda: self.generate(message))
                self.say(self.resident())
                self.turbo.tend(self.wanted)
            case Tend():
                self.turbo.tend(self.wanted)
            case Prefetch():
                self.prefetch(message)
                self.say(self.resident())
            case Identify():
                self.say(identify(message))
            case Annotate() | Tokenize():
                self.answer_question(message)
            case Residency():
                self.say(self.resident())
            case Free():
                self.store.free()
                self.weights.forget()
                self.say(self.resident())
            case _:
                log.warning("unknown message %s", type(message).__name__)

    def answer(self, job_id: str, run: Callable[[], object]) -> None:
        """Run a job and say how it ended; whatever happens, the worker goes on."""
        import torch

        from studio.engine.generate import CancelledError

        try:
            self.say(run())
        except CancelledError:
            self.say(Cancelled(job_id))
        except StudioError as error:
            self.say(Failed(job_id, str(error), error.hint, traceback.format_exc()))
        except (MemoryError, torch.OutOfMemoryError):
            self.store.free()
            error = OutOfMemoryError("There was not enough memory for this picture.")
            self.say(Failed(job_id, str(error), error.hint, traceback.format_exc()))
        except BUGS as bug:
            reason = f"{BUG} ({type(bug).__name__}: {bug})"
            self.say(Failed(job_id, reason[:500], "logs/studio.log has the details.", traceback.format_exc()))
        finally:
            self.inbox.cancelled.discard(job_id)

    def generate(self, message: Generate) -> Result:
        """Run the engine, telling each step."""
        watch = _Reporter(self, message)
        self.engine.turbo = self.turbo if message.turbo else None
        made = self.engine.generate(message.params, message.models, watch.watch())
        images = tuple(
            RawImage(picture.shape[1], picture.shape[0], picture.tobytes(), seed)
            for picture, seed in zip(made.pictures, made.seeds, strict=True)
        )
        return Result(message.job_id, images, made.seconds, tuple(made.warnings), made.costs)

    def prefetch(self, message: Prefetch) -> None:
        """Load, then run two small steps, so that the first picture isn't the slow one. A waiting job ends it."""
        from studio.engine.generate import CancelledError, Watch

        def stop_for_jobs(*_ignored: object) -> None:
            if self.wanted():
                raise CancelledError

        name, started = message.checkpoint.name, time.perf_counter()
        self.say(Loading(name, "loading"))
        try:
            self.store.checkpoint(message.checkpoint, message.vae)
            for control in message.controls:
                self.store.control(control)
            self.say(Loading(name, "ready", round(time.perf_counter() - started, 3)))
            card = message.checkpoint.card
            side = min(512, int(card.get("native_size", 512)))
            params = GenerationParams(
                prompt="",
                checkpoint=name,
                checkpoint_id=message.checkpoint.id,
                vae_id=message.vae.id if message.vae else "",
                width=side,
                height=side,
                num_inference_steps=2,
                guidance_scale=5.0,
                scheduler="dpmpp_2m",
                seed=0,
            )
            models = {place.id: place for place in (message.checkpoint, message.vae) if place is not None}
            self.engine.generate(params, models, Watch(phase=stop_for_jobs, step=stop_for_jobs))
        except CancelledError:
            return
        except StudioError as error:
            log.warning("warming up: %s", error)
            self.say(Loading(name, "failed", reason=error.sentence()))
        except BUGS as bug:  # the job that comes will say it to whoever asked for it
            log.warning("warming up: %s", bug)
            self.say(Loading(name, "failed", reason=f"{BUG} ({type(bug).__name__})"))

    def answer_question(self, message: Annotate | Tokenize) -> None:
        """Make a control map, or say how a prompt is read."""
        from studio.worker.annotate import Tools, annotate
        from studio.worker.tokenize import tokenize

        if isinstance(message, Tokenize):
            self.say(tokenize(message))
        else:
            self.say(annotate(message, Tools(self.annotators, self.weights, self.load_image)))

    def wanted(self) -> bool:
        """Whether a job waits. Questions that wait are answered first: they do not take long."""
        self.answer_waiting()
        return self.inbox.wants()

    def answer_waiting(self) -> None:
        """Answer what was asked meanwhile. A job that runs waits for it."""
        while (question := self.inbox.next_question()) is not None:
            self.answer_question(question)

    def resident(self) -> Resident:
        """What is loaded, and memory in bytes."""
        import torch

        host = psutil.virtual_memory()
        memory = {"process": psutil.Process().memory_info().rss, "host_available": host.available}
        memory["host_total"] = host.total
        if self.store.device.type == "cuda":
            free, total = torch.cuda.mem_get_info(self.store.device)
            memory |= {"device_used": total - free, "device_total": total}
        return Resident(tuple(self.store.resident()), memory)

    def load_image(self, asset_id: str) -> Image.Image:
        """The asset as a picture. Raises: AssetError, if it is not there."""
        path = asset_path(self.assets, asset_id)
        if not path.is_file():
            raise AssetError(f"The picture {asset_id[:12]} is not here any more.", hint="Draw or upload it again.")
        with Image.open(path) as image:
            image.load()
            return image


def identify(message: Identify) -> Identified:
    """What spandrel knows of a file."""
    from studio.engine.upscalers import describe

    found = describe(Path(message.path))
    if found is None:
        return Identified(message.path, message.mark)
    return Identified(message.path, message.mark, True, found.family, found.scale, found.channels)


class _Reporter:
    """Tells progress, previews and the time that is left; hears whether the job was cancelled."""

    def __init__(self, worker: _Worker, message: Generate) -> None:
        self.worker, self.job_id = worker, message.job_id
        self.every, self.started = message.preview_every, time.perf_counter()
        self.steps = message.params.num_inference_steps * message.params.count

    def watch(self) -> Any:
        """What the engine calls."""
        from studio.engine.generate import Watch

        return Watch(phase=self.phase, step=self.step)

    def phase(self, name: str) -> None:
        """A new phase begins."""
        self._heed()
        if name == "denoising":
            self.started = time.perf_counter()
        self.worker.say(Progress(self.job_id, name, 0, self.steps))

    def step(self, step: Any, done: int, total: int, checkpoint: Any) -> None:
        """A step is done."""
        self._heed()
        left = (time.perf_counter() - self.started) / done * (total - done)
        self.worker.say(Progress(self.job_id, "denoising", done, total, round(left, 2)))
        if self.every and done % self.every == 0:
            self.worker.say(Preview(self.job_id, done, checkpoint.preview.jpeg(step.guess[0])))

    def _heed(self) -> None:
        from studio.engine.generate import CancelledError

        if self.job_id in self.worker.inbox.cancelled or self.worker.inbox.closed:
            raise CancelledError
        self.worker.answer_waiting()

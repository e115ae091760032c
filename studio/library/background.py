"""A scan beside the studio: a thread that owns the scanning processes, and tells how it goes."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import wait

from studio.errors import StorageError
from studio.library import scan
from studio.library.cache import rules
from studio.library.scan import Progress
from studio.settings import Settings

log = logging.getLogger("studio.library")
RELOAD_SECONDS = 5.0  # while a long scan runs, what it found is shown this often
STOP_SECONDS = 2.0
EACH, MOST_PARTS = 1000, 4  # a process more for so many models to open


class Scanner:
    """One scan at a time, in processes of its own, so that pages stay as quick as they are.

    `tell` gets every progress; `load` is called when there are new rows to read. Both are called on a thread.
    """

    def __init__(self, settings: Settings, load: Callable[[], None], tell: Callable[[Progress], None]) -> None:
        self.progress = Progress("idle")
        self._settings, self._load, self._tell = settings, load, tell
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._again = self._stopped = False

    def start(self) -> None:
        """Look at the folders now; if a scan runs, once more when it is done. Returns at once."""
        with self._lock:
            if self._thread is not None:
                self._again = True
                return
            self._thread = threading.Thread(target=self._run, name="scan", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the scan that runs; what it found is kept."""
        with self._lock:
            self._stopped, self._again, thread = True, False, self._thread
        if thread is not None:
            thread.join(STOP_SECONDS * 2)

    def wait(self, seconds: float) -> bool:
        """Wait for the scans that were asked for. Returns: whether they are done."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join(seconds)
        return thread is None or not thread.is_alive()

    def _run(self) -> None:
        while True:
            self._scan()
            with self._lock:
                if not self._again:
                    self._thread = None
                    return
                self._again = False

    def _scan(self) -> None:
        parts: list[_Part] = []
        try:
            parts.append(_Part(self._settings, 0, 1))
            self._say(Progress("running"))
            last = self._follow(parts)
        except OSError as error:
            last = Progress("done", error=f"The scan could not be started: {error}.")
        for part in parts:
            part.end()
        self._end(last)

    def _follow(self, parts: list["_Part"]) -> Progress:
        """Hear the processes out, and start more of them if there is much to do; their last words together."""
        loaded = time.monotonic()
        while not self._stopped:
            waiting = [part for part in parts if part.progress.state != "done"]
            if not waiting:
                return together(part.progress for part in parts)
            ready = wait([part.connection for part in waiting], timeout=0.5)
            for part in [part for part in waiting if part.connection in ready]:
                to_do = part.hear()
                if to_do is not None:
                    count = parts_for(to_do)
                    part.connection.send(count)
                    parts += [_Part(self._settings, number, count) for number in range(1, count)]
            if ready and (progress := together(part.progress for part in parts)).state != "done":
                self._say(progress)
                if progress.changed and time.monotonic() - loaded > RELOAD_SECONDS:
                    self._show()
                    loaded = time.monotonic()
        return Progress("done")

    def _end(self, last: Progress) -> None:
        failed = "" if self._stopped else self._show()
        if error := last.error or failed:
            log.error("%s", error)
            last = replace(last, error=error)
        if not self._stopped:
            self._say(last)

    def _show(self) -> str:
        """Have the new rows read; why that was not possible, or ""."""
        try:
            self._load()
        except StorageError as error:
            return error.sentence()
        return ""

    def _say(self, progress: Progress) -> None:
        self.progress = progress
        self._tell(progress)


class _Part:
    """One process of a scan."""

    def __init__(self, settings: Settings, part: int, parts: int) -> None:
        """Start it. Raises: OSError, if the system gives no process."""
        self.progress = Progress("running")
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        arguments = (theirs, settings, rules(), part, parts)
        self._process = context.Process(target=scan.main, args=arguments, name="studio-scan", daemon=True)
        try:
            self._process.start()
        finally:
            theirs.close()

    def hear(self) -> int | None:
        """Take a message; how many models must be opened, if that was it."""
        try:
            said: Progress | int = self.connection.recv()
        except (EOFError, OSError):
            said = Progress("done", error="The scan ended before it was done; look at the folders again.")
        if isinstance(said, int):
            return said
        self.progress = said
        return None

    def end(self) -> None:
        """See to it that the process ends; closing the pipe tells it so."""
        self.connection.close()
        self._process.join(STOP_SECONDS)
        self._process.kill()
        self._process.join(STOP_SECONDS)


def parts_for(to_do: int, cores: int | None = None) -> int:
    """How many processes open that many models: one for each thousand, and at most half of the cores, or 2."""
    most = max(2, (cores or os.cpu_count() or 1) // 2)
    return max(1, min(most, MOST_PARTS, to_do // EACH))


def together(parts: Iterable[Progress]) -> Progress:
    """The progress of all parts as one."""
    all_of = list(parts)
    return Progress(
        state="done" if all(part.state == "done" for part in all_of) else "running",
        done=sum(part.done for part in all_of),
        total=sum(part.total for part in all_of),
        found=sum(part.found for part in all_of),
        changed=sum(part.changed for part in all_of),
        error=next((part.error for part in all_of if part.error), ""),
    )

"""Downloads that people asked for: one after another, on a thread of the web process that ends with the last one."""

import logging
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from studio.access import User, require
from studio.errors import DownloadError, JobError, MissingError, StorageError, StudioError
from studio.files import cannot_write
from studio.library.download.fetch import Arrived, Errand, Places
from studio.library.download.hub import Hub
from studio.library.download.ledger import CANCELLED, DONE, FAILED, QUEUED, RUNNING, Download, Ledger, Plain
from studio.library.download.transfer import Cancelled, Run
from studio.library.download.wanted import Wanted
from studio.library.download.web import Route, Web, checked_url, origin_of

log = logging.getLogger("studio.library")
BETWEEN_EVENTS, BETWEEN_WRITES = 0.25, 2.0  # seconds, while bytes come
KEPT = 100  # ended ones that stay in the list
BUG = "The studio met an error of its own."


def free_bytes(folder: Path) -> int:
    """Free bytes of the disk that the folder lies on. Raises: OSError."""
    return shutil.disk_usage(folder).free


def wait_for(seconds: float, stop: threading.Event) -> object:
    """Wait, until the event is set at the longest."""
    return stop.wait(seconds)


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What downloads need of the machine; tests bring their own.

    Fields:
        environment: HF_ENDPOINT and HF_TOKEN are read from it, when a download begins.
    """

    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    web: Web = field(default_factory=Web)
    free: Callable[[Path], int] = free_bytes
    sleep: Callable[[float, threading.Event], object] = wait_for
    clock: Callable[[], float] = time.monotonic


class Downloads:
    """The list of downloads, and the thread that carries them out.

    Args:
        offline: Refuse them all.
        tell: Told of every change: the event, and the name of whom it is for.
        arrived: Called with a model that is here now; what the library says of it.
        ledger: Keeps the list from one start of the studio to the next; None forgets it.
    """

    def __init__(
        self,
        places: Places,
        *,
        offline: bool = False,
        tell: Callable[[Plain, str], object],
        arrived: Callable[[Arrived], Plain | None],
        ledger: Ledger | None = None,
        surroundings: Surroundings | None = None,
    ) -> None:
        self.places, self.offline = places, offline
        self._tell, self._arrived = tell, arrived
        self._around = surroundings or Surroundings()
        self._changed = threading.Condition()
        self._ledger = ledger
        self._rows = {row.id: row for row in ([] if ledger is None else ledger.all())}
        self._thread: threading.Thread | None = None

    def add(self, body: Mapping[str, Any], user: User, *, at_machine: bool) -> Plain:
        """Queue a download: as Wanted.from_dict reads it. The same request again goes on where it stopped.

        Raises: ForbiddenError; DownloadError, when the studio is offline; InvalidRequestError, naming the field.
        """
        require(user, "download")
        if self.offline:
            hint = "Start it without --offline to download."
            raise DownloadError("The studio was started with --offline, so it uses no network.", hint=hint)
        wanted = Wanted.from_dict(body, Hub.of(self._around.environment).endpoint)
        with self._changed:
            earlier = next((row for row in self._rows.values() if row.source == wanted.source), None)
            if earlier is not None and earlier.state in (QUEUED, RUNNING):
                return earlier.view()
            row = Download(
                id=earlier.id if earlier else secrets.token_hex(8),
                source=wanted.source,
                wanted=wanted,
                owner=user.name,
                at_machine=at_machine,
                name=earlier.name if earlier else wanted.title,
                kind=wanted.kind,
                bytes=earlier.bytes if earlier else 0,
                total=earlier.total if earlier else None,
            )
            self._forget([*self._too_old(), *([row.id] if earlier else [])])  # it takes its place at the end
            self._rows[row.id] = row
            self._set(row)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="downloads", daemon=True)
                self._thread.start()
            return row.view()

    def list(self, user: User) -> list[Plain]:
        """Every download, newest last. Raises: ForbiddenError."""
        require(user, "download")
        with self._changed:
            return [row.view() for row in self._rows.values()]

    def cancel(self, download_id: str, user: User) -> Plain:
        """Stop it; the part that is here stays. Nothing happens to one that has ended. Raises: MissingError."""
        with self._changed:
            row = self._row(download_id, user)
            if row.state in (QUEUED, RUNNING):
                row.stop.set()
                self._set(row, state=CANCELLED)
            return row.view()

    def forget(self, download_id: str, user: User) -> None:
        """Take an ended one off the list. Raises: MissingError; JobError, if it has not ended."""
        with self._changed:
            row = self._row(download_id, user)
            if row.state in (QUEUED, RUNNING):
                raise JobError(f"{row.name} is being downloaded.", hint="Cancel it first.")
            self._forget([row.id])

    def wait(self, download_id: str, user: User, timeout: float | None = None) -> Plain:
        """Its view when it has ended, or after `timeout` seconds. Raises: MissingError."""
        with self._changed:
            row = self._row(download_id, user)
            self._changed.wait_for(lambda: row.state not in (QUEUED, RUNNING), timeout)
            return row.view()

    def close(self) -> None:
        """Stop all of them, and wait a moment for the thread."""
        with self._changed:
            for row in self._rows.values():
                row.stop.set()
                if row.state in (QUEUED, RUNNING):
                    self._set(row, state=CANCELLED)
            thread = self._thread
        if thread is not None:
            thread.join(1.0)  # it may hang in a connection; being a daemon, it ends with the process

    def _row(self, download_id: str, user: User) -> Download:
        require(user, "download")
        if download_id not in self._rows:
            raise MissingError(
                f"There is no download {download_id[:40]}.", hint="Reload the page to see what there is."
            )
        return self._rows[download_id]

    def _work(self) -> None:
        """The thread. Whatever ends it, the next request starts another."""
        try:
            self._work_on()
        finally:
            if self._ledger is not None:
                self._ledger.database.close()  # this thread's connection
            with self._changed:
                if self._thread is threading.current_thread():
                    self._thread = None

    def _work_on(self) -> None:
        """The oldest that waits, until none does."""
        while True:
            with self._changed:
                row = next((row for row in self._rows.values() if row.state == QUEUED), None)
                if row is None:
                    self._thread = None
                    return
                stop = row.stop
                self._set(row, state=RUNNING)
            try:
                self._carry_out(row, stop)
            finally:  # a bug must not leave it running for ever; the thread ends with it
                with self._changed:
                    if row.stop is stop and row.state == RUNNING:
                        log.error("a download met a bug", exc_info=True)
                        self._thread = None
                        self._set(row, state=FAILED, error=BUG, hint="logs/studio.log says more; please report it.")

    def _carry_out(self, row: Download, stop: threading.Event) -> None:
        try:
            arrived = self._errand(row, stop).carry_out()
            model = self._arrived(arrived)
        except Cancelled:
            return
        except StudioError as error:
            self._end(row, stop, state=FAILED, error=str(error), hint=error.hint)
        except OSError as error:
            failed = cannot_write(self.places.folder(row.kind) / row.name, error)
            self._end(row, stop, state=FAILED, error=str(failed), hint=failed.hint)
        else:
            size = _size(arrived)
            end = {"name": arrived.path.name, "kind": arrived.kind, "bytes": size, "total": size, "model": model}
            self._end(row, stop, state=DONE, **end)

    def _errand(self, row: Download, stop: threading.Event) -> Errand:
        hub, around, wanted = Hub.of(self._around.environment), self._around, row.wanted
        assert wanted is not None  # what runs was asked for since the studio was started

        def named(name: str) -> None:
            self._end(row, stop, name=name)

        def progress(here: int, total: int | None) -> None:
            with self._changed:
                if row.stop is stop and row.state == RUNNING:
                    row.bytes, row.total = here, total
                    if around.clock() - row.told >= BETWEEN_EVENTS:
                        self._set(row)

        run = Run(
            web=around.web,
            route=hub.route() if wanted.repo else _route(wanted, at_machine=row.at_machine),
            stop=stop,
            free=around.free,
            sleep=around.sleep,
            progress=progress,
        )
        return Errand(wanted=wanted, hub=hub, places=self.places, run=run, named=named)

    def _end(self, row: Download, stop: threading.Event, **changes: Any) -> None:
        """Change the row, unless the person has cancelled this run of it meanwhile."""
        with self._changed:
            if row.stop is stop and row.state == RUNNING:
                self._set(row, **changes)

    def _set(self, row: Download, **changes: Any) -> None:
        for name, value in changes.items():
            setattr(row, name, value)
        row.told = self._around.clock()
        self._tell({"type": "download", **row.view()}, row.owner)
        if changes or row.told - row.kept >= BETWEEN_WRITES:
            row.kept = row.told
            self._write(lambda ledger: ledger.put(row))
        self._changed.notify_all()

    def _too_old(self) -> Sequence[str]:
        ended = [row.id for row in self._rows.values() if row.state not in (QUEUED, RUNNING)]
        return ended[: max(0, len(ended) - KEPT + 1)]

    def _forget(self, ids: Sequence[str]) -> None:
        for download_id in ids:
            self._rows.pop(download_id, None)
        if ids:
            self._write(lambda ledger: ledger.remove(ids))

    def _write(self, change: Callable[[Ledger], object]) -> None:
        """Change the ledger; a disk that is full does not stop a download that may go to another one."""
        try:
            if self._ledger is not None:
                change(self._ledger)
        except StorageError as error:
            log.warning("the list of downloads is not kept: %s", error)


def _route(wanted: Wanted, *, at_machine: bool) -> Route:
    """A private address will do if the person at the machine has named it."""
    return Route(trusted=frozenset({origin_of(checked_url(wanted.url))} if at_machine else ()))


def _size(arrived: Arrived) -> int:
    files = [arrived.path] if arrived.path.is_file() else [f for f in arrived.path.rglob("*") if f.is_file()]
    return sum(file.stat().st_size for file in files)

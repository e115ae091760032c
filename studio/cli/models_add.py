"""`models add`: download a model, by the studio that serves the data folder, or here when none does."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Protocol

from studio.access import LOCAL_USER
from studio.cli.backends import Plain, RemoteBackend
from studio.errors import InvalidRequestError, StudioError
from studio.library.download.fetch import Places
from studio.library.download.queue import Downloads
from studio.library.download.transfer import in_words
from studio.library.index import Library
from studio.lock import StudioLock, running_studio
from studio.models import Models
from studio.settings import Settings

BEAT = 0.3
OFFLINE = "models add needs the network that --offline forbids."


class Place(Protocol):
    """Where a download is carried out."""

    def add(self, body: Plain) -> Plain:
        """Start it; how far it is. Raises: StudioError."""
        ...

    def look(self, download_id: str) -> Plain:
        """How far it is, when it has ended or a moment has passed."""
        ...

    def cancel(self, download_id: str) -> None:
        """Stop it; what is here of it stays."""
        ...


class Here:
    """In this process."""

    def __init__(self, downloads: Downloads) -> None:
        self.downloads = downloads

    def add(self, body: Plain) -> Plain:
        """Start it."""
        return self.downloads.add(body, LOCAL_USER, at_machine=True)

    def look(self, download_id: str) -> Plain:
        """Wait for it, a moment at the longest."""
        return self.downloads.wait(download_id, LOCAL_USER, BEAT)

    def cancel(self, download_id: str) -> None:
        """Stop it, and its thread."""
        self.downloads.cancel(download_id, LOCAL_USER)
        self.downloads.close()


class There:
    """In the studio that serves the data folder."""

    def __init__(self, studio: RemoteBackend, pause: Callable[[float], object] = time.sleep) -> None:
        self.studio, self.pause = studio, pause

    def add(self, body: Plain) -> Plain:
        """Post it."""
        return self.studio.ask("/api/v1/downloads", json.dumps(body).encode(), "application/json")

    def look(self, download_id: str) -> Plain:
        """Ask after a moment."""
        self.pause(BEAT)
        rows = self.studio.ask("/api/v1/downloads")
        lost = {"id": download_id, "state": "failed", "error": "The download was taken off the list.", "hint": ""}
        return next((row for row in rows if row["id"] == download_id), lost)

    def cancel(self, download_id: str) -> None:
        """Ask to stop it."""
        self.studio.ask(f"/api/v1/downloads/{download_id}", method="DELETE")


def add_model(flags: argparse.Namespace, settings: Settings) -> int:
    """Download what the command line names. Exit status: 0 it is here, 1 it failed or was stopped.

    Raises: StudioError, for wrong use.
    """
    if flags.offline:  # whoever would fetch it: a studio that serves the folder is not asked either
        raise InvalidRequestError(OFFLINE, field="offline", hint="Leave it out to download.")
    with place(settings) as where:
        view = follow(where, where.add(body_of(flags)))
    if view["state"] != "done":
        print(StudioError(view["error"] or "Stopped.", hint=view["hint"]).sentence(), file=sys.stderr)
    if flags.json:
        print(json.dumps(view))
    elif view["state"] == "done":
        print(said(view))
    return 0 if view["state"] == "done" else 1


def body_of(flags: argparse.Namespace) -> Plain:
    """The request: an address has a scheme; anything else is owner/name, or owner/name:file."""
    if "://" in flags.source:
        source = {"url": flags.source}
    else:
        repo, _, file = flags.source.partition(":")
        source = {"repo": repo, "file": file}
    return {**source, "kind": flags.kind or "", "sha256": flags.sha256 or ""}


@contextmanager
def place(settings: Settings) -> Generator[Place]:
    """The studio that serves the data folder; this process, if no other one holds the folder."""
    running = running_studio(settings.paths.lock)
    if running is not None and running.port:
        yield There(RemoteBackend(running))
        return
    settings.paths.create()
    with StudioLock(settings.paths.lock):
        yield Here(open_downloads(settings))


def open_downloads(settings: Settings) -> Downloads:
    """Downloads into the data folder, in this process. Nobody hears of their events: `follow` asks."""
    models = Models(Library(settings, look=False), settings.paths.thumbnails, lambda _event: None)
    return Downloads(Places(models=settings.paths.models), tell=lambda _event, _owner: None, arrived=models.arrived)


def follow(where: Place, view: Plain) -> Plain:
    """Wait for its end, showing how far it is; Ctrl+C stops it and keeps what is here."""
    terminal, download_id = sys.stderr.isatty(), view["id"]
    try:
        while view["state"] in ("queued", "running"):
            view = where.look(download_id)
            if terminal and view["state"] == "running":
                print(f"\r{progress(view):<100.100}", end="", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        where.cancel(download_id)
        return view | {"state": "cancelled", "error": "Stopped.", "hint": "Start it again to go on."}
    finally:
        if terminal:
            print(file=sys.stderr)
    return view


def progress(view: Plain) -> str:
    """How far it is, in words."""
    of = f" of {in_words(view['total'])}, {view['bytes'] / max(1, view['total']):.0%}" if view["total"] else ""
    return f"{view['name']}: {in_words(view['bytes'])}{of}"


def said(view: Plain) -> str:
    """What is here now, as a line."""
    model: Plain = view["model"] or {}
    use = f"; it cannot be used: {model['reason']}" if model and not model["usable"] else ""
    return f"{view['name']} ({view['kind']}, {model.get('base', 'unknown')}, {in_words(view['bytes'])}){use}"

"""What happens to jobs, for whoever listens: each listener gets every change, and of previews only the newest."""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

Event = dict[str, Any]
KEPT = 1000


@dataclass
class Listener:
    """One listener's own queue. Progress and previews of a job replace older ones that were not read yet.

    One that has let KEPT events pile up is `lost`: its stream ends, and it comes back to ask how things stand.
    """

    owner: str | None
    loop: asyncio.AbstractEventLoop
    ready: asyncio.Event
    pending: deque[Event] = field(default_factory=deque[Event])
    lost: bool = False


class Events:
    """The hub. `publish` may be called from any thread; a slow listener never holds up the others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: list[Listener] = []
        self._last_preview: dict[str, Event] = {}
        self.closed = False

    def publish(self, event: Event, owner: str | None = None) -> None:
        """Tell every listener that may know: owner None is for all, a name for that owner and those who see all."""
        with self._lock:
            self._remember(event, owner)
            for listener in self._listeners:
                if not listener.lost and (owner is None or listener.owner in (None, owner)):
                    _put(listener.pending, event)
                    listener.lost = len(listener.pending) > KEPT
                    self._wake(listener)

    def warn(self, message: str) -> None:
        """A sentence for everybody."""
        self.publish({"type": "warning", "message": message})

    def latest(self, owner: str | None) -> list[Event]:
        """The newest preview of each running job that the owner (None: all) may see."""
        with self._lock:
            return [
                {k: v for k, v in event.items() if k != "owner"}
                for event in self._last_preview.values()
                if owner is None or event["owner"] in (None, owner)
            ]

    def join(self, owner: str | None) -> Listener:
        """A listener that hears every event from now on; `follow` it, which also ends it."""
        listener = Listener(owner, asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            self._listeners.append(listener)
        return listener

    async def listen(self, owner: str | None, beat: float = 15.0) -> AsyncIterator[Event | None]:
        """Join and follow in one: events from the first step of the iteration on."""
        async for event in self.follow(self.join(owner), beat):
            yield event

    async def follow(self, listener: Listener, beat: float = 15.0) -> AsyncGenerator[Event | None]:
        """The listener's events; None after each `beat` seconds without any. Ends after `close`, or when it is lost."""
        try:
            while not (self.closed or listener.lost):
                while (event := self._next(listener)) is not None:
                    yield event
                listener.ready.clear()
                if listener.pending or listener.lost or self.closed:
                    continue
                try:
                    await asyncio.wait_for(listener.ready.wait(), beat)
                except TimeoutError:
                    yield None
        finally:
            self.leave(listener)

    def _next(self, listener: Listener) -> Event | None:
        """Its oldest event, taken while nobody looks through them."""
        with self._lock:
            return listener.pending.popleft() if listener.pending and not listener.lost else None

    def leave(self, listener: Listener) -> None:
        """Stop hearing; `follow` does so by itself once it was begun."""
        with self._lock:
            if listener in self._listeners:
                self._listeners.remove(listener)

    def close(self) -> None:
        """End every listener's stream, so that the server can stop."""
        with self._lock:
            self.closed = True
            for listener in self._listeners:
                self._wake(listener)

    def _remember(self, event: Event, owner: str | None) -> None:
        if event["type"] == "preview":
            self._last_preview[event["job_id"]] = {**event, "owner": owner}
        elif event["type"] == "job" and event["job"]["state"] != "running":
            self._last_preview.pop(event["job"]["id"], None)

    def _wake(self, listener: Listener) -> None:
        with suppress(RuntimeError):  # its loop may be closed at any moment
            listener.loop.call_soon_threadsafe(listener.ready.set)


def _put(pending: deque[Event], event: Event) -> None:
    """Append, and drop what the event makes stale: an older preview or progress of the same job."""
    if event["type"] in ("preview", "progress"):
        stale = [e for e in pending if e["type"] == event["type"] and e.get("job_id") == event["job_id"]]
        for old in stale:
            pending.remove(old)
    pending.append(event)

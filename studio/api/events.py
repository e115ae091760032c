"""Server-sent events: a snapshot first, then every change, for one browser."""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, cast

from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.types import Send

from studio.access import User
from studio.services import Studio

HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
RECENT = 30


class EventStream(StreamingResponse):
    """The stream for that user: their own jobs, or everybody's for the owner of the studio.

    A browser that comes again gets a fresh snapshot, so nothing has to be numbered and sent again.
    """

    media_type = "text/event-stream"

    def __init__(self, studio: Studio, user: User) -> None:
        super().__init__(_lines(studio, user), headers=HEADERS)

    async def stream_response(self, send: Send) -> None:
        """Send until the browser leaves or the hub closes; then stop listening at once."""
        async with aclosing(cast(Any, self.body_iterator)):
            await super().stream_response(send)


def status_view(studio: Studio, user: User) -> dict[str, Any]:
    """The state of the studio and who asks. Warnings name folders of the machine: they are the owner's to read."""
    status = studio.status() | {"user": {"name": user.name, "role": user.role}}
    return status if user.may("see_all") else status | {"warnings": []}


def snapshot(studio: Studio, user: User) -> dict[str, Any]:
    """The first event: where things stand."""
    jobs = [studio.job_view(job) for job in studio.list_jobs(user, limit=RECENT)]
    return {"type": "hello", "jobs": jobs, **status_view(studio, user)}


async def _lines(studio: Studio, user: User) -> AsyncIterator[str]:
    owner = None if user.may("see_all") else user.name
    listener = studio.events.join(owner)
    try:
        yield _line(await run_in_threadpool(snapshot, studio, user))
        for preview in studio.events.latest(owner):
            yield _line(preview)
        async with aclosing(studio.events.follow(listener)) as events:
            async for event in events:
                yield ": beat\n\n" if event is None else _line(event)
    finally:
        studio.events.leave(listener)


def _line(event: dict[str, Any]) -> str:
    return f"data: {json.dumps(event)}\n\n"

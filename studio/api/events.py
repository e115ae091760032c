"""Server-sent events: a snapshot first, then every change, for one browser."""

import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from studio.access import User
from studio.services import Studio

HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
RECENT = 30


def event_stream(studio: Studio, user: User) -> StreamingResponse:
    """The stream for that user: their own jobs, or everybody's for the owner of the studio."""
    return StreamingResponse(_lines(studio, user), media_type="text/event-stream", headers=HEADERS)


def snapshot(studio: Studio, user: User) -> dict[str, Any]:
    """The first event: where things stand."""
    jobs = [studio.job_view(job) for job in studio.list_jobs(user, limit=RECENT)]
    status = studio.status()
    return {"type": "hello", "jobs": jobs, **status, "user": {"name": user.name, "role": user.role}}


async def _lines(studio: Studio, user: User) -> AsyncIterator[str]:
    owner = None if user.may("see_all") else user.name
    listener = studio.events.join(owner)
    yield _line(await run_in_threadpool(snapshot, studio, user))
    for preview in studio.events.latest(owner):
        yield _line(preview)
    async for event in studio.events.follow(listener):
        yield ": beat\n\n" if event is None else _line(event)


def _line(event: dict[str, Any]) -> str:
    return f"data: {json.dumps(event)}\n\n"

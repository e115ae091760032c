import asyncio

from studio.api.guard import Policy
from studio.params import GenerationRequest
from tests.api.kit import ANN, BOB, PROMPT, build, finished, listening


def preview(job_id: str, step: int) -> dict:
    return {"type": "preview", "job_id": job_id, "step": step, "url": "data:"}


def test_a_stream_begins_with_the_state_of_things(studio):
    job, item = finished(studio, ANN)

    async def read():
        async with listening(build(studio, Policy())) as (stream, _):
            return await stream.event()

    hello = asyncio.run(read())
    assert hello["type"] == "hello"
    assert hello["worker"]["state"] == "off"
    assert [(j["id"], j["state"], [r["id"] for r in j["results"]]) for j in hello["jobs"]] == [(job, "done", [item])]


def test_changes_follow_the_snapshot_in_order(studio):
    async def read():
        async with listening(build(studio, Policy())) as (stream, _):
            await stream.event()
            job = studio.submit(GenerationRequest(**PROMPT), ANN).job
            studio.cancel(job.id, ANN)
            return job.id, [await stream.event() for _ in range(2)]

    job_id, events = asyncio.run(read())
    assert [(e["type"], e["job"]["id"], e["job"]["state"]) for e in events] == [
        ("job", job_id, "queued"),
        ("job", job_id, "cancelled"),
    ]


def test_who_comes_again_gets_the_newest_preview_at_once(studio):
    async def read():
        studio.events.publish(preview("j", 1))
        studio.events.publish(preview("j", 2))
        async with listening(build(studio, Policy())) as (stream, _):
            await stream.event()
            return await stream.event()

    assert asyncio.run(read())["step"] == 2


def test_a_slow_browser_skips_old_previews(studio):
    async def read():
        async with listening(build(studio, Policy())) as (stream, _):
            await stream.event()
            for step in range(50):
                studio.events.publish(preview("j", step))
            studio.events.publish({"type": "queue", "waiting": 0})
            return [await stream.event(), await stream.event()]

    first, second = asyncio.run(read())
    assert (first.get("step"), second["type"]) == (49, "queue")


def test_guests_hear_of_their_own_jobs_alone(studio, shared):
    finished(studio, BOB)

    async def read():
        async with listening(build(studio, shared), studio.accounts.open_session(ANN)) as (stream, _):
            hello = await stream.event()
            theirs = studio.submit(GenerationRequest(**PROMPT), BOB).job
            studio.events.publish(preview(theirs.id, 1), "bob")
            mine = studio.submit(GenerationRequest(**PROMPT), ANN).job
            return hello, mine.id, await stream.event()

    hello, mine, event = asyncio.run(read())
    assert hello["jobs"] == []
    assert event["job"]["id"] == mine


def test_a_browser_that_leaves_is_forgotten(studio):
    async def read():
        async with listening(build(studio, Policy())) as (stream, _):
            await stream.event()
            assert len(studio.events._listeners) == 1
        return studio.events._listeners

    assert asyncio.run(read()) == []


def test_streams_end_when_the_studio_stops(studio):
    async def read():
        async with listening(build(studio, Policy())) as (stream, task):
            await stream.event()
            studio.events.close()
            last = await stream.event()
            await asyncio.wait_for(task, 20)
            return last

    assert asyncio.run(read()) is None

import asyncio
import time
from collections import deque

from studio.jobs import events as hub
from studio.jobs.events import Events


def job(job_id, state="running"):
    return {"type": "job", "job": {"id": job_id, "state": state}}


def preview(job_id, step):
    return {"type": "preview", "job_id": job_id, "step": step, "url": "data:"}


async def hear(events, listener, count):
    heard = []
    async for event in events.follow(listener, beat=5):
        heard.append(event)
        if len(heard) == count:
            break
    return heard


def run(coroutine):
    return asyncio.run(coroutine)


def test_every_listener_hears_every_change():
    async def story():
        events = Events()
        first, second = events.join(None), events.join(None)
        events.publish(job("a"))
        events.publish(job("a", "done"))
        return await hear(events, first, 2), await hear(events, second, 2)

    one, other = run(story())
    assert one == other == [job("a"), job("a", "done")]


def test_a_slow_listener_gets_only_the_newest_preview():
    async def story():
        events = Events()
        listener = events.join(None)
        for step in range(1, 9):
            events.publish(preview("a", step))
        events.publish(job("a", "done"))
        return await hear(events, listener, 2)

    assert run(story()) == [preview("a", 8), job("a", "done")]


def test_a_guest_hears_of_their_own_jobs_and_of_what_is_for_all():
    async def story():
        events = Events()
        bob = events.join("bob")
        events.publish(job("a"), "ann")
        events.publish(job("b"), "bob")
        events.warn("The disk is nearly full.")
        return await hear(events, bob, 2)

    heard = run(story())
    assert [event["type"] for event in heard] == ["job", "warning"]
    assert heard[0]["job"]["id"] == "b"


def test_a_newcomer_sees_the_latest_preview_of_jobs_that_run():
    events = Events()
    events.publish(preview("a", 3), "ann")
    events.publish(preview("b", 5), "bob")
    assert events.latest(None) == [preview("a", 3), preview("b", 5)]
    assert events.latest("ann") == [preview("a", 3)]
    events.publish(job("a", "done"), "ann")
    assert events.latest("ann") == []


def test_closing_ends_every_stream():
    async def story():
        events = Events()
        listener = events.join(None)
        events.close()
        return [event async for event in events.follow(listener)]

    assert run(story()) == []


def test_silence_is_told_so_that_a_connection_stays_open():
    async def story():
        return await anext(Events().listen(None, beat=0.01))

    assert run(story()) is None


def test_a_listener_that_reads_nothing_is_let_go_and_the_others_go_on(monkeypatch):
    monkeypatch.setattr(hub, "KEPT", 3)

    async def story():
        events = Events()
        lazy, quick, heard = events.join(None), events.join(None), []
        for number in range(9):
            events.publish(job(str(number)))
            heard += await hear(events, quick, 1)
            quick = events.join(None)
        return [event async for event in events.follow(lazy)], heard

    lazy, heard = run(story())
    assert lazy == []
    assert [event["job"]["id"] for event in heard] == [str(number) for number in range(9)]


def test_a_listener_whose_loop_has_ended_holds_up_nobody():
    events = Events()

    async def join():
        events.join(None)

    run(join())
    events.publish(job("a"))


class Unhurried(deque):
    """Whoever goes through it takes so long that others come in between."""

    def __iter__(self):
        for event in super().__iter__():
            time.sleep(0.001)
            yield event


def test_a_listener_reads_while_others_publish():
    """The worker's thread looks for what is stale while the server's thread takes what is oldest: nothing fails."""
    events, count = Events(), 60

    async def story():
        listener = events.join(None)
        listener.pending = Unhurried(job(f"job-{number}") for number in range(20))
        loop = asyncio.get_running_loop()

        def publish():
            for step in range(count):
                events.publish(preview(f"job-{step % 3}", step))
            events.publish(job("last"))

        published = loop.run_in_executor(None, publish)
        heard = []
        async for event in events.follow(listener, beat=0.2):
            heard += [event] if event else []
            await asyncio.sleep(0.001)
            if event == job("last") or (event is None and published.done()):
                break
        await published
        return heard

    heard = run(story())
    assert heard[:20] == [job(f"job-{number}") for number in range(20)]
    assert {count - 3, count - 2, count - 1} <= {event.get("step") for event in heard}

import threading
from pathlib import Path

import pytest

from studio.access import LOCAL_USER, User
from studio.errors import ForbiddenError, JobError, MissingError, StudioError
from studio.library.tools.process import sweep
from studio.library.tools.runs import Tools

BODY = {"tool": "resize", "files": ["ink"], "rank": 2}


class Child:
    """A process that ends when it is told to."""

    def __init__(self):
        self.ended = threading.Event()

    def terminate(self):
        self.ended.set()


class Stand:
    """Stands where the process would be: "stay" as the name of the result waits for its end, "fail" fails."""

    def __init__(self):
        self.orders, self.children, self.going = [], [], threading.Event()

    def __call__(self, order, device, told, began):
        self.orders.append(order)
        name = Path(order["out"]).stem
        told(1, 4)
        began(child := Child())
        self.going.set()
        if name == "stay":
            child.ended.wait(60)
            raise StudioError("Nothing was written: it was ended.")
        if name == "fail":
            return {"error": "It is damaged.", "hint": "Get it again.", "field": "file", "wrong_use": True}
        if name == "bug":
            raise ValueError("odd")
        told(4, 4)
        return {"path": order["out"], "notes": ["A note."]}


@pytest.fixture
def heard():
    return []


@pytest.fixture
def tools(library, models, heard):
    made = Tools(
        library,
        models,
        device="cpu",
        tell=lambda event, owner: heard.append((event, owner)),
        arrived=lambda model: {"name": model.path.stem, "kind": model.kind},
    )
    made.process = Stand()
    yield made
    made.close()


def ended(tools, name):
    return tools.wait(tools.start({**BODY, "name": name}, LOCAL_USER)["id"], LOCAL_USER, 60)


def test_a_run_tells_how_far_it_is_and_what_came_of_it(tools, heard):
    view = ended(tools, "small")
    assert (view["state"], view["model"], view["notes"]) == (
        "done",
        {"name": "small", "kind": "lora"},
        ["A note."],
    )
    assert view["request"] == {**BODY, "name": "small"}
    assert [(event["state"], event["done"]) for event, _ in heard] == [
        ("queued", 0),
        ("running", 0),
        ("running", 1),
        ("running", 4),
        ("done", 4),
    ]
    assert {owner for _, owner in heard} == {LOCAL_USER.name}


def test_one_works_at_a_time_and_what_waits_goes_on_when_one_is_stopped(tools):
    first = tools.start({**BODY, "name": "stay"}, LOCAL_USER)["id"]
    second = tools.start({**BODY, "name": "next"}, LOCAL_USER)["id"]
    third = tools.start({**BODY, "name": "never"}, LOCAL_USER)["id"]
    assert tools.process.going.wait(60)
    assert [view["state"] for view in tools.list(LOCAL_USER)] == ["running", "queued", "queued"]
    with pytest.raises(JobError):
        tools.forget(first, LOCAL_USER)
    assert tools.cancel(third, LOCAL_USER)["state"] == "cancelled"
    assert tools.cancel(first, LOCAL_USER)["state"] == "cancelled"
    assert tools.wait(second, LOCAL_USER, 60)["state"] == "done"
    assert tools.wait(first, LOCAL_USER)["error"] == ""
    assert len(tools.process.orders) == 2
    tools.forget(first, LOCAL_USER)
    assert [view["id"] for view in tools.list(LOCAL_USER)] == [second, third]


def test_a_failure_says_why_in_the_words_of_the_process(tools):
    view = ended(tools, "fail")
    assert (view["state"], view["error"], view["hint"]) == ("failed", "It is damaged.", "Get it again.")
    assert (view["field"], view["model"]) == ("files", None)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_leaves_no_run_running_and_the_next_one_works(tools):
    assert ended(tools, "bug")["error"] == "The studio met an error of its own."
    for thread in threading.enumerate():
        if thread.name == "tools":
            thread.join(60)
    assert ended(tools, "small")["state"] == "done"


def test_guests_may_nothing(tools):
    guest = User("ann", "guest")
    for call in (tools.table, tools.list):
        with pytest.raises(ForbiddenError):
            call(guest)
    for call in (tools.plan, tools.start):
        with pytest.raises(ForbiddenError):
            call({**BODY, "name": "small"}, guest)
    with pytest.raises(ForbiddenError):
        tools.cancel("x", guest)
    with pytest.raises(MissingError):
        tools.cancel("x", LOCAL_USER)


def test_what_a_process_left_half_made_is_swept_away_and_nothing_else(tmp_path):
    (tmp_path / ".a[1].safetensors.0f.part").write_bytes(b"x")
    (tmp_path / ".a[1].safetensors.1f.part").mkdir()
    kept = [tmp_path / ".a1.safetensors.0f.part", tmp_path / "a[1].safetensors"]
    for file in kept:
        file.write_bytes(b"x")
    sweep(tmp_path / "a[1].safetensors")
    assert sorted(tmp_path.iterdir()) == sorted(kept)

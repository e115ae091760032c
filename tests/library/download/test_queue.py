import threading

import pytest

from studio.access import LOCAL_USER, User
from studio.errors import DownloadError, ForbiddenError, JobError, MissingError
from tests.library.download.kit import BODY, HALF
from tests.library.download.stand_in import Answer, safetensors


def test_a_download_is_stopped_in_its_course_and_goes_on_when_asked_again(desk, server):
    server.answers["/a.safetensors"] = Answer(BODY, headers={"ETag": '"v1"'}, cuts=[0, HALF])
    ids = []

    def cancel(stop):
        ids.append(desk.downloads.list(LOCAL_USER)[0]["id"])
        assert desk.downloads.cancel(ids[0], LOCAL_USER)["state"] == "cancelled"
        assert stop.is_set()

    desk.meanwhile = cancel
    view = desk.url("/a.safetensors")
    assert (view["state"], view["error"]) == ("cancelled", "")
    again = desk.url("/a.safetensors")
    assert (again["id"], again["state"]) == (ids[0], "done")
    assert desk.ranges("/a.safetensors") == [None, None, None, f"bytes={HALF}-"]
    assert len(desk.downloads.list(LOCAL_USER)) == 1


def test_an_ended_download_can_be_taken_off_the_list(desk, server):
    server.answers["/a.safetensors"] = Answer(BODY)
    view = desk.url("/a.safetensors")
    assert desk.downloads.cancel(view["id"], LOCAL_USER)["state"] == "done"
    desk.downloads.forget(view["id"], LOCAL_USER)
    assert desk.downloads.list(LOCAL_USER) == []
    with pytest.raises(MissingError):
        desk.downloads.cancel(view["id"], LOCAL_USER)


def test_the_list_does_not_grow_for_ever(desk):
    desk.environment["HF_ENDPOINT"] = "http://127.0.0.1:1"
    for number in range(105):
        desk.get(repo=f"o/r{number}", kind="lora", file="a.exe")
    assert len(desk.downloads.list(LOCAL_USER)) == 100


def test_two_downloads_come_one_after_the_other(desk, server):
    server.answers |= {f"/{name}.safetensors": Answer(safetensors(2_000_000)) for name in "abc"}
    views = [
        desk.downloads.add({"url": f"{server.url}/{name}.safetensors", "kind": "vae"}, LOCAL_USER, at_machine=True)
        for name in "abc"
    ]
    assert [desk.downloads.wait(view["id"], LOCAL_USER, 20)["state"] for view in views] == ["done"] * 3
    running = [event["id"] for event in desk.events if event["state"] == "running"]
    assert list(dict.fromkeys(running)) == [view["id"] for view in views]


def test_a_running_download_is_not_forgotten_nor_queued_twice(desk, server):
    server.answers["/a.safetensors"] = Answer(BODY, cuts=[0, 10])
    met = []

    def meet(stop):
        row = desk.downloads.list(LOCAL_USER)[0]
        with pytest.raises(JobError):
            desk.downloads.forget(row["id"], LOCAL_USER)
        body = {"url": f"{server.url}/a.safetensors", "kind": "lora"}
        met.append(desk.downloads.add(body, LOCAL_USER, at_machine=True)["id"] == row["id"])

    desk.meanwhile = meet
    assert desk.url("/a.safetensors")["state"] == "done"
    assert met == [True]


def test_closing_stops_what_runs(desk, server):
    server.answers["/a.safetensors"] = Answer(BODY, cuts=[0, 10])
    asleep = threading.Event()
    desk.meanwhile = lambda stop: (asleep.set(), stop.wait(20))
    desk.downloads.add({"url": f"{server.url}/a.safetensors", "kind": "lora"}, LOCAL_USER, at_machine=True)
    desk.downloads.add({"url": f"{server.url}/b.safetensors", "kind": "lora"}, LOCAL_USER, at_machine=True)
    assert asleep.wait(20)
    desk.downloads.close()
    assert [row["state"] for row in desk.downloads.list(LOCAL_USER)] == ["cancelled", "cancelled"]
    assert not any(thread.name == "downloads" for thread in threading.enumerate())


def test_offline_refuses_with_a_sentence(desk):
    with pytest.raises(DownloadError, match="--offline"):
        desk.new(offline=True).add({"repo": "o/r"}, LOCAL_USER, at_machine=True)


def test_guests_cannot_download(desk):
    ann = User("ann", "guest")
    for call in (
        lambda: desk.downloads.add({"repo": "o/r"}, ann, at_machine=False),
        lambda: desk.downloads.list(ann),
        lambda: desk.downloads.cancel("x", ann),
    ):
        with pytest.raises(ForbiddenError):
            call()


def test_a_bug_does_not_leave_a_download_running(desk, server, monkeypatch):
    server.answers["/a.safetensors"] = Answer(BODY)
    met = []
    monkeypatch.setattr(threading, "excepthook", lambda caught: met.append(caught.exc_type))
    desk.arrived = lambda path: {}["missing"]
    desk.downloads = desk.new()
    view = desk.url("/a.safetensors")
    assert (view["state"], view["error"]) == ("failed", "The studio met an error of its own.")
    desk.arrived = lambda path: None
    desk.downloads = desk.new()
    assert desk.url("/a.safetensors")["state"] == "done"
    assert met == [KeyError]


def test_what_was_asked_can_be_asked_again(desk, server):
    server.hub_file("o/r", "a.safetensors", BODY)
    body = {"url": "https://huggingface.co/o/r/blob/main/a.safetensors", "kind": "lora", "sha256": None}
    first = desk.get(**body)
    assert first["request"] == {"repo": "o/r", "file": "a.safetensors", "revision": "main", "kind": "lora"}
    assert desk.get(**first["request"])["id"] == first["id"]


def test_addresses_with_their_secrets_are_written_nowhere(desk, server, caplog):
    server.answers["/a.safetensors"] = Answer(BODY, headers={"ETag": '"v1"'}, cuts=[0, HALF, *[0] * 9])
    view = desk.url("/a.safetensors?token=hush")
    assert desk.restart()[0]["request"] is None  # the person knows it
    kept = [*desk.files().values(), *desk.database.path.parent.glob("studio.db*")]
    assert b"hush" not in b"".join(file.read_bytes() for file in kept)
    assert "hush" not in caplog.text + view["error"] + view["name"]

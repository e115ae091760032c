import errno
import io
import pickle
import zipfile

import httpx
import pytest

from studio.library.download.part import Part
from studio.library.download.transfer import in_words
from studio.library.download.web import Web
from tests.library.download.kit import BODY, HALF, leave_part
from tests.library.download.stand_in import Answer, digest, safetensors


def test_a_file_arrives_whole_under_its_name_in_the_folder_of_its_kind(desk, server):
    server.answers["/x/style.safetensors"] = Answer(BODY)
    view = desk.url("/x/style.safetensors?download=1")
    assert (view["state"], view["error"], view["bytes"], view["total"]) == ("done", "", len(BODY), len(BODY))
    assert (view["name"], view["kind"], view["model"]) == ("style.safetensors", "lora", {"name": "style.safetensors"})
    assert list(desk.files()) == ["loras/style.safetensors"]
    assert desk.files()["loras/style.safetensors"].read_bytes() == BODY


def test_events_tell_every_state_and_some_progress(desk, server):
    server.answers["/a.safetensors"] = Answer(safetensors(3_000_000))
    desk.url("/a.safetensors")
    assert {event["type"] for event in desk.events} == {"download"}
    states = [event["state"] for event in desk.events]
    assert list(dict.fromkeys(states)) == ["queued", "running", "done"]
    assert len(states) < 8  # the clock stands still, so there is no time for more


@pytest.mark.parametrize(
    "said", ['attachment; filename="a \\"b\\".safetensors"', "attachment; filename*=UTF-8''a%20_b_.safetensors"]
)
def test_the_server_may_name_the_file(desk, server, said):
    server.answers["/api/download/models/12"] = Answer(status=307, headers={"Location": "/blobs/77?sig=1"})
    server.answers["/blobs/77"] = Answer(BODY, headers={"Content-Disposition": said})
    assert desk.url("/api/download/models/12")["name"] in ("a _b_.safetensors",)


def test_a_broken_connection_is_taken_up_where_it_broke(desk, server):
    server.answers["/a.safetensors"] = Answer(BODY, headers={"ETag": '"v1"'}, cuts=[0, HALF, 100, 0])
    assert desk.url("/a.safetensors")["state"] == "done"
    assert desk.ranges("/a.safetensors") == [
        None,
        None,
        f"bytes={HALF}-",
        f"bytes={HALF + 100}-",
        f"bytes={HALF + 100}-",
    ]
    assert desk.naps == [1.0, 1.0, 2.0]
    assert desk.files()["loras/a.safetensors"].read_bytes() == BODY


def test_what_a_cancelled_or_failed_run_left_is_kept_for_the_next_studio(desk, server):
    server.answers["/a.safetensors"] = answer = Answer(BODY, headers={"ETag": '"v1"'}, cuts=[0, HALF, *[0] * 9])
    view = desk.url("/a.safetensors")
    assert view["state"] == "failed"
    assert "broke off" in view["error"]
    assert "goes on" in view["hint"]
    assert desk.naps == [1.0, 2.0, 4.0, 8.0]
    assert desk.files()["loras/.a.safetensors.part"].read_bytes() == BODY[:HALF]
    answer.cuts.clear()
    server.heard.clear()
    desk.downloads = desk.new()
    assert desk.url("/a.safetensors")["state"] == "done"
    assert desk.ranges("/a.safetensors") == [None, f"bytes={HALF}-"]
    assert list(desk.files()) == ["loras/a.safetensors"]


@pytest.mark.parametrize("headers", [{"ETag": '"v2"'}, {"ETag": 'W/"v2"'}, {}])
def test_a_file_that_changed_on_the_server_is_begun_anew(desk, server, headers):
    leave_part(desk, server)
    other = safetensors(fill=9)
    server.answers["/a.safetensors"] = Answer(other, headers=headers)
    assert desk.url("/a.safetensors")["state"] == "done"
    assert desk.files()["loras/a.safetensors"].read_bytes() == other


def test_a_server_that_ignores_ranges_sends_all_of_it_again(desk, server):
    leave_part(desk, server).ranges = False
    assert desk.url("/a.safetensors")["state"] == "done"
    assert desk.files()["loras/a.safetensors"].read_bytes() == BODY


def test_another_source_of_that_name_does_not_go_on_with_the_part(desk, server):
    leave_part(desk, server)
    server.answers["/b/a.safetensors"] = Answer(safetensors(fill=9), headers={"ETag": '"v1"'})
    assert desk.url("/b/a.safetensors")["state"] == "done"
    assert desk.ranges("/b/a.safetensors") == [None, None]
    assert desk.files()["loras/a.safetensors"].read_bytes() == safetensors(fill=9)


def test_a_damaged_note_only_costs_the_part(desk, server):
    leave_part(desk, server)
    desk.files()["loras/.a.safetensors.part.json"].write_bytes(b"\xff{")
    assert desk.url("/a.safetensors")["state"] == "done"
    assert desk.ranges("/a.safetensors") == [None, None]


def test_a_busy_server_is_asked_again_when_it_says(desk, server):
    busy = Answer(status=429, headers={"Retry-After": "7"})
    server.answers["/a.safetensors"] = [busy, Answer(status=503), Answer(BODY), Answer(BODY)]
    assert desk.url("/a.safetensors")["state"] == "done"
    assert desk.naps == [7.0, 2.0]


def test_what_will_not_pass_is_not_asked_again(desk, server):
    server.answers["/secret.safetensors"] = Answer(status=401)
    missing, locked = desk.url("/none.safetensors"), desk.url("/secret.safetensors")
    assert (missing["state"], locked["state"], desk.naps) == ("failed", "failed", [])
    assert "404 Not Found" in missing["error"]
    assert "HF_TOKEN" in locked["hint"]


def test_a_checksum_that_fits_is_accepted_and_another_one_refused(desk, server):
    server.answers["/a.safetensors"] = Answer(BODY)
    wrong = desk.url("/a.safetensors", sha256="0" * 64)
    assert wrong["state"] == "failed"
    assert "checksum" in wrong["error"]
    assert desk.files() == {}
    assert desk.url("/a.safetensors", sha256=digest(BODY).upper())["state"] == "done"


def test_a_resumed_file_is_checked_from_its_first_byte(desk, server):
    leave_part(desk, server)
    desk.files()["loras/.a.safetensors.part"].write_bytes(BODY[:100] + bytes(HALF - 100))
    view = desk.url("/a.safetensors", sha256=digest(BODY))
    assert "checksum" in view["error"]
    assert desk.files() == {}


@pytest.mark.parametrize("says", [len(BODY) + 5, len(BODY) * 3])
def test_a_server_that_promises_too_much_is_noticed(desk, server, says):
    server.answers["/a.safetensors"] = Answer(BODY, says=says, ranges=False)
    view = desk.url("/a.safetensors")
    assert view["state"] == "failed"
    assert "broke off" in view["error"]
    assert "loras/a.safetensors" not in desk.files()


def test_a_server_that_falls_silent_is_left(desk, server):
    server.answers["/a.safetensors"] = Answer(BODY, says=len(BODY) + 5, ranges=False, hangs=True)
    desk.web = Web(proxies={}, timeout=httpx.Timeout(0.2))
    desk.downloads = desk.new()
    assert "broke off" in desk.url("/a.safetensors")["error"]


def test_a_server_that_promises_too_little_gives_no_model(desk, server):
    server.answers["/a.safetensors"] = Answer(BODY, says=len(BODY) - 5)
    view = desk.url("/a.safetensors")
    assert "damaged" in view["error"]
    assert desk.files() == {}


def test_a_file_without_a_length_must_be_whole_by_its_own_header(desk, server):
    server.answers["/a.safetensors"] = Answer(BODY, says="")
    assert desk.url("/a.safetensors")["state"] == "done"
    server.answers["/b.safetensors"] = Answer(BODY[:-1], says="")
    assert "damaged" in desk.url("/b.safetensors")["error"]


def test_a_server_that_sends_more_than_the_hub_announced_is_stopped(desk, server):
    server.answers["/o/r/resolve/main/a.safetensors"] = Answer(
        BODY + b"more", says="", headers={"X-Linked-Size": str(len(BODY))}
    )
    view = desk.get(repo="o/r", file="a.safetensors", kind="lora")
    assert "more than" in view["error"]
    assert desk.files() == {}


def test_a_server_that_has_another_length_than_the_hub_is_refused(desk, server):
    server.answers["/o/r/resolve/main/a.safetensors"] = Answer(BODY, headers={"X-Linked-Size": "9"})
    assert "announced" in desk.get(repo="o/r", file="a.safetensors", kind="lora")["error"]


def test_a_packed_answer_is_refused(desk, server):
    server.answers["/a.safetensors"] = Answer(BODY, headers={"Content-Encoding": "gzip"})
    assert "packs" in desk.url("/a.safetensors")["error"]


@pytest.mark.parametrize(
    ("name", "body", "headers", "said"),
    [
        ("a.safetensors", b"<!DOCTYPE html><p>Log in", {}, "page"),
        ("a.safetensors", b"<!DOCTYPE html><p>Log in", {"Content-Type": "text/html; charset=utf-8"}, "page"),
        ("a.safetensors", b'{"error": "Log in, please, to go on"}', {}, "message"),
        ("a.safetensors", b"MZ\x90" + bytes(100), {}, "program"),
        ("a.pt", b"\x7fELF" + bytes(100), {}, "program"),
        ("a.ckpt", b"just a text of some length", {}, "begin"),
        ("a.safetensors", b"short", {}, "begin"),
        ("a.exe", b"MZ", {}, "no model file"),
        ("a.zip", b"PK\x03\x04", {}, "no model file"),
        ("a.safetensors.exe", BODY, {}, "no model file"),
        ("page", b"<html>", {"Content-Type": "text/html"}, "page"),
    ],
)
def test_what_is_no_model_is_refused(desk, server, name, body, headers, said):
    server.answers[f"/{name}"] = Answer(body, headers=headers)
    view = desk.url(f"/{name}")
    assert view["state"] == "failed"
    assert said in view["error"]
    assert desk.files() == {}


def test_pickles_are_kept_as_they_are_and_never_run(desk, server):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a/data.pkl", pickle.dumps({}))
    server.answers["/a.ckpt"] = Answer(archive.getvalue())
    server.answers["/b.pt"] = Answer(pickle.dumps({"string_to_param": {}}))
    assert [desk.url(path)["state"] for path in ("/a.ckpt", "/b.pt")] == ["done", "done"]


def test_a_page_in_the_way_does_not_cost_the_part(desk, server):
    leave_part(desk, server)
    server.answers["/a.safetensors"] = Answer(b"<html>", headers={"Content-Type": "text/html"})
    assert "page" in desk.url("/a.safetensors")["error"]
    assert desk.files()["loras/.a.safetensors.part"].stat().st_size == HALF


def test_the_same_file_again_is_done_without_writing(desk, server):
    server.answers["/a.safetensors"] = Answer(BODY)
    assert desk.url("/a.safetensors")["state"] == "done"
    file = desk.files()["loras/a.safetensors"]
    before = file.stat()
    desk.downloads = desk.new()
    assert desk.url("/a.safetensors")["state"] == "done"
    server.heard.clear()
    assert desk.url("/a.safetensors", sha256=digest(BODY))["state"] == "done"
    assert len(server.heard) == 1  # to learn the name
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    assert list(desk.files()) == ["loras/a.safetensors"]


@pytest.mark.parametrize("old", [b"mine", safetensors(fill=1)], ids=["another length", "the same length"])
def test_another_file_of_that_name_is_never_overwritten(desk, server, old):
    (desk.models / "loras").mkdir(parents=True)
    (desk.models / "loras" / "a.safetensors").write_bytes(old)
    server.answers["/a.safetensors"] = Answer(BODY)
    for more in ({}, {"sha256": digest(BODY)}):
        view = desk.url("/a.safetensors", **more)
        assert view["state"] == "failed"
        assert "already" in view["error"]
        assert desk.files()["loras/a.safetensors"].read_bytes() == old


def test_too_little_space_is_seen_before_anything_is_written(desk, server):
    server.answers["/a.safetensors"] = Answer(BODY)
    desk.free = 10**6
    view = desk.url("/a.safetensors")
    assert "free" in view["error"]
    assert "goes on" in view["hint"]
    assert desk.files() == {}


def test_a_disk_that_fills_up_keeps_the_part_and_goes_on_later(desk, server, monkeypatch):
    server.answers["/a.safetensors"] = Answer(BODY, headers={"ETag": '"v1"'})
    really_add, room = Part.add, [1000]

    def add(self, chunk):
        fits = chunk[: room[0]]
        room[0] -= len(fits)
        really_add(self, fits)
        if len(fits) < len(chunk):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Part, "add", add)
    view = desk.url("/a.safetensors")
    assert "disk is full" in view["error"]
    assert desk.files()["loras/.a.safetensors.part"].read_bytes() == BODY[:1000]
    room[0] = 10**9
    server.heard.clear()
    assert desk.url("/a.safetensors")["state"] == "done"
    assert desk.ranges("/a.safetensors") == [None, "bytes=1000-"]
    assert desk.files()["loras/a.safetensors"].read_bytes() == BODY


def test_a_folder_that_cannot_be_written_is_named(desk, server):
    server.answers["/a.safetensors"] = Answer(BODY)
    desk.models.mkdir()
    (desk.models / "loras").write_text("in the way")
    view = desk.url("/a.safetensors")
    assert view["state"] == "failed"
    assert "could not be written" in view["error"]


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 bytes"), (999, "999 bytes"), (20_000, "20.0 KB"), (1_500_000, "1.5 MB"), (2_100_000_000, "2.1 GB")],
)
def test_sizes_are_told_in_the_unit_that_shows_something(count, words):
    assert in_words(count) == words

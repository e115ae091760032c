import os
import subprocess
import sys
import threading

import pytest

from studio.access import LOCAL_USER
from studio.errors import StorageError
from studio.library.download.ledger import Ledger
from tests.library.download.kit import BODY, HALF, leave_part
from tests.library.download.stand_in import Answer


def stop_halfway(desk, server):
    """The studio is stopped while a file comes and another one waits."""
    server.answers["/a.safetensors"] = answer = Answer(BODY, headers={"ETag": '"v1"'}, cuts=[0, HALF])
    asked = [{"url": f"{server.url}/{name}.safetensors", "kind": "lora"} for name in "ab"]
    asleep = threading.Event()
    desk.meanwhile = lambda stop: (asleep.set(), stop.wait(20)) if desk.downloads.list(LOCAL_USER)[0]["bytes"] else None
    views = [desk.downloads.add(body, LOCAL_USER, at_machine=True) for body in asked]
    assert asleep.wait(20)
    desk.downloads.close()
    answer.cuts.clear()
    server.heard.clear()
    desk.meanwhile = lambda stop: None
    return [view["id"] for view in views]


def test_an_unfinished_one_is_paused_after_a_restart_and_goes_on_where_it_was(desk, server):
    ids = stop_halfway(desk, server)
    rows = desk.restart()
    assert [(row["id"], row["state"]) for row in rows] == [(ids[0], "cancelled"), (ids[1], "cancelled")]
    assert [(row["bytes"], row["total"]) for row in rows] == [(HALF, len(BODY)), (0, None)]
    assert server.heard == []  # until the person says so
    done = desk.get(**rows[0]["request"])
    assert (done["id"], done["state"]) == (ids[0], "done")
    assert desk.ranges("/a.safetensors")[-1] == f"bytes={HALF}-"
    assert desk.files()["loras/a.safetensors"].read_bytes() == BODY


def test_one_whose_address_is_not_kept_goes_on_when_it_is_given_again(desk, server):
    address = "/a.safetensors?token=hush"
    server.answers["/a.safetensors"] = Answer(BODY, headers={"ETag": '"v1"'}, cuts=[0, HALF, *[0] * 9])
    failed = desk.url(address)
    assert (failed["state"], failed["request"]["url"]) == ("failed", server.url + address)
    assert desk.restart() == [failed | {"request": None}]
    server.answers["/a.safetensors"].cuts.clear()
    done = desk.url(address)
    assert (done["id"], done["state"]) == (failed["id"], "done")
    assert desk.ranges("/a.safetensors")[-1] == f"bytes={HALF}-"


def test_finished_and_failed_ones_stay_until_they_are_dismissed(desk, server):
    server.answers["/a.safetensors"] = Answer(BODY)
    ended = [desk.url("/a.safetensors"), desk.url("/none.safetensors")]
    assert [row["state"] for row in ended] == ["done", "failed"]
    assert desk.restart() == ended
    desk.downloads.forget(ended[0]["id"], LOCAL_USER)
    assert desk.restart() == ended[1:]


def test_what_is_asked_again_takes_its_place_at_the_end_for_good(desk, server):
    leave_part(desk, server)
    desk.url("/none.safetensors")
    desk.url("/a.safetensors")
    assert [row["name"] for row in desk.restart()] == ["none.safetensors", "a.safetensors"]


def test_the_ledger_does_not_grow_for_ever_either(desk):
    desk.environment["HF_ENDPOINT"] = "http://127.0.0.1:1"
    for number in range(102):
        desk.get(repo=f"o/r{number}", kind="lora", file="a.exe")
    assert [row["request"]["repo"] for row in desk.restart()] == [f"o/r{number}" for number in range(2, 102)]


def test_a_process_that_is_killed_leaves_its_download_paused(desk, server):
    """Nothing is written at the end then: what was written on the way must do."""
    server.answers["/a.safetensors"] = Answer(BODY, cuts=[0, HALF])
    script = """
import os, sys
from pathlib import Path
from studio.access import LOCAL_USER
from tests.library.download.kit import Desk

class Server:
    url, server_port = sys.argv[2], 1

desk = Desk(Path(sys.argv[1]), Server)
desk.meanwhile = lambda stop: os._exit(9) if desk.downloads.list(LOCAL_USER)[0]["bytes"] else None
desk.url("/a.safetensors")
"""
    folder = desk.models.parent
    here = {**os.environ, "PYTHONPATH": os.getcwd()}
    done = subprocess.run([sys.executable, "-c", script, folder, server.url], env=here, timeout=60, check=False)
    assert done.returncode == 9
    (row,) = desk.restart()
    assert (row["state"], row["name"]) == ("cancelled", "a.safetensors")
    server.answers["/a.safetensors"].cuts.clear()
    assert desk.get(**row["request"])["state"] == "done"


def test_a_ledger_that_cannot_be_written_stops_no_download(desk, server, monkeypatch, caplog):
    def full(self, row):
        raise StorageError("The disk is full.")

    monkeypatch.setattr(Ledger, "put", full)
    server.answers["/a.safetensors"] = Answer(BODY)
    assert desk.url("/a.safetensors")["state"] == "done"
    assert "The disk is full." in caplog.text


@pytest.mark.parametrize("where", [{"repo": "o/r", "file": "x/a.pt"}, {"repo": "o/r", "revision": "v2"}, {"url": "/a"}])
def test_a_request_comes_back_as_it_was_asked(desk, server, where):
    asked = {"kind": "vae", "sha256": "0" * 64, **where}
    view = desk.get(**asked | ({"url": server.url + asked["url"]} if "url" in asked else {}))
    assert desk.restart()[0]["request"] == view["request"]

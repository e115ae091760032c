import json

import pytest

from studio.cli import models_add
from studio.cli.commands import run
from studio.cli.models_add import There, body_of, follow, place
from studio.cli.parser import parse
from studio.errors import InvalidRequestError, StartError
from studio.lock import Running, StudioLock
from studio.settings import load_settings
from tests.cli.test_commands import Fake
from tests.library.download.stand_in import Answer, safetensors, serving


@pytest.fixture
def server():
    with serving() as server:
        server.answers["/a.safetensors"] = Answer(safetensors())
        yield server


def asked(*words):
    return body_of(parse(["models", "add", *words]))


def test_addresses_repositories_and_files_are_told_apart():
    nothing = {"kind": "", "sha256": ""}
    assert asked("https://h/a.pt") == {"url": "https://h/a.pt"} | nothing
    assert asked("o/r") == {"repo": "o/r", "file": ""} | nothing
    assert asked("o/r:x/a.pt", "--kind", "vae", "--sha256", "0") == {
        "repo": "o/r",
        "file": "x/a.pt",
        "kind": "vae",
        "sha256": "0",
    }


def test_a_model_arrives_and_is_named(server, tmp_path, capsys):
    words = ["--data", str(tmp_path), "models", "add", f"{server.url}/a.safetensors", "--kind", "lora"]
    assert run(words, Fake().programs) == 0
    assert capsys.readouterr().out.startswith("a.safetensors (lora, ")
    assert (tmp_path / "models" / "loras" / "a.safetensors").read_bytes() == safetensors()


def test_json_is_one_value_and_a_failure_is_a_sentence(server, tmp_path, capsys):
    words = ["--data", str(tmp_path), "models", "add", f"{server.url}/none.safetensors", "--kind", "lora", "--json"]
    assert run(words, Fake().programs) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["state"] == "failed"
    assert "404" in said.err


def test_wrong_use_is_told_from_failure(tmp_path, capsys):
    assert run(["--data", str(tmp_path), "models", "add", "nonsense"], Fake().programs) == 2
    assert "owner/name" in capsys.readouterr().err


def test_offline_refuses_in_one_line_and_asks_nobody(server, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(models_add, "place", lambda settings: pytest.fail("nobody is to be asked"))
    words = ["--data", str(tmp_path), "models", "add", f"{server.url}/a.safetensors", "--offline"]
    assert run(words, Fake().programs) == 2
    said = capsys.readouterr()
    assert said.err == "models add needs the network that --offline forbids. Leave it out to download.\n"
    assert (said.out, server.heard) == ("", [])


def test_a_studio_that_was_started_offline_refuses_in_its_own_words(server, tmp_path, capsys, monkeypatch):
    refused = InvalidRequestError("The studio was started with --offline.", field="", hint="Start it without.")
    monkeypatch.setattr(models_add, "running_studio", lambda lock: Running(pid=1, port=7860))
    monkeypatch.setattr(models_add, "There", lambda studio: There(Served(refused)))
    assert run(["--data", str(tmp_path), "models", "add", "o/r"], Fake().programs) == 2
    assert capsys.readouterr().err == "The studio was started with --offline. Start it without.\n"


class Served:
    """The studio that serves the data folder: it answers with these rows, one after the other."""

    def __init__(self, *rows):
        self.rows, self.asked = list(rows), []

    def ask(self, path, body=None, kind="", method=None):
        self.asked.append((method or ("POST" if body else "GET"), path))
        row = self.rows.pop(0)
        if isinstance(row, BaseException):
            raise row
        return row


def row(state, **more):
    return {"id": "7", "name": "a", "state": state, "bytes": 5, "total": 10, "error": "", "hint": "", **more}


def test_a_studio_that_serves_the_folder_is_asked_to_do_it(tmp_path, monkeypatch):
    monkeypatch.setattr(models_add, "running_studio", lambda lock: Running(pid=1, port=7860))
    with place(load_settings(tmp_path)) as where:
        assert isinstance(where, There)
    naps = []
    served = Served(row("queued"), [row("running")], [row("done")])
    where = There(served, naps.append)
    assert follow(where, where.add({}))["state"] == "done"
    assert served.asked == [("POST", "/api/v1/downloads"), *[("GET", "/api/v1/downloads")] * 2]
    assert len(naps) == 2


def test_stopping_the_command_stops_the_download():
    served = Served(KeyboardInterrupt(), row("cancelled"))
    assert follow(There(served, lambda seconds: None), row("running"))["state"] == "cancelled"
    assert served.asked[-1] == ("DELETE", "/api/v1/downloads/7")


def test_a_download_that_was_taken_off_the_list_has_failed():
    assert follow(There(Served([]), lambda seconds: None), row("running"))["state"] == "failed"


def test_two_commands_do_not_write_the_same_folder(tmp_path):
    settings = load_settings(tmp_path)
    with StudioLock(settings.paths.lock), pytest.raises(StartError), place(settings):
        pass

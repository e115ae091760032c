"""`generate` and `annotate` from flags to file, both ways: in this process, and over HTTP to the studio that serves."""

import json
import threading
from contextlib import contextmanager
from dataclasses import replace

import pytest
import uvicorn
from PIL import Image

from studio.api.guard import Guard, Policy
from studio.api.routes import build_api
from studio.app import build_studio
from studio.cli.annotate import annotate
from studio.cli.generate import generate
from studio.cli.parser import parse
from studio.errors import InvalidRequestError
from studio.jobs.worker import Dispatcher
from studio.lock import StudioLock
from studio.settings import load_settings
from tests.ui import fake_worker


@contextmanager
def painting_studio(settings):
    """The real stores and services with a worker that only paints."""
    studio = build_studio(settings)
    studio.dispatcher = Dispatcher(
        studio.jobs, studio.events, replace(studio.dispatcher.wiring, start_worker=fake_worker.main)
    )
    studio.dispatcher.start()
    try:
        yield studio
    finally:
        studio.events.close()
        studio.dispatcher.stop()


@contextmanager
def serving(studio, lock):
    """Its routes behind the guard with accounts, as they are when a studio is shared."""
    web = build_api(studio)
    web.add_middleware(Guard, policy=Policy(accounts=studio.accounts))
    server = uvicorn.Server(uvicorn.Config(web, port=0, log_level="error", timeout_graceful_shutdown=1))
    started, startup = threading.Event(), server.startup

    async def note_start(sockets=None):
        await startup(sockets)
        started.set()

    server.startup = note_start
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert started.wait(30)
        lock.announce(server.servers[0].sockets[0].getsockname()[1], studio.accounts.owner_key)
        yield
    finally:
        studio.events.close()
        server.should_exit = True
        thread.join()


@pytest.fixture(params=["here", "over http"])
def run(request, tmp_path):
    """Run a command with flags; a forbidden in-process studio proves that HTTP was used."""
    settings = load_settings(tmp_path / "data")

    def call(*words, command=generate, open_studio=painting_studio):
        flags = parse([command.__name__, "--out", str(tmp_path / "out.png"), *words])
        return command(flags, settings, open_studio)

    if request.param == "here":
        yield call
        return
    with StudioLock(settings.paths.lock) as lock, painting_studio(settings) as studio, serving(studio, lock):
        yield lambda *words, command=generate: call(*words, command=command, open_studio=None)


def test_a_job_ends_in_files_and_one_json_value(run, tmp_path, capsys):
    Image.new("L", (32, 32), 255).save(tmp_path / "map.png")
    flags = ("--prompt", "a red house", "--seed", "5", "--count", "2", "--control", f"scribble={tmp_path / 'map.png'}")
    assert run(*flags, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert [image["seed"] for image in report["images"]] == [5, 6]
    assert [Image.open(image["path"]).size for image in report["images"]] == [(128, 128)] * 2
    assert len(report["params"]["controls"][0]["map"]) == 64


def test_a_failed_job_is_status_1(run, tmp_path, capsys):
    assert run("--prompt", "fail", "--json") == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["status"] == "failed"
    assert said.err.splitlines()[-1] == json.loads(said.out)["error"]


def test_a_wrong_field_is_refused_with_the_same_sentence(run):
    with pytest.raises(InvalidRequestError, match=r"guidance_scale is 99\.0, which is not between") as error:
        run("--prompt", "x", "--guidance", "99")
    assert error.value.field == "guidance_scale"


def test_a_file_that_is_no_picture_is_refused(run, tmp_path):
    (tmp_path / "map.png").write_bytes(b"GIF89a nothing")
    with pytest.raises(Exception, match="picture"):
        run("--prompt", "x", "--control", f"scribble={tmp_path / 'map.png'}")


@pytest.fixture
def photo(tmp_path):
    Image.new("RGB", (20, 10), "red").save(tmp_path / "photo.jpg")
    return str(tmp_path / "photo.jpg")


def test_a_map_lies_where_it_was_asked_for(run, photo, tmp_path, capsys):
    assert run("canny", photo, "--option", "low_threshold=50", command=annotate) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "out.png")
    assert Image.open(tmp_path / "out.png").size == (8, 8)  # the painting worker's map


@pytest.mark.parametrize(
    ("words", "field", "says"),
    [
        (["spell"], "annotator", "There is no annotator 'spell'"),
        (["canny", "--option", "low_threshold=999"], "low_threshold", "not between 0 and 254"),
        (["canny", "--option", "depth=1"], "depth", "no option 'depth'"),
    ],
)
def test_a_map_that_cannot_be_made_is_refused_in_the_same_sentence(run, photo, words, field, says, tmp_path):
    kind, *options = words
    with pytest.raises(InvalidRequestError, match=says) as error:
        run(kind, photo, *options, command=annotate)
    assert error.value.field == field
    assert not (tmp_path / "out.png").exists()


def test_a_picture_follows_the_map_of_a_photo(run, photo, capsys):
    assert run("--prompt", "x", "--seed", "1", "--control", f"scribble={photo},annotate=edges", "--json") == 0
    (unit,) = json.loads(capsys.readouterr().out)["params"]["controls"]
    assert (unit["kind"], unit["annotator"]) == ("scribble", "canny")
    assert dict(unit["annotator_options"]) == {"low_threshold": 100, "high_threshold": 200}
    assert len(unit["source"]) == len(unit["map"]) == 64
    assert unit["source"] != unit["map"]

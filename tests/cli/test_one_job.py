"""`generate` from its flags to the file, both ways: in this process, and over HTTP to the studio that serves."""

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
    """Run `generate` with flags; a forbidden in-process studio proves that HTTP was used."""
    settings = load_settings(tmp_path / "data")

    def call(*words, open_studio=painting_studio):
        return generate(parse(["generate", "--out", str(tmp_path / "out.png"), *words]), settings, open_studio)

    if request.param == "here":
        yield call
        return
    with StudioLock(settings.paths.lock) as lock, painting_studio(settings) as studio, serving(studio, lock):
        yield lambda *words: call(*words, open_studio=None)


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

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from studio.cli.backends import RemoteBackend
from studio.errors import InvalidRequestError, WorkerError
from studio.lock import Running
from studio.params import GenerationRequest

REFUSAL = {"detail": "guidance_scale is 99.", "hint": "Choose less.", "field": "guidance_scale"}

ANSWERS = {
    "/api/v1/assets": (200, {"id": "f" * 64}),
    "/api/v1/annotate": (201, {"map": "e" * 64, "annotator": "canny", "options": {"low_threshold": 50.0}}),
    "/api/v1/jobs": (200, {"job": {"id": "1"}, "params": {}, "warnings": []}),
    "/api/v1/jobs/1": (200, {"id": "1", "state": "done"}),
    "/api/v1/jobs/1/cancel": (200, {"id": "1", "state": "cancelled"}),
    "/api/v1/jobs/wrong": (422, REFUSAL),
    "/api/v1/jobs/broken": (500, "?"),
}


class Stub(BaseHTTPRequestHandler):
    """Answers as the studio's routes do, and remembers what it was sent."""

    def do_GET(self):
        self.answer(b"")

    def do_POST(self):
        self.answer(self.rfile.read(int(self.headers["Content-Length"])))

    def answer(self, body):
        self.server.heard.append((self.command, self.path, body, self.headers.get("Authorization")))
        if self.path == "/api/v1/events":
            return self.send(200, b': hello\n\ndata: {"type": "job"}\n\n')
        status, said = ANSWERS[self.path]
        self.server.busy.wait(20)
        return self.send(status, json.dumps(said).encode())

    def send(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Stub) as server:
        server.heard, server.busy = [], threading.Event()
        server.busy.set()
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def remote(server):
    return RemoteBackend(Running(pid=1, port=server.server_address[1], key="secret"))


def test_a_job_is_submitted_over_http_with_the_key(remote, server):
    assert remote.submit(GenerationRequest(prompt="a house", seed=3))["job"]["id"] == "1"
    ((method, path, body, authorization),) = server.heard
    assert (method, path, authorization) == ("POST", "/api/v1/jobs", "Bearer secret")
    assert json.loads(body) == {"prompt": "a house", "seed": 3, "count": 1}


def test_pictures_are_uploaded_and_named_by_id(remote, server):
    assert remote.keep(b"picture") == "f" * 64
    assert server.heard[0][2] == b"picture"


def test_a_map_is_asked_for_by_the_id_of_its_photo(remote, server):
    assert remote.annotate("f" * 64, "edges", {"low_threshold": 50.0})["map"] == "e" * 64
    ((method, path, body, authorization),) = server.heard
    assert (method, path, authorization) == ("POST", "/api/v1/annotate", "Bearer secret")
    assert json.loads(body) == {"asset": "f" * 64, "annotator": "edges", "options": {"low_threshold": 50.0}}


def test_events_come_as_values_and_beats_as_none(remote):
    assert [event for event in remote.events() if event] == [{"type": "job"}]
    assert None in list(remote.events())


def test_a_job_is_asked_for_and_cancelled(remote, server):
    assert remote.job("1")["state"] == "done"
    remote.cancel("1")
    assert server.heard[-1][:2] == ("POST", "/api/v1/jobs/1/cancel")


def test_a_refusal_keeps_its_sentence_and_field(remote):
    with pytest.raises(InvalidRequestError, match=r"guidance_scale is 99\.") as error:
        remote.job("wrong")
    assert (error.value.field, error.value.hint) == ("guidance_scale", "Choose less.")


def test_a_broken_studio_is_a_worker_error(remote):
    with pytest.raises(WorkerError, match="500"):
        remote.job("broken")


def test_a_studio_that_is_gone_is_a_worker_error():
    with pytest.raises(WorkerError, match="does not answer"):
        RemoteBackend(Running(pid=1, port=9)).job("1")


def test_a_studio_that_reads_a_model_first_is_waited_for(remote, server, monkeypatch):
    monkeypatch.setitem(RemoteBackend._open.__kwdefaults__, "patience", 0.1)
    server.busy.clear()
    threading.Timer(0.5, server.busy.set).start()
    assert remote.submit(GenerationRequest(prompt="a house"))["job"]["id"] == "1"

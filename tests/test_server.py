import http.client
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest
from fastapi import FastAPI

from studio.errors import StartError
from studio.server import FIRST_PORT, Server, listen_on

HOST = "127.0.0.1"
SCRIPT = """
import asyncio
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from studio.server import Server, listen_on

app = FastAPI()

async def forever():
    while True:
        yield "beat"
        await asyncio.sleep(3600)

@app.get("/stream")
def stream():
    return StreamingResponse(forever())

listener = listen_on("127.0.0.1", 0)
Server(app, listener).serve(lambda: print(listener.getsockname()[1], flush=True), lambda: print("closing", flush=True))
print("ended", flush=True)
"""


@pytest.fixture
def running():
    """A server in a thread, with an application that greets."""
    app = FastAPI(openapi_url=None)
    app.get("/")(lambda: "hello")
    listener = listen_on(HOST, 0)
    server, ready, closing = Server(app, listener), threading.Event(), threading.Event()
    port = listener.getsockname()[1]
    thread = threading.Thread(target=server.serve, args=(ready.set, closing.set))
    thread.start()
    assert ready.wait(20)
    yield port, server, closing
    server.stop()
    thread.join(20)
    assert not thread.is_alive()


def get(port: int, path: str = "/") -> bytes:
    connection = http.client.HTTPConnection(HOST, port, timeout=20)
    connection.request("GET", path)
    answer = connection.getresponse().read()
    connection.close()
    return answer


def test_ready_means_that_the_page_answers(running):
    assert get(running[0]) == b'"hello"'


def test_stopping_lets_go_of_streams_first(running):
    _, server, closing = running
    server.stop()
    assert closing.wait(20)


def test_a_wanted_port_that_is_taken_is_refused_with_a_free_one():
    with listen_on(HOST, 0) as taken, pytest.raises(StartError, match="is taken by another program") as caught:
        listen_on(HOST, taken.getsockname()[1])
    assert "--port" in caught.value.hint


def test_without_a_wanted_port_the_next_free_one_is_taken():
    first = listen_on(HOST, None)
    second = listen_on(HOST, None)
    with first, second:
        ports = first.getsockname()[1], second.getsockname()[1]
    assert FIRST_PORT <= ports[0] < ports[1]


def test_a_port_is_held_from_the_start():
    with listen_on(HOST, 0) as held, socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match=r"in use|denied|access"):
            other.bind((HOST, held.getsockname()[1]))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_it_without_a_word_even_with_a_stream_open(number):
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        port = int(process.stdout.readline())
        connection = http.client.HTTPConnection(HOST, port, timeout=20)
        connection.request("GET", "/stream")
        assert connection.getresponse().read(4) == b"beat"
        process.send_signal(number)
        said, errors = process.communicate(timeout=20)
        connection.close()
    assert (process.returncode, said.split(), errors) == (0, ["closing", "ended"], "")

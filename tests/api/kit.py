"""What the tests of the routes share: clients, pictures, and a reader of event streams."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any

from PIL import Image
from starlette.testclient import TestClient

from studio.access import User
from studio.api.guard import Guard, Policy
from studio.api.routes import build_api
from studio.control.weights import Weights
from studio.jobs.maps import Maps
from studio.library.annotators import AnnotatorFiles
from studio.messages import Annotate, Annotated, RawImage
from studio.services import Studio
from studio.worker.annotate import Tools, annotate

ANN, BOB = User("ann", "guest"), User("bob", "guest")
PASSWORD = "correct horse"
HOST = "127.0.0.1:7860"
PROMPT = {"prompt": "a red house", "seed": 7}


def answer_maps(studio: Studio, monkeypatch) -> list[tuple[Annotate, str]]:
    """Let the worker's code answer where its process would; the questions that reached it, with who asked."""
    heard: list[tuple[Annotate, str]] = []
    maps = Maps()

    def answer(question: Annotate, owner: str) -> Annotated:
        heard.append((question, owner))
        waiting = maps.ask(question, owner)
        weights = Weights(AnnotatorFiles.of(studio.settings))
        maps.heard(annotate(question, Tools(studio.registry.annotators, weights, studio.assets.open_image)))
        return maps.wait(waiting)

    monkeypatch.setattr(studio.dispatcher, "annotate", answer)
    return heard


def build(studio: Studio, policy: Policy) -> Guard:
    return Guard(build_api(studio), policy)


def client(studio: Studio, policy: Policy, user: User | None = None) -> TestClient:
    """A client; of a user, if one is given, with their session."""
    made = TestClient(build(studio, policy), base_url=f"http://{HOST}", follow_redirects=False, client=("127.0.0.1", 1))
    if user is not None:
        made.cookies.set("maquette_session", studio.accounts.open_session(user))
    return made


def png(color: str = "red", size: tuple[int, int] = (16, 16)) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", size, color).save(buffer, "PNG")
    return buffer.getvalue()


def finished(studio: Studio, user: User) -> tuple[str, int]:
    """A job of that user that is done, and its picture in the gallery."""
    from studio.params import GenerationRequest

    submitted = studio.submit(GenerationRequest(**PROMPT), user)
    studio.jobs.claim()
    images = (RawImage(8, 8, bytes(8 * 8 * 3), 7),)
    item = studio.gallery.add(submitted.job.id, user.name, submitted.params, images)[0]
    studio.jobs.finish(submitted.job.id, (item.id,), (), {})
    return submitted.job.id, item.id


class Stream:
    """An event stream as one browser reads it."""

    def __init__(self) -> None:
        self.sent: asyncio.Queue[dict] = asyncio.Queue()
        self.gone = asyncio.Event()
        self.asked = False
        self.rest = b""

    async def receive(self) -> dict:
        if not self.asked:
            self.asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict) -> None:
        await self.sent.put(message)

    async def event(self) -> dict | None:
        """The next event; None when the stream has ended."""
        while b"\n\n" not in self.rest:
            message = await asyncio.wait_for(self.sent.get(), 20)
            if message["type"] == "http.response.body":
                self.rest += message["body"]
                if not message.get("more_body"):
                    return None
        part, _, self.rest = self.rest.partition(b"\n\n")
        return json.loads(part.removeprefix(b"data: "))


@asynccontextmanager
async def listening(app: Guard, session: str = "") -> AsyncIterator[tuple[Stream, asyncio.Task]]:
    """Open the stream of events; when the block ends the browser leaves."""
    headers = [(b"host", HOST.encode())]
    if session:
        headers.append((b"cookie", f"maquette_session={session}".encode()))
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/api/v1/events",
        "raw_path": b"/api/v1/events",
        "query_string": b"",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 7860),
        "root_path": "",
    }
    stream = Stream()
    task = asyncio.create_task(app(scope, stream.receive, stream.send))
    try:
        yield stream, task
    finally:
        stream.gone.set()
        await asyncio.wait_for(task, 20)


def check_answer(answer: Any, status: int, said: str) -> None:
    """A job was taken, with that in its warnings ("" for none), or refused in a whole sentence that has it."""
    body = answer.json()
    assert answer.status_code == status, body
    if status == 201:
        assert (said in " ".join(body["warnings"])) if said else body["warnings"] == []
    else:
        assert said in body["detail"]
        assert body["detail"].endswith(".")

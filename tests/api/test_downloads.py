import asyncio
import hashlib
import json
import struct
from dataclasses import replace

import pytest

from studio.access import LOCAL_USER
from studio.api.guard import Policy
from studio.app import build_studio
from tests.api.kit import ANN, build, client, listening
from tests.library.download.stand_in import FREE, Answer, serving


def embedding():
    """A textual inversion of one vector for SD 1.x."""
    header = {"emb_params": {"dtype": "F32", "shape": [1, 768], "data_offsets": [0, 3072]}}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(3072)


@pytest.fixture
def server():
    with serving() as server:
        server.answers["/word.safetensors"] = Answer(embedding())
        yield server


@pytest.fixture
def studio(studio):
    studio.downloads._around = replace(studio.downloads._around, free=lambda folder: FREE)
    yield studio
    studio.downloads.close()


def body(server, **more):
    return {"url": f"{server.url}/word.safetensors", "kind": "embedding", **more}


def ended(studio, answer):
    assert answer.status_code == 201
    return studio.downloads.wait(answer.json()["id"], LOCAL_USER, 30)


def test_a_model_is_in_the_list_when_it_has_arrived(studio, local, server):
    view = ended(studio, local.post("/api/v1/downloads", json=body(server)))
    assert (view["state"], view["error"]) == ("done", "")
    assert (view["model"]["name"], view["model"]["kind"], view["model"]["base"]) == ("word", "embedding", "sd1")
    assert local.get("/api/v1/downloads").json() == [view]
    rows = local.get("/api/v1/models", params={"kind": "embedding"}).json()["models"]
    assert [row["key"] for row in rows] == [view["model"]["key"]]


def test_what_was_read_on_its_way_is_not_read_again_at_first_use(studio, local, server, monkeypatch):
    view = ended(studio, local.post("/api/v1/downloads", json=body(server)))
    monkeypatch.setattr("studio.library.hashes.read_sha256", lambda file, told: pytest.fail(f"{file} was read again"))
    entry = studio.library.get(view["model"]["key"])
    assert studio.library.content_id(entry) == hashlib.sha256(embedding()).hexdigest()


def test_without_a_kind_it_is_identified(studio, local, server):
    view = ended(studio, local.post("/api/v1/downloads", json={"url": f"{server.url}/word.safetensors"}))
    assert (view["kind"], view["model"]["kind"]) == ("embedding", "embedding")
    assert (studio.settings.paths.models / "embeddings" / "word.safetensors").is_file()


def test_events_tell_the_owner_and_no_guest(studio, shared, server):
    async def read():
        guest = studio.accounts.open_session(ANN)
        owner = studio.accounts.open_session(LOCAL_USER)
        async with (
            listening(build(studio, shared), owner) as (stream, _),
            listening(build(studio, shared), guest) as (other, _),
        ):
            await stream.event()
            await other.event()
            await asyncio.to_thread(studio.downloads.add, body(server), LOCAL_USER, at_machine=True)
            states = []
            while not states or (states[-1]["type"], states[-1]["state"]) != ("download", "done"):
                states.append(await stream.event())
            studio.events.publish({"type": "queue", "waiting": 0})
            return states, [await other.event(), await other.event()]

    states, heard = asyncio.run(read())
    assert {event["type"] for event in states} == {"download", "scan"}
    assert states[-1]["state"] == "done"
    assert states[-1]["model"]["name"] == "word"
    assert [event["type"] for event in heard] == ["scan", "queue"]


def test_a_download_can_be_stopped_and_taken_off_the_list(studio, local, server):
    view = ended(studio, local.post("/api/v1/downloads", json=body(server)))
    path = f"/api/v1/downloads/{view['id']}"
    assert local.delete(path).json() == view
    assert local.delete(path, params={"forget": True}).status_code == 200
    assert local.get("/api/v1/downloads").json() == []
    assert local.delete(path).status_code == 404


def test_guests_cannot_download(ann, server):
    for answer in (
        ann.post("/api/v1/downloads", json=body(server)),
        ann.get("/api/v1/downloads"),
        ann.delete("/api/v1/downloads/1"),
    ):
        assert answer.status_code == 403
        assert answer.json()["detail"] == "Guests cannot download models."
    assert server.heard == []


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"kind": "virus"}, "kind"),
        ({"sha256": "12"}, "sha256"),
        ({"url": "file:///etc/passwd"}, "url"),
        ({"to": "/"}, "to"),
    ],
)
def test_a_wrong_request_names_its_field(local, server, wrong, field):
    answer = local.post("/api/v1/downloads", json=body(server) | wrong)
    assert (answer.status_code, answer.json()["field"]) == (422, field)


def test_a_studio_that_serves_offline_refuses_in_one_sentence(studio, server):
    offline = client(build_studio(replace(studio.settings, offline=True)), Policy())
    answer = offline.post("/api/v1/downloads", json=body(server))
    assert answer.status_code == 422
    assert answer.json()["detail"] == "The studio was started with --offline, so it uses no network."
    assert answer.json()["hint"] == "Start it without --offline to download."
    assert server.heard == []


@pytest.mark.parametrize("through", ["another machine", "the share tunnel", "a name of the network"])
def test_an_owner_elsewhere_reaches_no_private_address(studio, shared, server, through):
    came = client(studio, shared, LOCAL_USER)
    if through == "another machine":
        came._transport.client = ("192.168.1.9", 5000)
    elif through == "the share tunnel":
        came.headers["X-Forwarded-For"] = "8.8.8.8"
    else:
        shared.hosts.add("box.local")
        came.headers["Host"] = "box.local:7860"
    view = ended(studio, came.post("/api/v1/downloads", json=body(server)))
    assert view["state"] == "failed"
    assert "private network" in view["error"]
    assert server.heard == []


def test_the_routes_are_in_the_documentation(studio, local):
    paths = local.get("/api/v1/openapi.json").json()["paths"]
    assert set(paths["/api/v1/downloads"]) == {"get", "post"}

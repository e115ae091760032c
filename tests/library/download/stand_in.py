"""A server of files on this machine, with the faults that servers have, for the tests of downloads."""

import hashlib
import json
import ssl
import struct
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FREE = 10**12
CERTIFICATE = Path(__file__).with_name("models_example.pem")


def safetensors(count: int = 4000, fill: int = 7) -> bytes:
    """A file of one tensor of `count` bytes."""
    header = json.dumps({"weight": {"dtype": "U8", "shape": [count], "data_offsets": [0, count]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes([fill]) * count


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


@dataclass
class Answer:
    """What a path gives.

    Fields:
        cuts: Of each request in turn, after how many bytes of its body the connection drops; then none drops.
        says: The Content-Length, where it is not that of the body; "" for none at all.
        ranges: Whether parts are given.
        hangs: Whether the connection stays open when all is sent.
    """

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    says: int | str | None = None
    ranges: bool = True
    hangs: bool = False


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        path = self.path.partition("?")[0]
        self.server.heard.append((path, dict(self.headers)))
        answer = self.server.answers.get(path, Answer(b"none", 404))
        answer = answer.pop(0) if isinstance(answer, list) and len(answer) > 1 else answer
        answer = answer[0] if isinstance(answer, list) else answer
        body, status, headers = answer.body, answer.status, dict(answer.headers)
        cut = answer.cuts.pop(0) if answer.cuts else None  # before the client, who may go on at once, hears anything
        start = self.start_of(answer)
        if start is not None:
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
            body, status = body[start:], 206
            if not body:
                status, headers["Content-Range"] = 416, f"bytes */{len(answer.body)}"
        headers.setdefault("Content-Length", str(len(body) if answer.says is None else answer.says))
        self.send_response_only(status)
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[:cut])
        if answer.hangs:
            self.wfile.flush()
            self.server.closing.wait(20)

    def start_of(self, answer):
        """Where the wanted part begins; None for all of it."""
        wanted = self.headers.get("Range", "")
        unchanged = self.headers.get("If-Range") in (
            None,
            answer.headers.get("ETag"),
            answer.headers.get("Last-Modified"),
        )
        return int(wanted[6:-1]) if wanted and answer.ranges and unchanged else None

    def log_message(self, *words):
        pass


class StandIn(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.heard, self.closing = {}, [], threading.Event()

    def handle_error(self, request, client):
        """A client that has gone is none."""

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def paths(self):
        return [path for path, _ in self.heard]

    def hub_file(self, repo, path, body, *, lfs=True, **more):
        """A file of a repository, with the headers that the Hub sends on the way to it."""
        told = {"X-Linked-Etag": f'"{digest(body)}"', "X-Linked-Size": str(len(body))} if lfs else {}
        self.answers[f"/{repo}/resolve/main/{path}"] = Answer(body, headers={**told, "ETag": '"cdn"'}, **more)
        self.answers[f"/{repo}/resolve/c0ffee/{path}"] = self.answers[f"/{repo}/resolve/main/{path}"]

    def hub_list(self, repo, files):
        """A repository at commit c0ffee: {path: content}, all of them served, too."""
        rows = []
        for path, body in files.items():
            lfs = not path.endswith((".json", ".txt"))
            rows.append({"rfilename": path, "size": len(body)} | ({"lfs": {"sha256": digest(body)}} if lfs else {}))
            self.hub_file(repo, path, body, lfs=lfs)
        for revision in ("main", "c0ffee"):
            listing = json.dumps({"sha": "c0ffee", "siblings": rows}).encode()
            self.answers[f"/api/models/{repo}/revision/{revision}"] = Answer(listing)


@contextmanager
def serving(*, encrypted=False):
    """The server on a thread of its own; encrypted: as models.example."""
    with StandIn() as server:
        if encrypted:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(CERTIFICATE)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()

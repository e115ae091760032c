"""Where `generate` runs: in the studio that serves the data folder, over HTTP, or in this process when none does."""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Protocol, cast
from urllib.parse import quote

from studio.access import LOCAL_USER
from studio.errors import InvalidRequestError, StudioError, WorkerError
from studio.lock import Running
from studio.params import GenerationRequest
from studio.services import Studio
from studio.sight import Question

Plain = dict[str, Any]
BEAT = 0.5
PATIENCE, MAP_PATIENCE = 60.0, 150.0  # seconds; the studio itself gives up a map before


class Backend(Protocol):
    """What a command needs of a studio. Jobs and events are plain values, as front ends show them."""

    def keep(self, data: bytes) -> str:
        """Import a picture; its asset id. Raises: AssetError."""
        ...

    def annotate(self, asset: str, annotator: str, options: Mapping[str, float]) -> Plain:
        """Make a control map: {"map": its asset id, "annotator", "options": all of them}; of people also what
        studio.skeleton has: {"people", "canvas_width", "canvas_height"}; of captions {"words"} in place of the map.
        Raises: StudioError."""
        ...

    def download_annotator(self, name: str) -> list[Plain]:
        """Begin to download what that annotator needs and is not here. Raises: StudioError."""
        ...

    def asset(self, asset: str) -> bytes:
        """The PNG file of an asset."""
        ...

    def submit(self, request: GenerationRequest) -> Plain:
        """Queue a job: {"job", "params", "warnings"}. Raises: StudioError naming what cannot be used."""
        ...

    def events(self) -> Iterator[Plain | None]:
        """What happens from now on; None at least every few seconds."""
        ...

    def job(self, job_id: str) -> Plain:
        """The job as it stands."""
        ...

    def cancel(self, job_id: str) -> None:
        """Stop the job at its next step."""
        ...

    def picture(self, item: Plain) -> bytes:
        """The PNG file of one of a job's results."""
        ...


class LocalBackend:
    """A studio in this process."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    def keep(self, data: bytes) -> str:
        """Import a picture."""
        return self.studio.add_asset(data, LOCAL_USER)

    def annotate(self, asset: str, annotator: str, options: Mapping[str, float]) -> Plain:
        """Make a control map."""
        return self.studio.annotate(Question(asset=asset, annotator=annotator, options=options), LOCAL_USER).view()

    def download_annotator(self, name: str) -> list[Plain]:
        """Queue it."""
        return self.studio.download_annotator(name, LOCAL_USER, at_machine=True)

    def asset(self, asset: str) -> bytes:
        """Read the file."""
        return self.studio.assets.path(asset).read_bytes()

    def submit(self, request: GenerationRequest) -> Plain:
        """Queue a job."""
        submitted = self.studio.submit(request, LOCAL_USER)
        job = self.studio.job_view(submitted.job)
        return {"job": job, "params": submitted.params.to_dict(), "warnings": list(submitted.warnings)}

    def events(self) -> Iterator[Plain | None]:
        """What the hub tells, on an event loop of its own."""
        stream = self.studio.events.listen(None, beat=BEAT)
        with asyncio.Runner() as runner:
            try:
                while True:
                    yield runner.run(_next(stream))
            except StopAsyncIteration:
                return

    def job(self, job_id: str) -> Plain:
        """The job as it stands."""
        return self.studio.job_view(self.studio.job(job_id, LOCAL_USER))

    def cancel(self, job_id: str) -> None:
        """Stop the job."""
        self.studio.cancel(job_id, LOCAL_USER)

    def picture(self, item: Plain) -> bytes:
        """Read the file."""
        return self.studio.gallery_item(item["id"], LOCAL_USER).path.read_bytes()


class RemoteBackend:
    """The studio that serves the data folder, on this machine."""

    def __init__(self, running: Running) -> None:
        self.base = f"http://127.0.0.1:{running.port}"
        self.headers = {"Authorization": f"Bearer {running.key}"} if running.key else {}

    def keep(self, data: bytes) -> str:
        """Upload a picture."""
        return str(self.ask("/api/v1/assets", data, "application/octet-stream")["id"])

    def annotate(self, asset: str, annotator: str, options: Mapping[str, float]) -> Plain:
        """Ask for a control map."""
        body = json.dumps({"asset": asset, "annotator": annotator, "options": dict(options)}).encode()
        with self._open("/api/v1/annotate", body, "application/json", patience=MAP_PATIENCE) as reply:
            return json.load(reply)

    def download_annotator(self, name: str) -> list[Plain]:
        """Post it."""
        return self.ask(f"/api/v1/annotators/{quote(name, safe='')}/download", b"", "application/json")

    def asset(self, asset: str) -> bytes:
        """Download the file."""
        with self._open(f"/api/v1/assets/{asset}") as reply:
            return reply.read()

    def submit(self, request: GenerationRequest) -> Plain:
        """Post a job. A model that nobody has used yet is read first, which takes as long as the disk takes."""
        data = json.dumps(request.to_dict()).encode()
        with self._open("/api/v1/jobs", data, "application/json", patience=None) as reply:
            return json.load(reply)

    def events(self) -> Iterator[Plain | None]:
        """The event stream, line by line."""
        with self._open("/api/v1/events") as reply:
            for line in reply:
                yield json.loads(line[5:]) if line.startswith(b"data:") else None

    def job(self, job_id: str) -> Plain:
        """Ask for the job."""
        return self.ask(f"/api/v1/jobs/{job_id}")

    def cancel(self, job_id: str) -> None:
        """Ask to stop the job."""
        self.ask(f"/api/v1/jobs/{job_id}/cancel", b"", "application/json")

    def picture(self, item: Plain) -> bytes:
        """Download the file."""
        with self._open(f"/api/v1/gallery/{item['id']}/file") as reply:
            return reply.read()

    def ask(self, path: str, body: bytes | None = None, kind: str = "", method: str | None = None) -> Any:
        """The JSON that the studio answers. Raises: StudioError, with its sentence."""
        with self._open(path, body, kind, method) as reply:
            return json.load(reply)

    def _open(
        self,
        path: str,
        body: bytes | None = None,
        kind: str = "",
        method: str | None = None,
        *,
        patience: float | None = PATIENCE,
    ) -> Any:
        headers = self.headers | ({"Content-Type": kind} if kind else {})
        request = urllib.request.Request(self.base + path, data=body, headers=headers, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy has no way to this machine
        try:
            return opener.open(request, timeout=patience)
        except urllib.error.HTTPError as error:
            raise _refusal(error) from error
        except OSError as error:
            raise WorkerError(
                f"The studio at {self.base} does not answer ({error}).", hint="Start it again, or stop it."
            ) from error


def _refusal(error: urllib.error.HTTPError) -> StudioError:
    """The sentence that the studio answered; 4xx is a request that it will not take."""
    try:
        said: Any = json.load(error)
    except ValueError:
        said = {}
    body = cast(Plain, said) if isinstance(said, dict) else {}
    message = str(body.get("detail") or f"The studio answered {error.code} {error.reason}.")
    if error.code >= 500:
        return WorkerError(message, hint=str(body.get("hint", "")))
    return InvalidRequestError(message, field=str(body.get("field", "")), hint=str(body.get("hint", "")))


async def _next(stream: AsyncIterator[Plain | None]) -> Plain | None:
    return await anext(stream)

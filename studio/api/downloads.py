"""The routes of downloads: start one, see how far they are, stop one. Guests have none."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from starlette.concurrency import run_in_threadpool

from studio.api.bodies import read_object
from studio.api.guard import LOCAL_HOSTS, address_of, host_name, user_of
from studio.api.schemas import json_body, refusals
from studio.library.download.names import FOLDERS
from studio.services import Studio

DownloadId = Annotated[str, Path(description="The id of a download.", max_length=64)]
TEXT = {"type": "string"}
BODY: dict[str, Any] = {
    "type": "object",
    "properties": {
        "url": TEXT | {"description": "The address of a file, or of a repository of the Hub."},
        "repo": TEXT | {"description": "owner/name on the Hub, instead of url."},
        "file": TEXT | {"description": "One file of that repository."},
        "revision": TEXT | {"description": "A branch, tag or commit of that repository; main, if left out."},
        "kind": TEXT | {"enum": list(FOLDERS), "description": "What it is; left out, the file itself tells."},
        "sha256": TEXT | {"pattern": "^[0-9a-fA-F]{64}$", "description": "What the file must be."},
    },
}


def downloads_router(studio: Studio) -> APIRouter:
    """Everything under /api/v1/downloads."""
    known = refusals(s404="There is no such download.", s409="It has not ended.")
    router = APIRouter(prefix="/api/v1/downloads", tags=["models"], responses=known)

    @router.post("", status_code=201, openapi_extra=json_body("url or repo. Asked again, it goes on.", BODY))
    async def add(request: Request) -> dict[str, Any]:
        """Download a model. Answers at once, with its place in the list; events of the type `download` follow."""
        body, at_machine = await read_object(request), is_at_machine(request)
        return await run_in_threadpool(studio.downloads.add, body, user_of(request), at_machine=at_machine)

    @router.get("")
    def downloads(request: Request) -> list[dict[str, Any]]:
        """Every download that was not taken off the list, newest last. `request` asks a stopped one to go on."""
        return studio.downloads.list(user_of(request))

    @router.delete("/{download_id}")
    def cancel(download_id: DownloadId, request: Request, forget: bool = False) -> dict[str, Any]:
        """Stop a download; what is here of it stays for the next time. `forget` takes an ended one off the list."""
        if forget:
            studio.downloads.forget(download_id, user_of(request))
            return {"id": download_id, "forgotten": True}
        return studio.downloads.cancel(download_id, user_of(request))

    return router


def is_at_machine(request: Request) -> bool:
    """Whether the person sits at the studio's own machine: they may name addresses that only it can reach."""
    address = address_of(request.scope, request.headers)
    return address in LOCAL_HOSTS and host_name(request.headers.get("host", "")) in LOCAL_HOSTS

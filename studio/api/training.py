"""The routes of trainings. Guests have none."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from starlette.concurrency import run_in_threadpool

from studio.api.bodies import read_object
from studio.api.files import send_file
from studio.api.guard import user_of
from studio.api.schemas import file_answer, json_body, refusals
from studio.services import Studio
from studio.training_params import METHODS, SUBJECTS

RunId = Annotated[str, Path(description="The id of a run.", max_length=64)]
Word = Annotated[str, Path(description="pause, go, stop, sample, save or resume.", max_length=16)]
FileName = Annotated[str, Path(description="Of a sample picture, such as samples/100-0.png.", max_length=200)]
BODY: dict[str, Any] = {
    "type": "object",
    "required": ["name", "dataset"],
    "properties": {
        "name": {"type": "string", "description": "What the result is called; nothing is written over."},
        "dataset": {"type": "string", "description": "The name of a folder of pictures."},
        "subject": {"type": "string", "enum": list(SUBJECTS)},
        "method": {"type": "string", "enum": ["", *METHODS], "description": "Chosen, if it is empty."},
        "checkpoint": {"type": "string", "description": "What learns; the usual one, if it is empty."},
        "trigger": {"type": "string", "description": "The word that calls the result."},
        "class_word": {"type": "string", "description": "What kind of thing it is, such as cup."},
        "settings": {"type": "object", "description": "Fields of a training that shall not be chosen."},
        "yield_to_pictures": {"type": "boolean", "description": "Whether it pauses for pictures; true by default."},
    },
}


def training_router(studio: Studio) -> APIRouter:
    """Everything under /api/v1/training."""
    known = refusals(s404="There is no such run.", s409="Its state forbids it.")
    router = APIRouter(prefix="/api/v1/training", tags=["training"], responses=known)
    add_starts(router, studio)
    add_runs(router, studio)
    return router


def add_starts(router: APIRouter, studio: Studio) -> None:
    """What comes before a run, and its start."""
    said = "What shall be learned; all but name and dataset is chosen, where it is left out."

    @router.get("/methods")
    def methods(request: Request) -> list[dict[str, Any]]:
        """Every method in words, with its trade-offs."""
        return studio.trainings.methods(user_of(request))

    @router.post("/advice", openapi_extra=json_body(said, BODY))
    async def advice(request: Request) -> dict[str, Any]:
        """Every setting with its reason and source, warnings, and the other methods in words. Nothing begins."""
        return await run_in_threadpool(studio.trainings.advice, await read_object(request), user_of(request))

    @router.post("/runs", status_code=201, openapi_extra=json_body(said, BODY))
    async def start(request: Request) -> dict[str, Any]:
        """Train. Answers with the run in the queue; events of the type `training` follow."""
        return await run_in_threadpool(studio.trainings.start, await read_object(request), user_of(request))


def add_runs(router: APIRouter, studio: Studio) -> None:
    """Runs as they stand, and orders to them."""

    @router.get("/runs")
    def runs(request: Request) -> list[dict[str, Any]]:
        """Every run, the oldest first."""
        return studio.trainings.list(user_of(request))

    @router.post("/runs/restore", openapi_extra=json_body("{undo: what a deletion was answered with}"))
    async def restore(request: Request) -> dict[str, Any]:
        """Bring back a run from the trash."""
        return await run_in_threadpool(
            studio.trainings.restore, (await read_object(request)).get("undo"), user_of(request)
        )

    @router.get("/runs/{run_id}")
    def run(run_id: RunId, request: Request) -> dict[str, Any]:
        """One run with its log: what its process said so far."""
        return studio.trainings.get(run_id, user_of(request))

    @router.get("/runs/{run_id}/header")
    def header(run_id: RunId, request: Request) -> dict[str, Any]:
        """What its files say of themselves to everybody who gets them."""
        return studio.trainings.header(run_id, user_of(request))

    @router.get(
        "/runs/{run_id}/files/{name:path}", response_class=Response, responses=file_answer("image/png", "The picture.")
    )
    def file(run_id: RunId, name: FileName, request: Request) -> Response:
        """A sample picture."""
        return send_file(request, studio.trainings.file(run_id, name, user_of(request)), "image/png")

    @router.post("/runs/{run_id}/keep", openapi_extra=json_body("{step: one that was saved}"))
    async def keep(run_id: RunId, request: Request) -> dict[str, Any]:
        """Make what was saved at that step the result."""
        step = (await read_object(request)).get("step")
        return await run_in_threadpool(studio.trainings.keep, run_id, step, user_of(request))

    @router.post("/runs/{run_id}/export", openapi_extra=json_body("{layout: kohya, peft, diffusers or a1111}"))
    async def export(run_id: RunId, request: Request) -> list[dict[str, Any]]:
        """Write its results in another program's layout, too: {name, kind, layout, file, key, tensors} of each."""
        layout = (await read_object(request)).get("layout")
        return [*await run_in_threadpool(studio.trainings.export, run_id, layout, user_of(request))]

    @router.post("/runs/{run_id}/{word}")
    def order(run_id: RunId, word: Word, request: Request) -> dict[str, Any]:
        """Say pause, go, stop, sample, save or resume to it."""
        return studio.trainings.order(run_id, word, user_of(request))

    @router.delete("/runs/{run_id}")
    def delete(run_id: RunId, request: Request) -> dict[str, Any]:
        """Move a run to the trash; its results stay. `undo` brings it back within 30 days."""
        return studio.trainings.delete(run_id, user_of(request))

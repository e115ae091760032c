"""The routes under /api/v1: the page and other programs use the same calls of `Studio`."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Path, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse

from studio.access import LOCAL_USER, User, require
from studio.api.events import event_stream
from studio.errors import (
    AssetError,
    ForbiddenError,
    InvalidRequestError,
    JobError,
    StorageError,
    StudioError,
)
from studio.params import GenerationRequest
from studio.services import Studio, item_view

UPLOAD_MAX, JSON_MAX = 96 * 2**20, 4 * 2**20
STATUS: tuple[tuple[type[StudioError], int], ...] = (
    (ForbiddenError, 403),
    (JobError, 404),
    (StorageError, 507),
    (StudioError, 422),
)
JobId = Annotated[str, Path(description="The id of a job.")]
ItemId = Annotated[int, Path(description="The id of a picture in the gallery.", ge=0, le=2**62)]
Text = Annotated[str, Query(max_length=300)]


class TooLargeError(StudioError):
    """A body that is longer than its route takes."""

    hint = "Send less."


def user_of(request: Request) -> User:
    """Who asks, as the guard found out; the local user where no guard stands."""
    return getattr(request.state, "user", LOCAL_USER)


def build_api(studio: Studio) -> FastAPI:
    """The application with all routes, its documentation under /api/v1/docs."""
    app = FastAPI(
        title="Maquette",
        version="1",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        description="Submit generations, follow them, and fetch the pictures. Errors: {detail, field, hint}.",
    )
    app.include_router(jobs_router(studio))
    app.include_router(pictures_router(studio))
    app.include_router(studio_router(studio))

    @app.exception_handler(StudioError)
    async def _refuse(_request: Request, error: StudioError) -> JSONResponse:
        return refusal(error)

    return app


def refusal(error: StudioError) -> JSONResponse:
    """The answer for an error: the sentence that the page shows too, and the field, if one is to blame."""
    status = 413 if isinstance(error, TooLargeError) else next(code for kind, code in STATUS if isinstance(error, kind))
    body: dict[str, Any] = {"detail": str(error), "hint": error.hint}
    if isinstance(error, InvalidRequestError):
        body["field"] = error.field
    return JSONResponse(body, status_code=status)


async def read_body(request: Request, limit: int) -> bytes:
    """The body, read until it is longer than `limit` bytes. Raises: TooLargeError."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise TooLargeError(f"The body is longer than {limit // 2**20} MB.")
        parts.append(part)
    return b"".join(parts)


async def read_object(request: Request) -> dict[str, Any]:
    """The body as a JSON object. Raises: InvalidRequestError, TooLargeError."""
    try:
        data = json.loads(await read_body(request, JSON_MAX) or b"{}")
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"The body is no JSON: {error}.", field="body") from error
    if not isinstance(data, dict):
        raise InvalidRequestError("The body is no JSON object.", field="body")
    return data


def jobs_router(studio: Studio) -> APIRouter:
    """Submitting, following, cancelling."""
    router = APIRouter(prefix="/api/v1", tags=["jobs"])

    @router.post("/jobs", status_code=201, openapi_extra=_json_body("A generation request; blanks are chosen."))
    async def submit(request: Request) -> dict[str, Any]:
        """Queue a generation. Answers with the job, its params with nothing left to choose, and warnings."""
        submitted = studio.submit(GenerationRequest.from_dict(await read_object(request)), user_of(request))
        return {
            "job": studio.job_view(submitted.job),
            "params": submitted.params.to_dict(),
            "warnings": list(submitted.warnings),
        }

    @router.get("/jobs")
    def jobs(request: Request, limit: Annotated[int, Query(ge=1, le=500)] = 100) -> list[dict[str, Any]]:
        """Your jobs, newest first."""
        return [studio.job_view(job) for job in studio.list_jobs(user_of(request), limit=limit)]

    @router.get("/jobs/{job_id}")
    def job(job_id: JobId, request: Request) -> dict[str, Any]:
        """One job with the links of its pictures."""
        return studio.job_view(studio.job(job_id, user_of(request)))

    @router.post("/jobs/{job_id}/cancel")
    def cancel(job_id: JobId, request: Request) -> dict[str, Any]:
        """Stop a job: at once if it waits, at its next step if it runs."""
        return studio.job_view(studio.cancel(job_id, user_of(request)))

    @router.post("/jobs/{job_id}/retry")
    def retry(job_id: JobId, request: Request) -> dict[str, Any]:
        """Queue a failed or cancelled job again."""
        return studio.job_view(studio.retry(job_id, user_of(request)))

    @router.post("/jobs/{job_id}/move", openapi_extra=_json_body("{before: id of a waiting job, or null for last}"))
    async def move(job_id: JobId, request: Request) -> dict[str, Any]:
        """Change the order of the queue."""
        before = (await read_object(request)).get("before")
        if before is not None and not isinstance(before, str):
            raise InvalidRequestError("before must be the id of a job, or null.", field="before")
        return studio.job_view(studio.move(job_id, before, user_of(request)))

    @router.get("/events")
    async def events(request: Request) -> Response:
        """Server-sent events: first `hello` with the state of things, then every change; each is one JSON object."""
        return event_stream(studio, user_of(request))

    return router


def pictures_router(studio: Studio) -> APIRouter:
    """The gallery and assets."""
    router = APIRouter(prefix="/api/v1", tags=["pictures"])

    @router.get("/gallery")
    def gallery(
        request: Request,
        query: Text = "",
        starred: bool = False,
        before: int | None = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 60,
    ) -> list[dict[str, Any]]:
        """Your pictures, newest first, starting after the picture `before`."""
        items = studio.gallery_page(user_of(request), query=query, starred=starred, before=before, limit=limit)
        return [item_view(item) for item in items]

    @router.get("/gallery/{item_id}")
    def item(item_id: ItemId, request: Request) -> dict[str, Any]:
        """One picture with the settings that made it."""
        found = studio.gallery_item(item_id, user_of(request))
        return item_view(found) | {"params": found.params.to_dict(), "request": found.params.to_request().to_dict()}

    @router.get("/gallery/{item_id}/file")
    def file(item_id: ItemId, request: Request, download: bool = False) -> Response:
        """The PNG file itself, metadata included."""
        found = studio.gallery_item(item_id, user_of(request))
        if not found.path.is_file():
            raise AssetError(f"The file of picture {item_id} was removed from the disk.", hint="Delete the entry.")
        shown = "attachment" if download else "inline"
        return FileResponse(
            found.path, media_type="image/png", filename=found.path.name, content_disposition_type=shown
        )

    @router.get("/gallery/{item_id}/thumbnail")
    def thumbnail(item_id: ItemId, request: Request) -> Response:
        """A small WebP of the picture."""
        found = studio.gallery_item(item_id, user_of(request))
        return FileResponse(studio.gallery.thumbnail(found), media_type="image/webp")

    @router.post("/gallery/{item_id}/star", openapi_extra=_json_body("{starred: true or false}"))
    async def star(item_id: ItemId, request: Request) -> dict[str, Any]:
        """Mark a picture, or take the mark off."""
        starred = (await read_object(request)).get("starred", True)
        if not isinstance(starred, bool):
            raise InvalidRequestError("starred must be true or false.", field="starred")
        return item_view(studio.star(item_id, starred, user_of(request)))

    @router.delete("/gallery/{item_id}")
    def delete(item_id: ItemId, request: Request) -> dict[str, Any]:
        """Move a picture to the trash."""
        studio.delete(item_id, user_of(request))
        return {"deleted": item_id}

    @router.post("/gallery/{item_id}/restore")
    def restore(item_id: ItemId, request: Request) -> dict[str, Any]:
        """Bring a picture back from the trash."""
        return item_view(studio.restore(item_id, user_of(request)))

    @router.post("/assets", status_code=201, openapi_extra=_binary_body())
    async def add_asset(request: Request) -> dict[str, Any]:
        """Keep a picture (PNG, JPEG, WebP, GIF or BMP as the body); its id goes into requests."""
        return {"id": studio.add_asset(await read_body(request, UPLOAD_MAX), user_of(request))}

    @router.get("/assets/{asset_id}")
    def asset(asset_id: str) -> Response:
        """A picture that was kept, as a PNG."""
        path = studio.assets.path(asset_id)
        if not path.is_file():
            raise JobError(f"There is no picture {asset_id[:12]}.", hint="Upload it again.")
        return FileResponse(path, media_type="image/png")

    @router.get("/assets/{asset_id}/data")
    def asset_data(asset_id: str) -> Any:
        """What an editor kept beside a map, such as the strokes of a drawing."""
        return studio.assets.open_json(asset_id)

    @router.post("/settings-from-picture", openapi_extra=_binary_body())
    async def settings(request: Request) -> dict[str, Any]:
        """The request that a picture's metadata holds (ours, or A1111's), and notes on what could not be used."""
        found = studio.read_settings(await read_body(request, UPLOAD_MAX))
        return {"request": found.request.to_dict(), "notes": list(found.notes)}

    return router


def studio_router(studio: Studio) -> APIRouter:
    """What there is to choose, and the state of the studio."""
    router = APIRouter(prefix="/api/v1", tags=["studio"])

    @router.get("/models")
    def models() -> list[dict[str, Any]]:
        """Every model, with what it is and whether it can be used. Paths are told to no one."""
        return [{k: v for k, v in e.to_dict().items() if k != "path"} for e in studio.library.entries()]

    @router.get("/schedulers")
    def schedulers() -> list[dict[str, Any]]:
        """The schedulers, with the sigmas that each takes."""
        rows = studio.registry.schedulers.values()
        return [{"name": row.name, "label": row.label, "sigmas": list(row.sigmas)} for row in rows]

    @router.get("/presets")
    def presets() -> list[dict[str, Any]]:
        """Partial requests by name."""
        return [vars(preset) for preset in studio.presets()]

    @router.get("/status")
    def status(request: Request) -> dict[str, Any]:
        """The worker's state, the queue's length, warnings, and who you are."""
        user = user_of(request)
        return studio.status() | {"user": {"name": user.name, "role": user.role}}

    @router.get("/residency")
    def residency(request: Request) -> dict[str, Any]:
        """What the worker holds in memory."""
        require(user_of(request), "see_all")
        held = studio.residency()
        return {"models": [], "memory": {}} if held is None else {"models": list(held.models), "memory": held.memory}

    @router.post("/unknown-words", openapi_extra=_json_body("{prompt, checkpoint or null}"))
    async def unknown(request: Request) -> list[str]:
        """Words of a prompt that the checkpoint was never shown."""
        data = await read_object(request)
        prompt, checkpoint = data.get("prompt", ""), data.get("checkpoint")
        if not isinstance(prompt, str) or not isinstance(checkpoint, str | None):
            raise InvalidRequestError("prompt and checkpoint must be text.", field="prompt")
        return studio.unknown_words(prompt[:20_000], checkpoint)

    @router.get("/drafts/{browser}")
    def draft(browser: str, request: Request) -> dict[str, Any]:
        """What was typed and drawn in that browser."""
        return studio.draft(user_of(request), browser)

    @router.put("/drafts/{browser}", openapi_extra=_json_body("Whatever the page wants to find again."))
    async def save_draft(browser: str, request: Request) -> dict[str, bool]:
        """Keep what was typed and drawn."""
        studio.save_draft(user_of(request), browser, await read_object(request))
        return {"saved": True}

    return router


def _json_body(description: str) -> dict[str, Any]:
    return {
        "requestBody": {"description": description, "content": {"application/json": {"schema": {"type": "object"}}}}
    }


def _binary_body() -> dict[str, Any]:
    schema = {"type": "string", "format": "binary"}
    return {"requestBody": {"required": True, "content": {"application/octet-stream": {"schema": schema}}}}

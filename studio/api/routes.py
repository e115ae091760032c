"""The routes under /api/v1: the page and other programs use the same calls of `Studio`."""

from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from studio.access import User, require
from studio.api.adapters import adapters_router
from studio.api.annotate import annotate_router
from studio.api.bodies import UPLOAD_MAX, bug, for_guests, read_body, read_object, refusal, wrong_parameter
from studio.api.datasets import datasets_router
from studio.api.docs import docs_page
from studio.api.downloads import downloads_router
from studio.api.events import EventStream, status_view
from studio.api.files import send_file
from studio.api.grids import grids_router
from studio.api.guard import user_of
from studio.api.models import models_router
from studio.api.prompts import prompts_router
from studio.api.schemas import binary_body, file_answer, json_body, refusals, request_schema
from studio.api.tools import tools_router
from studio.api.training import training_router
from studio.errors import InvalidRequestError, MissingError, StudioError
from studio.params import GenerationRequest
from studio.services import Studio

JobId = Annotated[str, Path(description="The id of a job.", max_length=64)]
ItemId = Annotated[int, Path(description="The id of a picture in the gallery.", ge=0, le=2**62)]
AssetId = Annotated[str, Path(description="The id that an upload was answered with.", max_length=64)]
Browser = Annotated[str, Path(description="A name that the browser chose for itself.", max_length=100)]
EVENTS: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}}
Text = Annotated[str, Query(description="Words that the prompt holds.", max_length=300)]
NAMES = "Nothing of that name is here, or it is not yours."


def build_api(studio: Studio) -> FastAPI:
    """The application with all routes, to be put behind a Guard."""
    app = FastAPI(
        title="Maquette",
        version="1",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        description="Submit generations, follow them, and fetch the pictures. Refusals: {detail, field, hint}.",
        responses=refusals(s403="You may not do that.", s422="Something in the request is wrong."),
    )
    app.include_router(router(studio))

    @app.exception_handler(StudioError)
    async def _refuse(request: Request, error: StudioError) -> Response:
        return refusal(error if user_of(request).may("see_all") else for_guests(error))

    @app.exception_handler(RequestValidationError)
    async def _parameter(_request: Request, error: RequestValidationError) -> Response:
        return wrong_parameter(error)

    @app.exception_handler(Exception)
    async def _bug(_request: Request, error: Exception) -> Response:
        return bug(error)

    @app.get("/api/v1/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(docs_page(app.openapi()))

    return app


def router(studio: Studio) -> APIRouter:
    """Every route of ours."""
    all_routes = APIRouter()
    parts = (
        jobs_router,
        pictures_router,
        assets_router,
        annotate_router,
        prompts_router,
        models_router,
        adapters_router,
        grids_router,
        downloads_router,
        tools_router,
        datasets_router,
        training_router,
        studio_router,
    )
    for part in parts:
        all_routes.include_router(part(studio))
    return all_routes


def jobs_router(studio: Studio) -> APIRouter:
    """Submitting, following, cancelling."""
    router = APIRouter(prefix="/api/v1", tags=["jobs"], responses=refusals(s404=NAMES, s409="Its state forbids it."))

    @router.post("/jobs", status_code=201, openapi_extra=json_body("Blanks are chosen.", request_schema()))
    async def submit(request: Request) -> dict[str, Any]:
        """Queue a generation. Answers with the job, its params with nothing left to choose, and warnings."""
        wanted = GenerationRequest.from_dict(await read_object(request))
        submitted = await run_in_threadpool(studio.submit, wanted, user_of(request))
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

    @router.post("/jobs/{job_id}/move", openapi_extra=json_body("{before: id of a waiting job, or null for last}"))
    async def move(job_id: JobId, request: Request) -> dict[str, Any]:
        """Change the order of the queue."""
        before = (await read_object(request)).get("before")
        if before is not None and not isinstance(before, str):
            raise InvalidRequestError("before must be the id of a job, or null.", field="before")
        return studio.job_view(await run_in_threadpool(studio.move, job_id, before, user_of(request)))

    @router.get("/events", response_class=StreamingResponse, responses=EVENTS)
    async def events(request: Request) -> Response:
        """Server-sent events: first `hello` with the state of things, then every change; each is one JSON object."""
        return EventStream(studio, user_of(request))

    return router


def pictures_router(studio: Studio) -> APIRouter:
    """The gallery and assets."""
    router = APIRouter(prefix="/api/v1", tags=["pictures"], responses=refusals(s404=NAMES))

    @router.get("/gallery")
    def gallery(
        request: Request,
        query: Text = "",
        starred: bool = False,
        before: Annotated[int | None, Query(ge=0, le=2**62)] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 60,
    ) -> list[dict[str, Any]]:
        """Your pictures, newest first, starting after the picture `before`."""
        items = studio.gallery_page(user_of(request), query=query, starred=starred, before=before, limit=limit)
        return [item.view() for item in items]

    @router.get("/gallery/{item_id}")
    def item(item_id: ItemId, request: Request) -> dict[str, Any]:
        """One picture with the settings that made it."""
        found = studio.gallery_item(item_id, user_of(request))
        return found.view() | {"params": found.params.to_dict(), "request": found.params.to_request().to_dict()}

    @router.get("/gallery/{item_id}/file", response_class=FileResponse, responses=file_answer("image/png", "The file."))
    def file(item_id: ItemId, request: Request, download: bool = False) -> Response:
        """The PNG file itself, metadata included; `download` asks the browser to keep it under its name."""
        found = studio.gallery_item(item_id, user_of(request))
        return send_file(request, found.path, "image/png", found.path.name if download else None)

    @router.get("/gallery/{item_id}/thumbnail", response_class=FileResponse, responses=file_answer("image/webp", "It."))
    def thumbnail(item_id: ItemId, request: Request) -> Response:
        """A small WebP of the picture."""
        found = studio.gallery_item(item_id, user_of(request))
        return send_file(request, studio.gallery.thumbnail(found), "image/webp")

    @router.post("/gallery/{item_id}/star", openapi_extra=json_body("{starred: true or false}"))
    async def star(item_id: ItemId, request: Request) -> dict[str, Any]:
        """Mark a picture, or take the mark off."""
        starred = (await read_object(request)).get("starred", True)
        if not isinstance(starred, bool):
            raise InvalidRequestError("starred must be true or false.", field="starred")
        return (await run_in_threadpool(studio.star, item_id, starred, user_of(request))).view()

    @router.delete("/gallery/{item_id}")
    def delete(item_id: ItemId, request: Request) -> dict[str, Any]:
        """Move a picture to the trash."""
        studio.delete(item_id, user_of(request))
        return {"deleted": item_id}

    @router.post("/gallery/{item_id}/restore")
    def restore(item_id: ItemId, request: Request) -> dict[str, Any]:
        """Bring a picture back from the trash."""
        return studio.restore(item_id, user_of(request)).view()

    return router


def assets_router(studio: Studio) -> APIRouter:
    """Pictures that go into requests, and pictures that hold requests."""
    router = APIRouter(prefix="/api/v1", tags=["assets"], responses=refusals(s404=NAMES, s413="The body is too long."))
    picture = binary_body("A picture: PNG, JPEG, WebP, GIF or BMP, at most 64 MB.")

    def check(asset_id: str, user: User, suffix: str) -> None:
        if not studio.has_asset(asset_id, user, suffix):
            raise MissingError(f"There is no picture {asset_id[:12]!r}.", hint="Upload it again.")

    @router.post("/assets", status_code=201, openapi_extra=picture)
    async def add_asset(request: Request) -> dict[str, str]:
        """Keep a picture; its id goes into requests."""
        data = await read_body(request, UPLOAD_MAX)
        return {"id": await run_in_threadpool(studio.add_asset, data, user_of(request))}

    @router.get("/assets/{asset_id}", response_class=FileResponse, responses=file_answer("image/png", "The picture."))
    def asset(asset_id: AssetId, request: Request) -> Response:
        """A picture that you put in, as a PNG."""
        check(asset_id, user_of(request), ".png")
        return send_file(request, studio.assets.path(asset_id), "image/png")

    @router.get("/assets/{asset_id}/data")
    def asset_data(asset_id: AssetId, request: Request) -> Any:
        """What an editor kept beside a map, such as the strokes of a drawing."""
        check(asset_id, user_of(request), ".json")
        return studio.assets.open_json(asset_id)

    @router.post("/settings-from-picture", openapi_extra=picture)
    async def settings(request: Request) -> dict[str, Any]:
        """The request that a picture's metadata holds (ours, or A1111's), and notes on what could not be used."""
        data = await read_body(request, UPLOAD_MAX)
        found = await run_in_threadpool(studio.read_settings, data, user_of(request))
        return {"request": found.request.to_dict(), "notes": list(found.notes)}

    return router


def studio_router(studio: Studio) -> APIRouter:
    """What there is to choose, and the state of the studio."""
    router = APIRouter(prefix="/api/v1", tags=["studio"])

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
        return status_view(studio, user_of(request))

    @router.get("/residency")
    def residency(request: Request) -> dict[str, Any]:
        """What the worker holds in memory."""
        require(user_of(request), "see_all")
        held = studio.residency()
        return {"models": [], "memory": {}} if held is None else {"models": list(held.models), "memory": held.memory}

    @router.post("/free", responses=refusals(s409="A picture is being made."))
    def free(request: Request) -> dict[str, Any]:
        """Unload every model; what the worker holds afterwards. The next picture loads what it needs."""
        held = studio.free(user_of(request))
        return {"models": list(held.models), "memory": held.memory}

    @router.post("/unknown-words", openapi_extra=json_body("{prompt, checkpoint or null}"))
    async def unknown(request: Request) -> list[str]:
        """Words of a prompt that the checkpoint was never shown."""
        data = await read_object(request)
        prompt, checkpoint = data.get("prompt", ""), data.get("checkpoint")
        if not isinstance(prompt, str) or not isinstance(checkpoint, str | None):
            raise InvalidRequestError("prompt and checkpoint must be text.", field="prompt")
        return await run_in_threadpool(studio.unknown_words, prompt[:20_000], checkpoint)

    @router.get("/drafts/{browser}")
    def draft(browser: Browser, request: Request) -> dict[str, Any]:
        """What was typed and drawn in that browser."""
        return studio.draft(user_of(request), browser)

    @router.put("/drafts/{browser}", openapi_extra=json_body("Whatever the page wants to find again."))
    async def save_draft(browser: Browser, request: Request) -> dict[str, bool]:
        """Keep what was typed and drawn."""
        await run_in_threadpool(studio.save_draft, user_of(request), browser, await read_object(request))
        return {"saved": True}

    return router

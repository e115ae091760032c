"""The routes of the models: search, details, notes and corrections, previews, and looking at the folders again."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from studio.api.bodies import answer, read_object
from studio.api.files import send_file
from studio.api.guard import user_of
from studio.api.schemas import file_answer, json_body, refusals
from studio.library.search import Query as Wanted
from studio.models import scan_event
from studio.services import Studio

Key = Annotated[str, Path(description="The key of a model, from its row.", max_length=80)]
FITS = "A checkpoint that the models should fit."
Checkpoint = Annotated[str, Query(description=FITS, max_length=300)]
CHANGES = (
    "{favourite?, tags?, notes?, trigger_words?, kind?, base?, control_kind?, prediction_type?};"
    " null takes a correction back."
)


class Asked(BaseModel):
    """Which models are asked for, as the address says it."""

    q: str = Field("", description="Words that name, tags, notes or trigger words hold.", max_length=300)
    kind: str = Field("", max_length=80)
    base: str = Field("", max_length=80)
    usable: bool | None = None
    favourite: bool | None = None
    sort: str = Field("name", max_length=80)
    offset: int = Field(0, ge=0, le=2**31)
    limit: int = Field(60, ge=1, le=500)
    checkpoint: str = Field("", description=FITS, max_length=300)

    def wanted(self) -> Wanted:
        """The same as the library's question."""
        fields = self.model_dump(exclude={"checkpoint"})
        return Wanted(text=fields.pop("q"), **fields)


def models_router(studio: Studio) -> APIRouter:
    """The models: guests see those that can be used, without paths and notes."""
    router = APIRouter(prefix="/api/v1", tags=["models"], responses=refusals(s404="No such model is here."))

    @router.get("/models")
    def models(request: Request, asked: Annotated[Asked, Query()]) -> Response:
        """A page of models, sorted by name, size, used or added: {models, total, counts: {kind, base}}."""
        return answer(200, studio.models.page(asked.wanted(), user_of(request), asked.checkpoint))

    @router.post("/models/scan", status_code=202)
    def scan(request: Request) -> dict[str, Any]:
        """Look at the folders again; the events {type: "scan", state, done, total, found} tell how it goes."""
        studio.models.scan(user_of(request))
        return {"scanning": True}

    @router.get("/models/scan")
    def scan_state() -> dict[str, Any]:
        """How the last scan stands: {state: idle, running or done, done, total, found}."""
        return scan_event(studio.models.scanner.progress)

    @router.get("/models/{key}")
    def model(key: Key, request: Request, checkpoint: Checkpoint = "") -> Response:
        """One model: what it is, how we know, where it lies, its hash, copies of it, when it was last used, and, if
        it does not fit that checkpoint, `misfit`: the sentence with which POST /api/v1/jobs refuses it."""
        return answer(200, studio.models.details(key, user_of(request), checkpoint))

    @router.patch("/models/{key}", openapi_extra=json_body(CHANGES))
    async def change(key: Key, request: Request) -> dict[str, Any]:
        """Write tags and notes, mark it, or correct what was guessed; the row afterwards."""
        changes = await read_object(request)
        return await run_in_threadpool(studio.models.change, key, changes, user_of(request))

    @router.get("/models/{key}/preview", response_class=FileResponse, responses=file_answer("image/webp", "It."))
    def preview(key: Key, request: Request) -> Response:
        """A small WebP of the picture that lies beside the model."""
        return send_file(request, studio.models.preview(key, user_of(request)), "image/webp")

    return router

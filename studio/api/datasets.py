"""The routes of datasets: pictures to learn from, with captions and masks. Guests have none."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Any, cast

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import FileResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.types import Message

from studio.access import LOCAL_USER, require
from studio.api.bodies import UPLOAD_MAX, TooLargeError, read_body, read_object
from studio.api.files import send_file
from studio.api.guard import user_of
from studio.api.schemas import binary_body, file_answer, json_body, refusals
from studio.datasets.captions import EDITS
from studio.datasets.desk import Desk, Upload
from studio.errors import InvalidRequestError, StudioError
from studio.services import Studio
from studio.training_params import SIDE_MAX

FILES_MAX, FILES_BYTES = 12_000, 4 * 2**30  # of one upload, which lies on the disk while it comes in
KINDS = {".png": "image/png", ".gif": "image/gif", ".webp": "image/webp", ".bmp": "image/bmp"}
USUAL_SIDE = 512
Name = Annotated[str, Path(description="The name of a dataset.", max_length=255)]
File = Annotated[str, Path(description="A picture, by its path in the dataset.", max_length=1000)]
Resolution = Annotated[int, Query(description="That it will be trained at; 0 for the usual.", ge=0, le=SIDE_MAX)]
Trigger = Annotated[str, Query(description="The word that shall be in every caption.", max_length=100)]
UPLOAD: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "Pictures, captions (NAME.txt), masks (NAME-masklabel.png) and zip archives of these.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"files": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                }
            }
        },
    }
}
BULK = json_body(
    "text: the words; with: what replaces them. fill gives captions to pictures that have none.",
    {
        "type": "object",
        "required": ["do", "text"],
        "properties": {
            "do": {"type": "string", "enum": list(EDITS)},
            "text": {"type": "string"},
            "with": {"type": "string"},
        },
    },
)


def datasets_router(studio: Studio) -> APIRouter:
    """Everything under /api/v1/datasets."""
    desk = desk_of(studio)
    known = refusals(s404="There is no such dataset or picture.", s413="The body is too long.")
    router = APIRouter(prefix="/api/v1/datasets", tags=["datasets"], responses=known)
    add_sets(router, desk)
    add_captions(router, desk)
    add_files(router, desk)
    return router


def desk_of(studio: Studio) -> Desk:
    """The datasets of this studio."""

    def words(picture: bytes) -> str:
        return studio.sight(LOCAL_USER).caption(studio.add_asset(picture, LOCAL_USER))

    def side() -> int:
        try:
            return studio.card().native_size
        except StudioError:
            return USUAL_SIDE

    thumbs = studio.settings.paths.root / "cache" / "datasets" / "thumbs"
    return Desk(store=studio.datasets, thumbs=thumbs, words=words, side=side, tell=studio.events.publish)


def add_sets(router: APIRouter, desk: Desk) -> None:
    """Whole datasets."""

    @router.get("")
    def datasets(request: Request) -> list[dict[str, Any]]:
        """Every dataset: name, how many pictures, captions and warnings, and the link of its cover."""
        return desk.list(user_of(request))

    @router.post("", status_code=201, openapi_extra=json_body("{name}"))
    async def create(request: Request) -> dict[str, Any]:
        """Make an empty one. A folder that was copied into data/datasets by hand is one, too."""
        name = (await read_object(request)).get("name")
        return await run_in_threadpool(desk.create, name, user_of(request))

    @router.post("/restore", openapi_extra=json_body("{undo: what a deletion was answered with}"))
    async def restore(request: Request) -> dict[str, Any]:
        """Bring back a picture or a dataset from the trash."""
        token = (await read_object(request)).get("undo")
        return await run_in_threadpool(desk.restore, token, user_of(request))

    @router.get("/{name}")
    def dataset(name: Name, request: Request, resolution: Resolution = 0, trigger: Trigger = "") -> dict[str, Any]:
        """Every picture with its caption and what is wrong with it, and what the doctor says of all of them."""
        return desk.view(name, user_of(request), resolution, trigger)

    @router.delete("/{name}")
    def delete(name: Name, request: Request) -> dict[str, Any]:
        """Move all of it to the trash; `undo` brings it back within 30 days."""
        return desk.delete(name, user_of(request))


def add_captions(router: APIRouter, desk: Desk) -> None:
    """Captions."""

    @router.put("/{name}/captions", openapi_extra=json_body("{file: caption, ...}; an empty one takes it away."))
    async def captions(name: Name, request: Request) -> dict[str, Any]:
        """Write captions, all of them or none; `previous` is what undoes it."""
        return await run_in_threadpool(desk.write_captions, name, await read_object(request), user_of(request))

    @router.post("/{name}/captions/bulk", openapi_extra=BULK)
    async def bulk(name: Name, request: Request) -> dict[str, Any]:
        """Change all captions at once: {changed, previous}."""
        return await run_in_threadpool(desk.edit_captions, name, await read_object(request), user_of(request))

    @router.post("/{name}/caption", responses=refusals(s409="That is at work already."))
    def caption(name: Name, request: Request) -> dict[str, Any]:
        """Have a caption made for each picture without one, and wait; events of the type `dataset` tell each."""
        return desk.caption(name, user_of(request))

    @router.delete("/{name}/caption")
    def stop(name: Name, request: Request) -> dict[str, Any]:
        """Make no more captions; those that are made stay."""
        return desk.stop_captions(name, user_of(request))


def add_files(router: APIRouter, desk: Desk) -> None:
    """Pictures and masks."""

    @router.post("/{name}/files", openapi_extra=UPLOAD)
    async def add(name: Name, request: Request) -> dict[str, Any]:
        """Add pictures, with what belongs to them: {added, skipped: [{name, reason}], captions, masks}."""
        user = user_of(request)
        require(user, "train")
        async with uploads_of(request) as uploads:
            return await run_in_threadpool(desk.add, name, uploads, user)

    @router.post("/{name}/folder", openapi_extra=json_body("{path: of a folder of this machine}"))
    async def add_folder(name: Name, request: Request) -> dict[str, Any]:
        """Copy all pictures of a folder in, with what belongs to them."""
        path = (await read_object(request)).get("path")
        return await run_in_threadpool(desk.add_folder, name, path, user_of(request))

    @router.get("/{name}/files/{file:path}", response_class=FileResponse, responses=file_answer("image/*", "It."))
    def file(name: Name, file: File, request: Request) -> Response:
        """A picture as it was given."""
        path = desk.file(name, file, user_of(request))
        return send_file(request, path, KINDS.get(path.suffix.lower(), "image/jpeg"))

    @router.delete("/{name}/files/{file:path}")
    def delete_file(name: Name, file: File, request: Request) -> dict[str, Any]:
        """Move a picture with its caption and mask to the trash; `undo` brings them back."""
        return desk.delete_file(name, file, user_of(request))

    @router.get("/{name}/thumbs/{file:path}", response_class=FileResponse, responses=file_answer("image/webp", "It."))
    def thumb(name: Name, file: File, request: Request) -> Response:
        """A small WebP of it; what a mask leaves out is pale."""
        return send_file(request, desk.thumb(name, file, user_of(request)), "image/webp")

    @router.get("/{name}/masks/{file:path}", response_class=FileResponse, responses=file_answer("image/png", "It."))
    def mask(name: Name, file: File, request: Request) -> Response:
        """The mask of a picture, as large as that."""
        return send_file(request, desk.mask(name, file, user_of(request)), "image/png")

    @router.put("/{name}/masks/{file:path}", openapi_extra=binary_body("A picture: white is what counts."))
    async def put_mask(name: Name, file: File, request: Request) -> dict[str, Any]:
        """Keep a mask of a picture."""
        data = await read_body(request, UPLOAD_MAX)
        return await run_in_threadpool(desk.put_mask, name, file, data, user_of(request))

    @router.delete("/{name}/masks/{file:path}")
    def delete_mask(name: Name, file: File, request: Request) -> dict[str, Any]:
        """Take the mask of a picture away."""
        return desk.delete_mask(name, file, user_of(request))


@asynccontextmanager
async def uploads_of(request: Request) -> AsyncGenerator[list[Upload]]:
    """The files of a form, which lie on the disk until the block ends; large ones never pass through memory whole.

    Raises: InvalidRequestError, if there are none, or it is no form; TooLargeError.
    """
    try:
        form = await limited(request).form(max_files=FILES_MAX, max_fields=FILES_MAX)
    except HTTPException as error:
        raise InvalidRequestError(f"The upload cannot be read. {error.detail}", field="files") from error
    try:
        found = [one for _, one in form.multi_items() if isinstance(one, UploadFile)]
        if not found:
            raise InvalidRequestError("No files came.", field="files", hint="Send them as a form, in `files`.")
        yield [Upload(one.filename or "", cast(Any, one.file)) for one in found]
    finally:
        await form.close()


def limited(request: Request) -> Request:
    """The request, whose body may be as long as an upload. Raises, when it is longer: TooLargeError."""
    size = 0
    too_large = TooLargeError(
        f"One upload may have {FILES_BYTES // 2**30} GB.",
        hint="Send fewer at once, or copy them into data/datasets yourself.",
    )
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told) > FILES_BYTES:
        raise too_large

    async def receive() -> Message:
        nonlocal size
        message = await request.receive()
        size += len(message.get("body", b""))
        if size > FILES_BYTES:
            raise too_large
        return message

    return Request(request.scope, receive)

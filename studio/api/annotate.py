"""The routes of control maps: which annotators there are, a map of a picture, and which models follow one."""

from dataclasses import asdict
from typing import Annotated, Any, cast

from fastapi import APIRouter, Path, Query, Request
from starlette.concurrency import run_in_threadpool

from studio.api.bodies import read_object
from studio.api.downloads import is_at_machine
from studio.api.guard import user_of
from studio.api.schemas import json_body, refusals
from studio.errors import InvalidRequestError
from studio.hookspecs import AnnotatorSpec
from studio.library.annotators import AnnotatorFiles
from studio.params import RESIZE_MODES
from studio.services import Studio
from studio.sight import Question

Name = Annotated[str, Path(description="The name of an annotator.", max_length=100)]
FIELDS: dict[str, type] = {
    "asset": str,
    "annotator": str,
    "options": dict,
    "page": str,
    "size": list,
    "resize_mode": str,
}
BODY = json_body(
    "asset: the id of an upload; annotator: a name, or a control kind for its default; page: a name, so that a later "
    "call replaces this one, which is answered with 409; size: width and height of the picture that the map is for, to "
    "which the upload is fitted first, by resize_mode (crop, fill or stretch), so that the map is as sharp as can be.",
    {
        "type": "object",
        "required": ["asset", "annotator"],
        "properties": {
            "asset": {"type": "string"},
            "annotator": {"type": "string"},
            "options": {"type": "object", "additionalProperties": {"type": "number"}},
            "page": {"type": "string"},
            "size": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2},
            "resize_mode": {"enum": list(RESIZE_MODES)},
        },
    },
)


def annotate_router(studio: Studio) -> APIRouter:
    """From a picture to a control map."""
    router = APIRouter(prefix="/api/v1", tags=["control"])

    @router.get("/annotators")
    def annotators() -> list[dict[str, Any]]:
        """The annotators, with the sliders of each, the control kind of its maps, and what it needs first, if any.

        `download`: whether what is missing can be downloaded.
        """
        files = AnnotatorFiles.of(studio.settings)
        return [row_view(row, files) for row in studio.registry.annotators.values()]

    @router.get("/controls")
    def controls(
        kind: Annotated[str, Query(max_length=100)], checkpoint: Annotated[str, Query(max_length=300)] = ""
    ) -> list[dict[str, str]]:
        """The models that follow a map of that kind with the checkpoint, the one chosen by itself first.

        technique: controlnet, t2i_adapter or ip_adapter.
        """
        found = studio.control_models(kind, checkpoint or None)
        return [{"name": entry.name, "technique": entry.kind} for entry in found]

    @router.post("/annotators/{name}/download", status_code=201)
    def download(name: Name, request: Request) -> list[dict[str, Any]]:
        """Download what an annotator opens and is not here: its downloads, as GET /downloads lists them."""
        return studio.download_annotator(name, user_of(request), at_machine=is_at_machine(request))

    replaced = refusals(s409="A newer map was asked for, or too many are being made.")

    @router.post("/annotate", status_code=201, openapi_extra=BODY, responses=replaced)
    async def annotate(request: Request) -> dict[str, Any]:
        """Make a control map and keep it: {map: its asset id, annotator, options: every one that was used}.

        An annotator of poses adds what it found in OpenPose's form: {people, canvas_width, canvas_height}; one of
        captions gives words in place of the map.
        """
        question = read_question(await read_object(request))
        made = await run_in_threadpool(studio.annotate, question, user_of(request))
        return made.view()

    return router


def row_view(row: AnnotatorSpec, files: AnnotatorFiles) -> dict[str, Any]:
    """An annotator as front ends see it."""
    shown = {name: value for name, value in asdict(row).items() if name in ("name", "label", "kind", "options")}
    return shown | {"needs": files.needs(row), "download": bool(files.downloads(row))}


def read_question(data: dict[str, Any]) -> Question:
    """The body, with every field of its kind. Raises: InvalidRequestError, naming the field."""
    words = {str: "text", dict: "an object of numbers by name", list: "a list of two whole numbers"}
    if unknown := sorted(set(data) - set(FIELDS)):
        raise InvalidRequestError(
            f"Unknown field {unknown[0][:40]!r}.", field=unknown[0][:40], hint=f"Known fields: {', '.join(FIELDS)}."
        )
    for name in ("asset", "annotator"):
        if name not in data:
            raise InvalidRequestError(f"The field {name!r} is missing.", field=name)
    for name, value in data.items():
        if not isinstance(value, FIELDS[name]):
            raise InvalidRequestError(f"{name} must be {words[FIELDS[name]]}.", field=name)
    if len(cast(str, data.get("page", ""))) > 100:
        raise InvalidRequestError("page has more than 100 characters.", field="page")
    size = data.get("size", [1, 1])
    if len(size) != 2 or not all(isinstance(side, int) and not isinstance(side, bool) for side in size):
        raise InvalidRequestError(f"size must be {words[list]}.", field="size")
    sized: dict[str, Any] = {**data, "size": tuple(size)} if "size" in data else data
    return Question(**sized)

"""The routes of grids: one request over one to three axes."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from starlette.concurrency import run_in_threadpool

from studio.api.bodies import read_object
from studio.api.guard import user_of
from studio.api.schemas import file_answer, json_body, refusals
from studio.grids.plan import axes_of
from studio.grids.runs import cancel_grid, grid_sheet, grid_view, read_grid, start_grid
from studio.params import GenerationRequest
from studio.services import Studio

GridId = Annotated[str, Path(description="The id of a grid.", max_length=64)]
BODY = '{request: as of a job, axes: [{field, values: [...]} or {field, text: "1, 2, 3"}]}, the first to the right.'


def grids_router(studio: Studio) -> APIRouter:
    """Making, following and looking at grids."""
    router = APIRouter(prefix="/api/v1", tags=["grids"], responses=refusals(s404="No such grid is here."))

    @router.post("/grids", status_code=201, openapi_extra=json_body(BODY))
    async def start(request: Request) -> dict[str, Any]:
        """Queue every picture of a grid, in the order in which expensive things change least."""
        body, user = await read_object(request), user_of(request)
        wanted, axes = GenerationRequest.from_dict(body.get("request") or {}), axes_of(body.get("axes"))
        grid = await run_in_threadpool(start_grid, studio, wanted, axes, user)
        return await run_in_threadpool(grid_view, studio, grid, user)

    @router.get("/grids/{grid_id}")
    def look(grid_id: GridId, request: Request) -> dict[str, Any]:
        """A grid as it stands: {axes, cells: [{place, job, state, error, picture}], done, total}."""
        user = user_of(request)
        return grid_view(studio, read_grid(studio, grid_id, user), user)

    @router.get("/grids/{grid_id}/sheet", response_class=Response, responses=file_answer("image/png", "The sheet."))
    def sheet(grid_id: GridId, request: Request) -> Response:
        """The labelled sheet, as far as it is made; pictures that are missing are grey."""
        user = user_of(request)
        return Response(grid_sheet(studio, read_grid(studio, grid_id, user), user), media_type="image/png")

    @router.post("/grids/{grid_id}/cancel")
    def cancel(grid_id: GridId, request: Request) -> dict[str, Any]:
        """Stop what is left of a grid; pictures that are made stay."""
        user = user_of(request)
        grid = read_grid(studio, grid_id, user)
        cancel_grid(studio, grid, user)
        return grid_view(studio, grid, user)

    return router

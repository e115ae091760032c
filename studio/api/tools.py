"""The routes of the tools: model files made of model files. Guests have none."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from starlette.concurrency import run_in_threadpool

from studio.api.bodies import read_object
from studio.api.guard import user_of
from studio.api.schemas import json_body, refusals
from studio.library.tools.table import TOOLS
from studio.services import Studio

RunId = Annotated[str, Path(description="The id of a run.", max_length=64)]
BODY: dict[str, Any] = {
    "type": "object",
    "required": ["tool", "files", "name"],
    "properties": {
        "tool": {"type": "string", "enum": [tool.name for tool in TOOLS]},
        "files": {
            "type": "array",
            "description": "Names of models; of adapters, with their weights for the UNet and the text encoders.",
            "items": {
                "oneOf": [
                    {"type": "string"},
                    {
                        "type": "object",
                        "required": ["name"],
                        "properties": {
                            "name": {"type": "string"},
                            "weight": {"type": "number"},
                            "text_weight": {"type": ["number", "null"]},
                        },
                    },
                ]
            },
        },
        "name": {"type": "string", "description": "What the result is called; nothing is written over."},
    },
}


def tools_router(studio: Studio) -> APIRouter:
    """Everything under /api/v1/tools."""
    known = refusals(s404="There is no such run.", s409="It has not ended.")
    router = APIRouter(prefix="/api/v1/tools", tags=["models"], responses=known)
    said = "The fields of a tool, as GET /tools tells them."

    @router.get("")
    def tools(request: Request) -> list[dict[str, Any]]:
        """Every tool with the fields that it asks for."""
        return studio.tools.table(user_of(request))

    @router.post("/plan", openapi_extra=json_body(said, BODY))
    async def plan(request: Request) -> dict[str, Any]:
        """What would come out, and about how large: {text, bytes, name}. Nothing is made."""
        return await run_in_threadpool(studio.tools.plan, await read_object(request), user_of(request))

    @router.post("/runs", status_code=201, openapi_extra=json_body(said, BODY))
    async def start(request: Request) -> dict[str, Any]:
        """Use a tool. Answers at once, with its place in the list; events of the type `tool` follow."""
        return await run_in_threadpool(studio.tools.start, await read_object(request), user_of(request))

    @router.get("/runs")
    def runs(request: Request) -> list[dict[str, Any]]:
        """Every run since the studio was started, newest last."""
        return studio.tools.list(user_of(request))

    @router.delete("/runs/{run_id}")
    def cancel(run_id: RunId, request: Request, forget: bool = False) -> dict[str, Any]:
        """Stop a run; nothing of its result stays. `forget` takes an ended one off the list."""
        if forget:
            studio.tools.forget(run_id, user_of(request))
            return {"id": run_id, "forgotten": True}
        return studio.tools.cancel(run_id, user_of(request))

    return router

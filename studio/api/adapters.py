"""The routes of the shelf: the adapters with what fits a checkpoint, and saved stacks."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from studio.api.bodies import answer, read_object
from studio.api.guard import user_of
from studio.api.schemas import json_body, refusals
from studio.services import Studio
from studio.shelf import Wanted

Label = Annotated[str, Path(description="The name of a saved stack.", max_length=60)]
STACK = "{adapters: [...]}, as in a request."


class Asked(BaseModel):
    """Which adapters are asked for, as the address says it."""

    q: str = Field("", description="Words that name, tags, notes or trigger words hold.", max_length=300)
    kind: str = Field("", description="lora, embedding or hypernetwork.", max_length=80)
    checkpoint: str = Field("", description="A checkpoint that the adapters should fit.", max_length=300)
    fitting: bool = Field(True, description="Leave out those that do not fit it.")
    offset: int = Field(0, ge=0, le=2**31)
    limit: int = Field(60, ge=1, le=500)

    def wanted(self) -> Wanted:
        """The same as the shelf's question."""
        fields = self.model_dump()
        return Wanted(text=fields.pop("q"), **fields)


class Named(BaseModel):
    """One adapter, as the address says it."""

    name: str = Field(max_length=300)
    kind: str = Field("lora", max_length=80)
    checkpoint: str = Field("", max_length=300)


def adapters_router(studio: Studio) -> APIRouter:
    """What a stack can be made of, and stacks that were kept."""
    router = APIRouter(prefix="/api/v1", tags=["adapters"], responses=refusals(s404="No such thing is here."))

    @router.get("/adapters")
    def adapters(request: Request, asked: Annotated[Asked, Query()]) -> Response:
        """A page of the shelf: {adapters, total, misfits}; one that does not fit the checkpoint says `why`."""
        return answer(200, studio.shelf.page(asked.wanted(), user_of(request)))

    @router.get("/adapters/one")
    def one(request: Request, asked: Annotated[Named, Query()]) -> Response:
        """One adapter by its name, in any case."""
        return answer(200, studio.shelf.one(asked.kind, asked.name, asked.checkpoint, user_of(request)))

    @router.get("/stacks")
    def stacks() -> list[dict[str, Any]]:
        """The stacks that were kept, by name: [{name, adapters}]."""
        return [stack.to_dict() for stack in studio.stacks.all()]

    @router.put("/stacks/{label}", openapi_extra=json_body(STACK))
    async def keep(label: Label, request: Request) -> dict[str, Any]:
        """Keep a stack under a name, in the place of an older one of that name."""
        body = await read_object(request)
        stack = await run_in_threadpool(studio.stacks.keep, label, body.get("adapters"), user_of(request))
        return stack.to_dict()

    @router.delete("/stacks/{label}")
    def remove(label: Label, request: Request) -> dict[str, Any]:
        """Forget a stack."""
        studio.stacks.remove(label, user_of(request))
        return {"removed": label}

    return router

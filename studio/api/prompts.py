"""The route of the prompt inspector."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from studio.api.bodies import read_object
from studio.api.guard import user_of
from studio.api.schemas import json_body, refusals, request_schema
from studio.inspector import inspect
from studio.params import GenerationRequest
from studio.services import Studio


def prompts_router(studio: Studio) -> APIRouter:
    """From words to tokens."""
    router = APIRouter(prefix="/api/v1", tags=["prompt"], responses=refusals(s409="Too many are being read."))

    @router.post("/prompt", openapi_extra=json_body("A request, as for POST /jobs.", request_schema()))
    async def read(request: Request) -> dict[str, Any]:
        """How a request's words would be read, without making a picture.

        {prompt, negative_prompt: after wildcards and tags; steps; window: words that fit one;
        lines: [{negative, weight, more, spans: [{first, last, text, tokens, windows: [[chip]]}]}], with a chip as
        {text, weight, embedding, vectors}; regions: lines as well, with color and the region's weight; weighting: how
        weights count; networks: [{kind, name, weight, text_weight, why}]; embeddings: names;
        warnings}.
        """
        wanted = GenerationRequest.from_dict(await read_object(request))
        return await run_in_threadpool(inspect, studio, wanted, user_of(request))

    return router

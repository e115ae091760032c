"""The service behind the prompt inspector: what a request's words turn into, before any picture is made."""

import uuid
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from studio.access import User, require
from studio.errors import StudioError
from studio.messages import ModelLocation, Tokenize
from studio.params import AdapterRef, GenerationRequest, Region, check_range
from studio.prompts.networks import NetworkTag
from studio.prompts.prepare import prepare
from studio.regions import Speaking
from studio.resolve import STEPS_MAX
from studio.services import Studio
from studio.stacking import Stacking


def inspect(studio: Studio, request: GenerationRequest, user: User, page: str = "") -> dict[str, Any]:
    """How the request's prompt and negative prompt are read; waits for the worker.

    Adds to what studio.worker.tokenize.read_prompt gives: prompt and negative_prompt, as they are after templates were
    drawn with the request's seed (0 for a random one); networks: the adapters that tags name, each with its weights and
    `why`, "" where it can be used; embeddings: the names that were found; weighting: the name of how weights count;
    warnings: sentences. Each of its regions has its color and its weight beside what it says; those without words are
    left out.
    page: A later question of the same page replaces an earlier one.
    Raises: ForbiddenError, InvalidRequestError, ModelNotFoundError, JobError, WorkerError.
    """
    require(user, "generate")
    resolver = studio.resolver
    entry = resolver.checkpoint(request.checkpoint)
    said = prepare(request.prompt, request.negative_prompt, max(request.seed or 0, 0), resolver.sources())
    warnings = list(said.warnings)
    stacking = Stacking(studio.library, entry, warnings)
    regions = _regions(request, Speaking(max(request.seed or 0, 0), resolver.sources().wildcards, str, warnings))
    spoken = tuple(region.words for region in regions)
    embeddings = stacking.embeddings(said.prompt, said.negative_prompt, *spoken)
    files = {e.id: e for e in studio.library.entries("embedding")}
    question = Tokenize(
        id=uuid.uuid4().hex,
        checkpoint=ModelLocation(entry.name, entry.id, str(entry.path), entry.kind, entry.base),
        prompt=said.prompt,
        negative_prompt=said.negative_prompt,
        steps=_steps(request, resolver.card(entry).num_inference_steps),
        embeddings={ref.name: studio.library.location(files[ref.id]) for ref in embeddings},
        page=str((user.name, page)) if page else "",
        inside=_loras(stacking, request.adapters, said.tags),
        regions=spoken,
    )
    view = studio.dispatcher.tokenize(question, user.name).view
    told = [line | {"color": r.color, "weight": r.weight} for r, line in zip(regions, view["regions"], strict=True)]
    return {
        **{name: value for name, value in view.items() if name != "inside"},
        "regions": told,
        "weighting": request.prompt_weighting,
        "prompt": said.prompt,
        "negative_prompt": said.negative_prompt,
        "networks": [_network(stacking, tag) for tag in said.tags],
        "embeddings": list(dict.fromkeys([*(ref.name for ref in embeddings), *view["inside"]])),
        "warnings": list(dict.fromkeys(warnings)),
    }


def _regions(request: GenerationRequest, speaking: Speaking) -> list[Region]:
    """The regions that say something, as the first picture has them."""
    return [r for unit in request.controls if unit.regions for r in speaking.unit(unit).regions if r.words]


def _loras(stacking: Stacking, stack: Sequence[AdapterRef], tags: Sequence[NetworkTag]) -> tuple[ModelLocation, ...]:
    """Where the files of LoRAs are, of those that can be used; what stands against one is said elsewhere."""
    refs, found = list(stack), list[ModelLocation]()
    for tag in tags:
        with suppress(StudioError):
            refs += stacking.tagged([tag])
    for ref in refs:
        with suppress(StudioError):
            entry = stacking.entry(ref)
            if ref.kind == "lora" and (ref.weight or ref.text_weight) and entry.usable:
                found.append(ModelLocation(entry.name, entry.id, str(entry.path), entry.kind, entry.base))
    return tuple(found)


def _steps(request: GenerationRequest, usual: int) -> int:
    """The steps that run, as the engine counts them."""
    steps = usual if request.num_inference_steps is None else request.num_inference_steps
    check_range("num_inference_steps", steps, 1, STEPS_MAX)
    if request.init_image is None or request.strength is None:
        return steps
    return max(1, min(int(steps * request.strength), steps))


def _network(stacking: Stacking, tag: NetworkTag) -> dict[str, Any]:
    """A tag as front ends show it."""
    shown = {"kind": tag.kind, "name": tag.name, "weight": tag.weight, "text_weight": tag.text_weight, "why": ""}
    try:
        refs = stacking.adapters(stacking.tagged([tag]))
    except StudioError as error:
        return shown | {"why": error.sentence()}
    return shown | ({"name": refs[0].name} if refs else {})

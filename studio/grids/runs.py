"""Grids that are queued: their jobs, how far they are, and their sheet."""

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from PIL import Image

from studio.access import User
from studio.errors import ForbiddenError, MissingError, StudioError
from studio.gallery.index import GalleryItem
from studio.grids.plan import Axis, plan
from studio.grids.sheet import Layout, draw_sheet, sides
from studio.jobs.queue import Job
from studio.params import GenerationRequest
from studio.services import GUEST_JOBS, Studio

ENDED = ("done", "failed", "cancelled")


@dataclass(frozen=True)
class Grid:
    """A grid as it was queued. cells: (place, job id) in the order of the queue."""

    id: str
    axes: tuple[Axis, ...]
    cells: tuple[tuple[tuple[int, ...], str], ...]
    warnings: tuple[str, ...] = ()


def start_grid(studio: Studio, request: GenerationRequest, axes: Sequence[Axis], user: User) -> Grid:
    """Check every picture of the grid, then queue all of them. One seed is drawn for all, unless it is an axis.

    Raises: InvalidRequestError and kin, before anything is queued.
    """
    cells = plan(settled(studio, request, axes, user), axes)
    if not user.may("see_all") and len(cells) > GUEST_JOBS:
        raise ForbiddenError(f"A guest's grid has at most {GUEST_JOBS} pictures.", hint="Give fewer values.")
    for cell in cells:
        studio.resolve(cell.request, user)
    sent = [(cell.place, studio.submit(cell.request, user)) for cell in cells]
    warnings = dict.fromkeys(line for _, submitted in sent for line in submitted.warnings)
    queued = tuple((place, submitted.job.id) for place, submitted in sent)
    body = {"grid": 1, "axes": [asdict(axis) for axis in axes], "cells": [[list(place), job] for place, job in queued]}
    grid_id = studio.assets.put_json(body)
    studio.uploads.note(user.name, [grid_id])
    return Grid(grid_id, tuple(axes), queued, tuple(warnings))


def settled(studio: Studio, request: GenerationRequest, axes: Sequence[Axis], user: User) -> GenerationRequest:
    """The request with what all its pictures share: a seed, maps that are made, and words that were looked up."""
    params, _ = studio.resolve(plan(request, axes)[0].request, user)
    made = tuple(replace(unit, map=done.map) for unit, done in zip(request.controls, params.controls, strict=True))
    said = (
        replace(request, prompt=params.prompt, prompt_mode="typed") if request.prompt_mode == "automatic" else request
    )
    return replace(said, seed=params.seed, controls=made)


def read_grid(studio: Studio, grid_id: str, user: User) -> Grid:
    """A grid that was queued. Raises: MissingError, if it is not here or not the user's."""
    missing = MissingError(f"There is no grid {grid_id[:40]!r}.", hint="Make it again.")
    if not studio.has_asset(grid_id, user, ".json"):
        raise missing
    try:
        body: Any = studio.assets.open_json(grid_id)
        axes = tuple(Axis(field=axis["field"], values=tuple(axis["values"])) for axis in body["axes"])
        return Grid(grid_id, axes, tuple((tuple(place), str(job)) for place, job in body["cells"]))
    except (ValueError, KeyError, TypeError, StudioError) as error:
        raise missing from error


def grid_view(studio: Studio, grid: Grid, user: User) -> dict[str, Any]:
    """A grid as front ends show it: its axes with labels, each cell with its job's state and picture."""
    cells = [_cell_view(studio, place, job_id, user) for place, job_id in grid.cells]
    ended = sum(cell["state"] in ENDED for cell in cells)
    axes = [{"field": a.field, "label": a.label, "values": list(a.values), "labels": a.labels} for a in grid.axes]
    return {
        "id": grid.id,
        "axes": axes,
        "cells": cells,
        "done": ended,
        "total": len(cells),
        "warnings": list(grid.warnings),
    }


def grid_sheet(studio: Studio, grid: Grid, user: User) -> bytes:
    """The sheet as a PNG file, as far as it is made."""
    items = {place: item for place, job_id in grid.cells if (item := _picture(studio, job_id, user)) is not None}
    first = next(iter(items.values()), None)
    size = (first.width, first.height) if first else (256, 256)

    def opened(place: tuple[int, ...]) -> Image.Image | None:
        item = items.get(place)
        try:
            return item and Image.open(item.path).convert("RGB")
        except OSError:  # removed by hand
            return None

    data = io.BytesIO()
    draw_sheet(Layout(sides(grid.axes), size), opened).save(data, "PNG")
    return data.getvalue()


def cancel_grid(studio: Studio, grid: Grid, user: User) -> None:
    """Stop what is left of it; pictures that are made stay."""
    for _, job_id in reversed(grid.cells):
        job = _job(studio, job_id, user)
        if job is not None and job.state not in ENDED:
            studio.cancel(job_id, user)


def _cell_view(studio: Studio, place: tuple[int, ...], job_id: str, user: User) -> dict[str, Any]:
    job = _job(studio, job_id, user)
    item = _picture(studio, job_id, user)
    return {
        "place": list(place),
        "job": job_id,
        "state": job.state if job else "cancelled",
        "error": job.error if job else "",
        "picture": None if item is None else item.view(),
    }


def _picture(studio: Studio, job_id: str, user: User) -> GalleryItem | None:
    job = _job(studio, job_id, user)
    return studio.gallery.get(job.results[0]) if job and job.results else None


def _job(studio: Studio, job_id: str, user: User) -> Job | None:
    try:
        return studio.job(job_id, user)
    except StudioError:
        return None

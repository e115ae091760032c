"""`generate --grid`: one request over one to three axes, on a labelled sheet."""

import argparse
import json
import secrets
import sys
from dataclasses import dataclass, field, replace
from io import BytesIO

from PIL import Image

from studio.cli.backends import Backend, Plain
from studio.cli.generate import OpenStudio, Progress, backend, check_out, follow
from studio.cli.request import build_request
from studio.errors import InvalidRequestError, StudioError
from studio.files import write_whole
from studio.grids.plan import Axis, Cell, plan, read_axis
from studio.grids.sheet import Layout, draw_sheet, sides
from studio.settings import Settings

Place = tuple[int, ...]


@dataclass
class Made:
    """The pictures of a grid so far, and sentences on those that failed."""

    pictures: dict[Place, Image.Image] = field(default_factory=dict[Place, Image.Image])
    errors: list[str] = field(default_factory=list[str])


def generate_grid(flags: argparse.Namespace, settings: Settings, open_studio: OpenStudio) -> int:
    """Make every picture of the grid, in the order in which expensive things change least, and the sheet.

    Exit status: 0 all done, 1 some failed or were cancelled. Raises: StudioError for wrong use, before any is made.
    """
    check_out(flags.out)
    axes = [parse_grid(text) for text in flags.grid]
    with backend(settings, open_studio) as studio:
        request = build_request(flags, studio.keep)
        seed = secrets.randbelow(2**32) if request.seed is None else request.seed
        queued = queue_all(studio, plan(replace(request, seed=seed), axes))
        made = follow_all(studio, queued)
    write_whole(flags.out, sheet_of(axes, made))
    report = {"status": "failed" if made.errors else "done", "sheet": str(flags.out), "pictures": len(made.pictures)}
    print(json.dumps(report | ({"errors": made.errors} if made.errors else {})) if flags.json else flags.out)
    return 1 if made.errors else 0


def parse_grid(text: str) -> Axis:
    """A --grid flag, FIELD=A,B,C. Raises: InvalidRequestError."""
    name, equals, values = text.partition("=")
    if not equals:
        raise InvalidRequestError(
            f"--grid {text[:60]} says no values.", field="grid", hint="Write it as --grid guidance_scale=3,5,7."
        )
    return read_axis(name.strip(), values)


def queue_all(studio: Backend, cells: list[Cell]) -> list[tuple[Place, Plain]]:
    """Queue every picture; if one of them is refused, none is made."""
    queued: list[tuple[Place, Plain]] = []
    try:
        for cell in cells:
            queued.append((cell.place, studio.submit(cell.request)))
    except StudioError:
        for _, submitted in queued:
            studio.cancel(submitted["job"]["id"])
        raise
    for warning in dict.fromkeys(line for _, submitted in queued for line in submitted["warnings"]):
        print(f"Note: {warning}", file=sys.stderr)
    return queued


def follow_all(studio: Backend, queued: list[tuple[Place, Plain]]) -> Made:
    """Wait for every picture; when one is cancelled, so are those after it."""
    made = Made()
    for number, (place, submitted) in enumerate(queued, start=1):
        print(f"Picture {number} of {len(queued)}", file=sys.stderr)
        job = follow(studio, submitted["job"]["id"], Progress(sys.stderr.isatty()))
        if job["state"] == "done":
            made.pictures[place] = Image.open(BytesIO(studio.picture(job["results"][0])))
            continue
        made.errors.append(StudioError(job["error"], hint=job["hint"]).sentence())
        print(made.errors[-1], file=sys.stderr)
        if job["state"] == "cancelled":
            for _, rest in queued[number:]:
                studio.cancel(rest["job"]["id"])
            break
    return made


def sheet_of(axes: list[Axis], made: Made) -> bytes:
    """The sheet as a PNG file; pictures that are missing are grey."""
    first = next(iter(made.pictures.values()), None)
    data = BytesIO()
    draw_sheet(Layout(sides(axes), first.size if first else (256, 256)), made.pictures.get).save(data, "PNG")
    return data.getvalue()

"""`annotate`: a photo in, a control map, a pose or a caption out."""

import argparse
import json
from pathlib import Path

from studio.cli.backends import Backend, LocalBackend, Plain, RemoteBackend
from studio.cli.generate import OpenStudio, backend, check_out
from studio.cli.models_add import Here, There, follow
from studio.cli.request import parse_options, read_picture
from studio.errors import DownloadError, InvalidRequestError
from studio.files import write_whole
from studio.settings import Settings

POSE = ("canvas_width", "canvas_height", "people")
HOLDS = {".png": "map", ".json": "people", ".txt": "words"}


def annotate(flags: argparse.Namespace, settings: Settings, open_studio: OpenStudio) -> int:
    """Write the map of a photo, as large as the photo; the people in it, if a .json file is asked for; or its caption.

    Raises: StudioError, saying what cannot be used.
    """
    check_out(flags.out, tuple(HOLDS))
    options, photo = parse_options(flags.option), read_picture(flags.file, "file")
    with backend(settings, open_studio) as studio:
        if flags.download:
            download(studio, flags.kind)
        made = studio.annotate(studio.keep(photo), flags.kind, options)
        write_whole(flags.out, content(studio, made, flags.out))
    print(flags.out)
    return 0


def content(studio: Backend, made: Plain, out: Path) -> bytes:
    """What the file holds: the map, the pose or the words. Raises: InvalidRequestError, if it makes others."""
    wanted = HOLDS[out.suffix.lower()]
    if wanted not in made:
        given = [suffix for suffix, name in HOLDS.items() if name in made]
        hint = f"Let its name end in {' or '.join(given)}, or use another annotator."
        raise InvalidRequestError(f"{made['annotator']} makes no {wanted} to write to {out}.", field="out", hint=hint)
    if wanted == "words":
        return f"{made['words']}\n".encode()
    return studio.asset(made["map"]) if wanted == "map" else json.dumps({n: made[n] for n in POSE}, indent=1).encode()


def download(studio: Backend, annotator: str) -> None:
    """Bring what the annotator needs, showing how far it is. Raises: DownloadError, KeyboardInterrupt."""
    for view in studio.download_annotator(annotator):
        ended = follow(place(studio), view)
        if ended["state"] == "cancelled":
            raise KeyboardInterrupt
        if ended["state"] != "done":
            raise DownloadError(ended["error"], hint=ended["hint"])


def place(studio: Backend) -> Here | There:
    """Where that studio's downloads are followed."""
    if isinstance(studio, RemoteBackend):
        return There(studio)
    assert isinstance(studio, LocalBackend)
    return Here(studio.studio.downloads)

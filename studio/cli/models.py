"""`models list` and `models verify`."""

import argparse
import json
import sys
from collections.abc import Sequence

from studio.database import open_studio_database
from studio.errors import ModelNotFoundError
from studio.library.entry import ModelEntry
from studio.library.index import Library
from studio.library.notes import Notes
from studio.settings import Settings


def models(flags: argparse.Namespace, settings: Settings) -> int:
    """The command `models`; its exit status."""
    library = open_library(settings)
    if flags.action == "verify":
        return verify_models(library, flags.names, as_json=flags.json)
    return list_models(library, as_json=flags.json)


def open_library(settings: Settings) -> Library:
    """The models with what the person said of them, where a studio has run in this data folder."""
    known = settings.paths.studio_db.is_file()
    return Library(settings, Notes(open_studio_database(settings.paths.studio_db)[0]) if known else None)


def list_models(library: Library, *, as_json: bool) -> int:
    """Print every model that was found, with the reason why one cannot be used."""
    entries = library.entries()
    if as_json:
        print(json.dumps([entry.to_dict() for entry in entries]))
        return 0
    for entry in entries:
        use = "" if entry.usable else f"  cannot be used: {entry.reason}"
        print(f"{entry.kind:12} {entry.base:14} {entry.bytes / 1e6:9.1f} MB  {entry.name}{use}")
    if not entries:
        print("No models were found. Put some into data/models, or use --models-from DIR.", file=sys.stderr)
    return 0


def verify_models(library: Library, names: Sequence[str], *, as_json: bool) -> int:
    """Read models from end to end and name those that are damaged; the exit status is 1 if there are any."""
    from studio.library.verify import verify

    verdicts = [verify(library.cache, entry) for entry in _named(library, names)]
    damaged = [verdict for verdict in verdicts if verdict.problem]
    if as_json:
        print(json.dumps([verdict.to_dict() for verdict in verdicts]))
        return 1 if damaged else 0
    for verdict in verdicts:
        print(f"{'damaged' if verdict.problem else 'sound':8} {verdict.sha256[:10]:10}  {verdict.path}")
    for verdict in damaged:
        print(f"{verdict.name}: {verdict.problem} Get the file again.", file=sys.stderr)
    if not damaged:
        print(f"{len(verdicts)} models were read from end to end; all are sound.", file=sys.stderr)
    return 1 if damaged else 0


def _named(library: Library, names: Sequence[str]) -> list[ModelEntry]:
    """The models of those names, of any kind; all of them, if no name is given. Raises: ModelNotFoundError."""
    entries = library.entries()
    for name in names:
        if not any(entry.name == name for entry in entries):
            raise ModelNotFoundError(f"There is no model {name[:80]!r}.", hint="See: python launch.py models list")
    return [entry for entry in entries if not names or entry.name in names]

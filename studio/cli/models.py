"""`models list` and `models verify`."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence

from studio.database import open_studio_database
from studio.errors import InvalidRequestError, ModelNotFoundError
from studio.library.download.transfer import in_words
from studio.library.entry import ModelEntry
from studio.library.index import Library
from studio.library.notes import Notes
from studio.library.search import Query
from studio.library.words import base_word, kind_word
from studio.models import KINDS
from studio.settings import Settings

EVERY = 10**9


def models(flags: argparse.Namespace, settings: Settings) -> int:
    """The command `models`; its exit status."""
    library = open_library(settings)
    if flags.action == "verify":
        return verify_models(library, flags.names, as_json=flags.json)
    if flags.kind and flags.kind not in KINDS:
        raise InvalidRequestError(
            f"There is no kind {flags.kind[:40]!r}.", field="kind", hint=f"Choose one of: {', '.join(KINDS)}."
        )
    usable = True if flags.usable else None
    wanted = Query(text=" ".join(flags.words), kind=flags.kind, usable=usable, limit=EVERY)
    return list_models(library.search(wanted).rows, as_json=flags.json)


def open_library(settings: Settings) -> Library:
    """The models with what the person said of them, where a studio has run in this data folder."""
    known = settings.paths.studio_db.is_file()
    return Library(settings, Notes(open_studio_database(settings.paths.studio_db)[0]) if known else None)


def list_models(entries: Sequence[ModelEntry], *, as_json: bool) -> int:
    """Print models by kind, with the reason why one cannot be used."""
    if as_json:
        print(json.dumps([entry.to_dict() for entry in entries]))
        return 0
    for kind in KINDS:
        if group := [entry for entry in entries if entry.kind == kind]:
            print("\n".join(table(kind, group)))
    if entries:
        usable = sum(entry.usable for entry in entries)
        print(f"{len(entries):,} models, {usable:,} of which can be used.", file=sys.stderr)
    else:
        print("No models were found. Put some into data/models, or use --models-from DIR.", file=sys.stderr)
    return 0


def table(kind: str, group: Sequence[ModelEntry]) -> Iterator[str]:
    """The lines of one kind; a reason that most of them share stands above them, once."""
    common = shared_reason(group)
    yield f"{heading(kind)}, {len(group):,}" + (f": {common}" if common else "")
    for entry in group:
        base = "starter" if entry.base.startswith("starter-") else base_word(entry.base).removeprefix("the ")
        reason = entry.reason.removeprefix(common).strip()
        why = "" if entry.usable or not reason else f"  ({reason})"
        yield f"  {base:12} {file_size(entry.bytes):>9}  {entry.name}{why}"


def file_size(count: int) -> str:
    """Bytes as people say them, for files of any size: an embedding has a few thousand."""
    if count >= 1e6:
        return in_words(count)
    return f"{count / 1e3:.0f} KB" if count >= 1e3 else f"{count} B"


def heading(kind: str) -> str:
    """A kind's name as a heading."""
    word = "not recognised" if kind == "unknown" else f"{kind_word(kind)}s"
    return word[:1].upper() + word[1:]


def shared_reason(group: Sequence[ModelEntry]) -> str:
    """The sentence with which every reason of the group begins; "" if one can be used, or if there are only few."""
    first = {entry.reason and entry.reason.partition(". ")[0].removesuffix(".") + "." for entry in group}
    return first.pop() if len(first) == 1 and len(group) > 1 else ""


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
        again = "" if "again" in verdict.problem else " Get the file again."
        print(f"{verdict.name}: {verdict.problem}{again}", file=sys.stderr)
    if not damaged:
        said = "1 model was read from end to end; it is sound."
        many = f"{len(verdicts)} models were read from end to end; all are sound."
        print(said if len(verdicts) == 1 else many, file=sys.stderr)
    return 1 if damaged else 0


def _named(library: Library, names: Sequence[str]) -> list[ModelEntry]:
    """The models of those names, of any kind; all of them, if no name is given. Raises: ModelNotFoundError."""
    entries = library.entries()
    for name in names:
        if not any(entry.name == name for entry in entries):
            raise ModelNotFoundError(f"There is no model {name[:80]!r}.", hint="See: python launch.py models list")
    return [entry for entry in entries if not names or entry.name in names]

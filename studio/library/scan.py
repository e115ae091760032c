"""Looking at the folders again: what has not changed is known without being opened, the rest is identified."""

import gc
import os
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from multiprocessing.connection import Connection
from pathlib import Path

from studio.errors import StorageError
from studio.library.cache import Cache, Known, Row
from studio.library.fingerprint import fingerprint, of_unreadable
from studio.library.header import Tensors, read_tensors
from studio.library.identify import identify
from studio.library.roots import Place, model_places
from studio.library.sidecars import preview_of, read_sidecars
from studio.library.walk import Found, files_of, walk
from studio.settings import Settings

BATCH, SECONDS = 200, 0.5  # rows are written, and progress is told, this often
NICENESS = 19
ALIKE = 64  # sets of tensors that are remembered: many files have the same, and each takes about 1 MB
GARBAGE = 1_000_000  # objects more than before, until cycles are looked for: headers are large, and make none


@dataclass(frozen=True)
class Progress:
    """How a scan stands. done of total models were looked at, found of them are models; total is 0 while folders are
    still listed. changed: how many rows were written or removed; error: a sentence, if the scan had to stop."""

    state: str
    done: int = 0
    total: int = 0
    found: int = 0
    changed: int = 0
    error: str = ""


@dataclass
class _Scan:
    """One scan as it goes."""

    cache: Cache
    tell: Callable[[Progress], None]
    total: int = 0
    done: int = 0
    found: int = 0
    changed: int = 0
    told: float = 0.0
    rows: list[Row] = field(default_factory=list[Row])
    tensors_in: Callable[[str], Tensors] = field(default_factory=lambda: lru_cache(ALIKE)(read_tensors))


def scan(
    cache: Cache,
    places: Sequence[Place],
    tell: Callable[[Progress], None] = lambda _: None,
    share: Callable[[int], tuple[int, int]] = lambda _: (0, 1),
) -> Progress:
    """Bring the cache up to date with the places; the last progress. Raises: StorageError, for a full disk.

    A model whose files have the size, time and inode that they had is not opened. One that vanishes meanwhile is left.

    Args:
        share: Gets how many models must be opened; says which part of how many parts is ours. Part 0 cleans up.
    """
    known, models = cache.known(), list(walk(places))
    to_do = [found for found in models if not _is_known(known, found)]
    part, parts = share(len(to_do))
    ours = [found for found in to_do if parts == 1 or zlib.crc32(os.fsencode(found.location)) % parts == part]
    same = 0 if part else len(models) - len(to_do)
    run = _Scan(cache, tell, total=same + len(ours), done=same, found=same)
    for found in ours:
        _look_at(run, found, known.get(os.fsencode(found.location)))
        _write(run, least=BATCH)
    _write(run, least=1)
    if part == 0:
        run.changed += _forget(cache, known, models, places)
    return Progress("done", run.done, run.total, run.found, run.changed)


def main(connection: Connection, settings: Settings, mark: str, part: int, parts: int) -> None:
    """A scan, or a part of one, in a process of low priority. Its progress goes over the pipe; it ends with its hearer.

    Part 0 of 1 first says how many models it has to open, and is told how many parts to make of them.
    """
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    gc.freeze()
    gc.set_threshold(GARBAGE)

    def share(to_do: int) -> tuple[int, int]:
        if part:
            return part, parts
        connection.send(to_do)
        return 0, connection.recv()

    try:
        last = scan(Cache(settings.paths.library_db, mark), model_places(settings), connection.send, share)
    except StorageError as error:
        last = Progress("done", error=error.sentence())
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    with suppress(BrokenPipeError, ConnectionResetError):
        connection.send(last)
    connection.close()


def _is_known(known: dict[bytes, Known], found: Found) -> bool:
    row = known.get(os.fsencode(found.location))
    return row is not None and _is_same(row, found) and row.beside == found.beside


def _is_same(row: Known, found: Found) -> bool:
    return not row.old and row.signature == found.signature and row.folder == os.fsencode(found.place.folder)


def _look_at(run: _Scan, found: Found, known: Known | None) -> None:
    same = known is not None and _is_same(known, found)
    row = _beside(run, found) if same else _examine(run, found)
    run.found += row is not None
    run.rows += [row] if row else []
    run.done += 1
    if time.monotonic() - run.told > SECONDS:
        run.told = time.monotonic()
        run.tell(Progress("running", run.done, run.total, run.found, run.changed))


def _write(run: _Scan, *, least: int) -> None:
    if len(run.rows) >= least:
        run.cache.put(run.rows)
        run.changed += len(run.rows)
        run.rows = []


def _forget(cache: Cache, known: dict[bytes, Known], models: Iterable[Found], places: Iterable[Place]) -> int:
    """Remove the rows of these places whose models are gone; those of other places are another start's. How many."""
    there = {os.fsencode(found.location) for found in models}
    folders = {os.fsencode(place.folder) for place in places}
    gone = [path for path, row in known.items() if row.folder in folders and path not in there]
    if gone:
        cache.remove(gone)
    return len(gone)


def _examine(run: _Scan, found: Found) -> Row | None:
    """Identify a model; None for one that is gone."""
    signature = found.signature
    try:
        mark = fingerprint(found.path, files_of(found.path))
    except FileNotFoundError:
        return None
    except OSError:
        mark, signature = of_unreadable(found.path, found.bytes), ""  # to be tried again by the next scan
    return Row(
        path=found.path,
        folder=found.place.folder,
        root=found.place.root,
        signature=signature,
        beside=found.beside,
        fingerprint=mark,
        content=run.cache.content_of(mark, found.modified),
        bytes=found.bytes,
        modified=found.modified,
        is_folder=found.is_folder,
        identity=identify(found.path, found.place.kind, run.tensors_in),
        said=read_sidecars(found.sidecars, found.path.name),
        preview=_preview(found),
    )


def _beside(run: _Scan, found: Found) -> Row | None:
    """The row of a model of which a sidecar alone has changed."""
    row = run.cache.row(found.path)
    if row is None:
        return _examine(run, found)
    said = read_sidecars(found.sidecars, found.path.name)
    return replace(row, beside=found.beside, said=said, preview=_preview(found))


def _preview(found: Found) -> Path | None:
    """The picture beside a model, or in its folder."""
    inside = found.path / "preview.png"
    return preview_of(found.sidecars) or (inside if found.is_folder and inside.is_file() else None)

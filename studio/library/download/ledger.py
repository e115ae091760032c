"""The list of downloads in studio.db, so that what was asked for is found again after a new start of the studio."""

import json
import sqlite3
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from studio.database import Database
from studio.library.download.wanted import Wanted

Plain = dict[str, Any]
QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"
VIEWED = ("id", "name", "kind", "bytes", "total", "state", "error", "hint", "model")
COLUMNS = (*VIEWED, "owner", "source", "request")


@dataclass(kw_only=True)
class Download:
    """One request and how far it is.

    Fields:
        source: The digest of where it comes from: requests of one source are the same download.
        wanted: What to fetch; None where only the person knows it: addresses that may hold secrets are not kept.
        at_machine: The person who asked sits at the studio's own machine.
        model: What the library says of it, when it is here.
        stop: Set to end the run; every run has its own.
        told, kept: When people were told of it, and when the ledger was, by the studio's clock.
    """

    id: str
    source: str
    wanted: Wanted | None
    owner: str
    name: str
    kind: str
    at_machine: bool = False
    bytes: int = 0
    total: int | None = None
    state: str = QUEUED
    error: str = ""
    hint: str = ""
    model: Plain | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    told: float = float("-inf")
    kept: float = float("-inf")

    def view(self) -> Plain:
        """Plain values for front ends; total is None while it is unknown. `request` asks for the same again; it is
        None where only the person knows it.
        """
        request = None if self.wanted is None else self.wanted.to_dict()
        return {name: getattr(self, name) for name in VIEWED} | {"request": request}


class Ledger:
    """The table. Every call is one transaction and may come from any thread."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def all(self) -> list[Download]:
        """Every row, newest last; what was not ended when the studio stopped is paused. Raises: StorageError."""
        with self.database.read() as tx:
            return [_download(row) for row in tx.execute("SELECT * FROM downloads ORDER BY rowid")]

    def put(self, row: Download) -> None:
        """Write a row: a new one at the end, a known one in its place. Raises: StorageError."""
        changes = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS[1:])
        with self.database.write() as tx:
            tx.execute(
                f"INSERT INTO downloads ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
                f" ON CONFLICT (id) DO UPDATE SET {changes}",
                _values(row),
            )

    def remove(self, ids: Iterable[str]) -> None:
        """Forget rows. Raises: StorageError."""
        with self.database.write() as tx:
            tx.executemany("DELETE FROM downloads WHERE id = ?", [(download_id,) for download_id in ids])


def _values(row: Download) -> tuple[Any, ...]:
    plain = {name: getattr(row, name) for name in COLUMNS if name != "request"}
    texts = {"model": _text(row.model), "request": _text(_request(row.wanted))}
    return tuple((plain | texts)[name] for name in COLUMNS)


def _request(wanted: Wanted | None) -> Plain | None:
    """The request as it may be written down: what stands behind a question mark is often a key or a signature."""
    return None if wanted is None or "?" in wanted.url else wanted.to_dict()


def _text(value: Plain | None) -> str | None:
    return None if value is None else json.dumps(value)


def _download(row: sqlite3.Row) -> Download:
    values: Plain = dict(row)
    request: Plain | None = json.loads(values.pop("request") or "null")
    values["model"] = json.loads(values["model"] or "null")
    values["state"] = CANCELLED if values["state"] in (QUEUED, RUNNING) else values["state"]
    return Download(**values, wanted=None if request is None else Wanted(**request))

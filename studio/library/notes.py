"""What a person adds to a model: favourites, tags, notes, trigger words, corrections of what was guessed.

They are kept in studio.db by the model's fingerprint, so they follow a file that is moved and outlive library.db.
"""

import json
import sqlite3
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from studio.database import Database

CORRECTABLE = ("kind", "base", "control_kind", "prediction_type")


@dataclass(frozen=True, kw_only=True)
class Note:
    """What is known of one model.

    Fields:
        trigger_words: None while the person has not written any: then those that the file names are shown.
        corrections: What the person says instead of what was found, by the names in CORRECTABLE.
        last_used: In seconds since 1970.
    """

    favourite: bool = False
    tags: tuple[str, ...] = ()
    notes: str | None = None
    trigger_words: tuple[str, ...] | None = None
    corrections: dict[str, str] = field(default_factory=dict[str, str])
    last_used: float | None = None


class Notes:
    """The notes of all models. Every call is one transaction and may come from any thread."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def all(self) -> dict[str, Note]:
        """Every note by fingerprint."""
        with self.database.read() as tx:
            return {str(row["fingerprint"]): _note(row) for row in tx.execute("SELECT * FROM model_notes")}

    def get(self, fingerprint: str) -> Note:
        """One model's note; an empty one, if nobody wrote any."""
        with self.database.read() as tx:
            row = tx.execute("SELECT * FROM model_notes WHERE fingerprint = ?", (fingerprint,)).fetchone()
        return Note() if row is None else _note(row)

    def change(self, fingerprint: str, changes: Mapping[str, Any]) -> Note:
        """Change some fields of a note; a correction of None goes back to what was found. Raises: StorageError."""
        with self.database.write() as tx:
            row = tx.execute("SELECT * FROM model_notes WHERE fingerprint = ?", (fingerprint,)).fetchone()
            note = _changed(Note() if row is None else _note(row), changes)
            values = (
                fingerprint,
                note.favourite,
                json.dumps(note.tags),
                note.notes,
                None if note.trigger_words is None else json.dumps(note.trigger_words),
                json.dumps(note.corrections),
                note.last_used,
            )
            tx.execute("INSERT OR REPLACE INTO model_notes VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        return note

    def used(self, fingerprints: Iterable[str], at: float | None = None) -> None:
        """Note that models were used, now or `at` a time. Raises: StorageError."""
        moment = time.time() if at is None else at
        with self.database.write() as tx:
            tx.executemany(
                "INSERT INTO model_notes (fingerprint, last_used) VALUES (?, ?)"
                " ON CONFLICT (fingerprint) DO UPDATE SET last_used = excluded.last_used",
                [(fingerprint, moment) for fingerprint in fingerprints],
            )


def _changed(note: Note, changes: Mapping[str, Any]) -> Note:
    corrections: dict[str, Any] = note.corrections | {k: v for k, v in changes.items() if k in CORRECTABLE}
    kept = {name: str(value) for name, value in corrections.items() if value is not None}
    plain: dict[str, Any] = {k: v for k, v in changes.items() if k not in CORRECTABLE}
    plain |= {k: tuple(plain[k]) for k in ("tags", "trigger_words") if plain.get(k) is not None}
    return replace(note, **asdict(note) | plain | {"corrections": kept})


def _note(row: sqlite3.Row) -> Note:
    words = row["trigger_words"]
    return Note(
        favourite=bool(row["favourite"]),
        tags=tuple(json.loads(row["tags"])),
        notes=row["notes"],
        trigger_words=None if words is None else tuple(json.loads(words)),
        corrections=json.loads(row["corrections"]),
        last_used=row["last_used"],
    )

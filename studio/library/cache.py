"""library.db: what a scan found, so that the next start need not look again. A scan makes a lost one again."""

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, cast

from studio.database import Database
from studio.errors import StorageError
from studio.library.card import Card
from studio.library.identity import Identity
from studio.library.sidecars import Said

MIGRATIONS = (
    """
    CREATE TABLE hashes (
        path TEXT PRIMARY KEY, bytes INTEGER NOT NULL, modified INTEGER NOT NULL, sha256 TEXT NOT NULL
    );
    """,
    """
    DROP TABLE hashes;
    CREATE TABLE hashes (
        path BLOB PRIMARY KEY, bytes INTEGER NOT NULL, modified INTEGER NOT NULL, sha256 TEXT NOT NULL
    );
    CREATE TABLE models (
        path BLOB PRIMARY KEY, folder BLOB NOT NULL, root TEXT NOT NULL, rules TEXT NOT NULL, signature TEXT NOT NULL,
        beside TEXT NOT NULL, fingerprint TEXT NOT NULL, content TEXT NOT NULL DEFAULT '', bytes INTEGER NOT NULL,
        modified REAL NOT NULL, is_folder INTEGER NOT NULL, identity TEXT NOT NULL, said TEXT NOT NULL, preview BLOB
    );
    CREATE INDEX models_in_folder ON models (folder);
    CREATE INDEX models_by_fingerprint ON models (fingerprint);
    """,
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One model as the cache keeps it.

    Fields:
        folder: The place that it was found in.
        signature, beside: Change when the model, or a sidecar of it, does.
        content: Its id; "" while nobody needed it.
        old: Whether it was made by other rules than ours: what it says is to be looked at again.
    """

    path: Path
    folder: Path
    root: str
    signature: str
    beside: str
    fingerprint: str
    content: str
    bytes: int
    modified: float
    is_folder: bool
    identity: Identity
    said: Said
    preview: Path | None
    old: bool = False


@dataclass(frozen=True)
class Known:
    """What a scan compares. old: whether other rules than ours made it."""

    folder: bytes
    signature: str
    beside: str
    old: bool = False


class Cache:
    """The file. Paths are kept as the system's bytes, since names need not be UTF-8."""

    def __init__(self, file: Path, mark: str = "") -> None:
        """Open; a damaged file is made again. Raises: StorageError, if it cannot be written, or is busy.

        mark: Of the rules by which rows are made and read; "" for those of this program.
        """
        self.mark = mark or rules()
        try:
            self.database = Database(file, MIGRATIONS)
        except StorageError as error:
            if "locked" in str(error):  # another process writes, so there is nothing wrong with it
                raise
            try:
                for name in (file.name, f"{file.name}-wal", f"{file.name}-shm"):
                    file.with_name(name).unlink(missing_ok=True)
            except OSError:
                raise error from None
            self.database = Database(file, MIGRATIONS)

    def known(self) -> dict[bytes, Known]:
        """What was found before."""
        query = "SELECT path, folder, signature, beside, rules <> ? FROM models"
        with self.database.read() as tx:
            rows = tx.execute(query, (self.mark,))
            return {bytes(row[0]): Known(bytes(row[1]), row[2], row[3], bool(row[4])) for row in rows}

    def rows(self, folders: Iterable[Path]) -> list[Row]:
        """Every model in those places, each with its paths in order; old rows too, as far as they can be read."""
        found: list[Row] = []
        with self.database.read() as tx:
            for folder in folders:
                rows = tx.execute("SELECT * FROM models WHERE folder = ?", (os.fsencode(folder),)).fetchall()
                read = filter(None, (self._read(row) for row in rows))
                found += sorted(read, key=lambda row: row.path.parts)
        return found

    def row(self, path: Path) -> Row | None:
        """The row of one model."""
        with self.database.read() as tx:
            row = tx.execute("SELECT * FROM models WHERE path = ?", (os.fsencode(path),)).fetchone()
        return None if row is None else self._read(row)

    def _read(self, row: sqlite3.Row) -> Row | None:
        """A row as it is now; None for one that other rules wrote in a way that ours cannot read."""
        if row["rules"] == self.mark:
            return _row(row)
        try:
            return replace(_row(row), old=True)
        except (TypeError, ValueError, KeyError, AttributeError):
            return None

    def put(self, rows: Sequence[Row]) -> None:
        """Write rows, each in the place of an older one of its path. Raises: StorageError."""
        with self.database.write() as tx:
            places = ", ".join("?" * 14)
            tx.executemany(
                f"INSERT OR REPLACE INTO models VALUES ({places})", [_values(row, self.mark) for row in rows]
            )

    def remove(self, paths: Iterable[bytes]) -> None:
        """Forget models. Raises: StorageError."""
        with self.database.write() as tx:
            tx.executemany("DELETE FROM models WHERE path = ?", [(path,) for path in paths])

    def content_of(self, fingerprint: str, modified: float) -> str:
        """The id of a model with that fingerprint and time, which was moved, perhaps; "" if there is none."""
        query = "SELECT content FROM models WHERE fingerprint = ? AND modified = ? AND content <> '' LIMIT 1"
        with self.database.read() as tx:
            row = tx.execute(query, (fingerprint, modified)).fetchone()
        return "" if row is None else str(row[0])

    def set_content(self, path: Path, fingerprint: str, content: str) -> None:
        """Keep a model's id. Raises: StorageError."""
        with self.database.write() as tx:
            tx.execute(
                "UPDATE models SET content = ? WHERE path = ? AND fingerprint = ?",
                (content, os.fsencode(path), fingerprint),
            )

    def set_identity(self, path: Path, fingerprint: str, identity: Identity) -> None:
        """Keep what else was found out about a model. Raises: StorageError."""
        with self.database.write() as tx:
            tx.execute(
                "UPDATE models SET identity = ? WHERE path = ? AND fingerprint = ?",
                (json.dumps(asdict(identity)), os.fsencode(path), fingerprint),
            )

    def known_hash(self, file: Path) -> str:
        """The sha256 of a file that has not changed since it was read; "" if it is not known. Raises: OSError."""
        stat = file.stat()
        key = (os.fsencode(file), stat.st_size, stat.st_mtime_ns)
        with self.database.read() as tx:
            row = tx.execute("SELECT sha256 FROM hashes WHERE path = ? AND bytes = ? AND modified = ?", key).fetchone()
        return "" if row is None else str(row[0])

    def put_hash(self, file: Path, stat: os.stat_result, sha256: str) -> None:
        """Keep the sha256 of a file as it was when `stat` was taken. Raises: StorageError."""
        row = (os.fsencode(file), stat.st_size, stat.st_mtime_ns, sha256)
        with self.database.write() as tx:
            tx.execute("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?, ?)", row)


@cache
def rules() -> str:
    """Names the rules that rows were made by: rows of an older version of this package are made again."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _values(row: Row, mark: str) -> tuple[Any, ...]:
    return (
        os.fsencode(row.path),
        os.fsencode(row.folder),
        row.root.encode("utf-8", "replace").decode(),
        mark,
        row.signature,
        row.beside,
        row.fingerprint,
        row.content,
        row.bytes,
        row.modified,
        row.is_folder,
        json.dumps(asdict(row.identity)),
        "" if row.said == Said() else json.dumps(asdict(row.said)),
        None if row.preview is None else os.fsencode(row.preview),
    )


def _row(row: sqlite3.Row) -> Row:
    return Row(
        path=Path(os.fsdecode(row["path"])),
        folder=_folder(row["folder"]),
        root=row["root"],
        signature=row["signature"],
        beside=row["beside"],
        fingerprint=row["fingerprint"],
        content=row["content"],
        bytes=row["bytes"],
        modified=row["modified"],
        is_folder=bool(row["is_folder"]),
        identity=_identity(row["identity"]),
        said=Said(**_tuples(json.loads(row["said"]))) if row["said"] else Said(),
        preview=None if row["preview"] is None else Path(os.fsdecode(row["preview"])),
    )


@lru_cache(maxsize=256)
def _folder(path: bytes) -> Path:
    return Path(os.fsdecode(path))


@lru_cache(maxsize=4096)
def _identity(text: str) -> Identity:
    """Thousands of files are alike but for their names."""
    names = {field.name for field in fields(Identity)}
    data = {name: value for name, value in _tuples(json.loads(text)).items() if name in names}
    return Identity(**data | cast(dict[str, Any], {"card": data["card"] and Card(**_tuples(data["card"]))}))


def _tuples(data: dict[str, Any]) -> dict[str, Any]:
    """JSON's lists as the tuples that they were."""
    return {key: tuple(cast(list[Any], value)) if isinstance(value, list) else value for key, value in data.items()}

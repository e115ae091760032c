"""SQLite for the studio: WAL, numbered migrations, one connection a thread; nothing is dropped without being kept."""

import sqlite3
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from studio.errors import StorageError
from studio.files import cannot_write

STUDIO_MIGRATIONS = (
    """
    CREATE TABLE jobs (
        id TEXT PRIMARY KEY, owner TEXT NOT NULL, kind TEXT NOT NULL, state TEXT NOT NULL, params TEXT NOT NULL,
        position REAL NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, note TEXT NOT NULL DEFAULT '',
        error TEXT NOT NULL DEFAULT '', hint TEXT NOT NULL DEFAULT '', results TEXT NOT NULL DEFAULT '[]',
        warnings TEXT NOT NULL DEFAULT '[]', seconds TEXT NOT NULL DEFAULT '{}',
        created REAL NOT NULL, started REAL, finished REAL
    );
    CREATE INDEX jobs_waiting ON jobs (state, position);
    CREATE INDEX jobs_placed ON jobs (position);
    CREATE INDEX jobs_owned ON jobs (owner);
    CREATE INDEX jobs_in_state ON jobs (state);
    CREATE TABLE gallery (
        id INTEGER PRIMARY KEY AUTOINCREMENT, job_id TEXT NOT NULL, owner TEXT NOT NULL, path TEXT NOT NULL UNIQUE,
        thumbnail TEXT NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL, seed INTEGER NOT NULL,
        prompt TEXT NOT NULL, created REAL NOT NULL, starred INTEGER NOT NULL DEFAULT 0, deleted REAL,
        params TEXT NOT NULL
    );
    CREATE INDEX gallery_all ON gallery (id) WHERE deleted IS NULL;
    CREATE INDEX gallery_owned ON gallery (owner, id) WHERE deleted IS NULL;
    CREATE INDEX gallery_starred ON gallery (id) WHERE deleted IS NULL AND starred = 1;
    CREATE INDEX gallery_deleted ON gallery (deleted) WHERE deleted IS NOT NULL;
    CREATE VIRTUAL TABLE gallery_words USING fts5 (prompt, content='gallery', content_rowid='id');
    CREATE TRIGGER gallery_added AFTER INSERT ON gallery BEGIN
        INSERT INTO gallery_words (rowid, prompt) VALUES (new.id, new.prompt);
    END;
    CREATE TRIGGER gallery_removed AFTER DELETE ON gallery BEGIN
        INSERT INTO gallery_words (gallery_words, rowid, prompt) VALUES ('delete', old.id, old.prompt);
    END;
    CREATE TABLE drafts (
        owner TEXT NOT NULL, browser TEXT NOT NULL, body TEXT NOT NULL, saved REAL NOT NULL,
        PRIMARY KEY (owner, browser)
    );
    CREATE TABLE accounts (
        name TEXT PRIMARY KEY, salt BLOB NOT NULL, hash BLOB NOT NULL, role TEXT NOT NULL, created REAL NOT NULL
    );
    CREATE TABLE sessions (
        token_hash BLOB PRIMARY KEY, name TEXT NOT NULL, created REAL NOT NULL, expires REAL NOT NULL
    );
    """,
    """
    CREATE TABLE IF NOT EXISTS uploads (
        owner TEXT NOT NULL, asset TEXT NOT NULL, created REAL NOT NULL, PRIMARY KEY (owner, asset)
    );
    """,
    """
    CREATE TABLE IF NOT EXISTS model_notes (
        fingerprint TEXT PRIMARY KEY, favourite INTEGER NOT NULL DEFAULT 0, tags TEXT NOT NULL DEFAULT '[]',
        notes TEXT, trigger_words TEXT, corrections TEXT NOT NULL DEFAULT '{}', last_used REAL
    );
    """,
    """
    CREATE TABLE IF NOT EXISTS downloads (
        id TEXT PRIMARY KEY, owner TEXT NOT NULL, source TEXT NOT NULL, request TEXT, name TEXT NOT NULL,
        kind TEXT NOT NULL, bytes INTEGER NOT NULL, total INTEGER, state TEXT NOT NULL, error TEXT NOT NULL,
        hint TEXT NOT NULL, model TEXT
    );
    """,
)


class Database:
    """One file. Statements run on the calling thread's own connection; `write` is one transaction."""

    def __init__(self, path: Path, migrations: Sequence[str]) -> None:
        """Open and bring up to date. Raises: StorageError, if it cannot be read, written, or is too new."""
        self.path = path
        self._local = threading.local()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(path, error) from error
        try:
            with _explained(path):
                if self._connection().execute("PRAGMA quick_check").fetchone()[0] != "ok":
                    raise sqlite3.DatabaseError("the check found errors")
                self._migrate(migrations)
        except StorageError:
            self.close()  # Windows cannot set an open file aside
            raise

    @contextmanager
    def read(self) -> Generator[sqlite3.Connection]:
        """A connection for statements that change nothing. Raises: StorageError."""
        with _explained(self.path):
            yield self._connection()

    @contextmanager
    def write(self) -> Generator[sqlite3.Connection]:
        """One transaction: all of it, or nothing when the block raises. Raises: StorageError, if the disk is full."""
        with _explained(self.path):
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                _roll_back(connection)
                raise

    def close(self) -> None:
        """Close this thread's connection."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self.path, timeout=15, isolation_level=None)
            self._local.connection = connection
            connection.row_factory = sqlite3.Row
            try:
                for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
                    connection.execute(f"PRAGMA {pragma}")
            except sqlite3.Error:
                self.close()
                raise
        return connection

    def _migrate(self, migrations: Sequence[str]) -> None:
        connection = self._connection()
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if version > len(migrations):
            raise StorageError(
                f"{self.path.name} was written by a newer version of the studio.",
                hint="Update the studio, or start with another folder (--data).",
            )
        for number in range(version, len(migrations)):
            script = f"BEGIN IMMEDIATE;{migrations[number]};PRAGMA user_version = {number + 1};COMMIT;"
            try:
                connection.executescript(script)
            except sqlite3.Error:
                _roll_back(connection)
                raise


def open_studio_database(path: Path) -> tuple[Database, list[str]]:
    """Open studio.db. A damaged file is set aside, never deleted, and a new one begun: then there is a warning.

    Raises: StorageError, if the folder cannot be written or the file is too new.
    """
    try:
        return Database(path, STUDIO_MIGRATIONS), []
    except DamagedError:
        kept = _set_aside(path)
        warning = f"{path.name} was damaged; it was kept as {kept.name} and a new one begun. Waiting jobs are lost."
        return Database(path, STUDIO_MIGRATIONS), [warning]


def _set_aside(path: Path) -> Path:
    """Rename a damaged database, with the journal that belongs to it; its new name."""
    kept = path.with_name(f"{path.name}.broken-{time.strftime('%Y%m%d-%H%M%S')}")
    while kept.exists():
        kept = kept.with_name(f"{kept.name}-again")
    try:
        for suffix in ("-wal", "-shm", ""):  # a journal left behind would be read into the new file
            with suppress(FileNotFoundError):
                path.with_name(path.name + suffix).replace(kept.with_name(kept.name + suffix))
    except OSError as error:
        raise cannot_write(kept, error) from error
    return kept


class DamagedError(StorageError):
    """The file is no database, or was damaged."""


def _roll_back(connection: sqlite3.Connection) -> None:
    """End the transaction, which sqlite has done itself when the disk was full."""
    with suppress(sqlite3.Error):
        if connection.in_transaction:
            connection.execute("ROLLBACK")


@contextmanager
def _explained(path: Path) -> Generator[None]:
    """Turn sqlite's errors into sentences."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StorageError(f"{path} cannot be used: {error}.") from error
    except sqlite3.DatabaseError as error:
        if type(error) is not sqlite3.DatabaseError:  # a broken constraint or a bug, which its caller knows about
            raise
        raise DamagedError(
            f"{path} is damaged: {error}.", hint="Start the studio again: it sets the file aside."
        ) from error

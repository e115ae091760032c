import sqlite3
import threading

import pytest

from studio.database import STUDIO_MIGRATIONS, Database, open_studio_database
from studio.errors import StorageError

ROW = "INSERT INTO jobs (id, owner, kind, state, params, position, created) VALUES (?, 'a', 'g', 'queued', '{}', 1, 1)"


def count(database):
    with database.read() as tx:
        return tx.execute("SELECT count(*) FROM jobs").fetchone()[0]


def test_a_transaction_is_all_or_nothing(tmp_path):
    database, warnings = open_studio_database(tmp_path / "studio.db")
    assert warnings == []
    with pytest.raises(sqlite3.IntegrityError), database.write() as tx:
        tx.executemany(ROW, [("one",), ("one",)])
    assert count(database) == 0
    with database.write() as tx:
        tx.execute(ROW, ("one",))
    assert count(database) == 1


def test_rows_are_there_after_reopening_and_for_other_threads(tmp_path):
    database, _ = open_studio_database(tmp_path / "studio.db")
    with database.write() as tx:
        tx.execute(ROW, ("one",))
    seen = []
    thread = threading.Thread(target=lambda: seen.append(count(database)))
    thread.start()
    thread.join()
    assert seen == [1]
    assert count(Database(tmp_path / "studio.db", STUDIO_MIGRATIONS)) == 1


def test_migrations_run_once_each_and_keep_what_was_there(tmp_path):
    path = tmp_path / "some.db"
    first = Database(path, ["CREATE TABLE t (a INTEGER)"])
    with first.write() as tx:
        tx.execute("INSERT INTO t VALUES (7)")
    second = Database(path, ["CREATE TABLE t (a INTEGER)", "ALTER TABLE t ADD COLUMN b INTEGER DEFAULT 1"])
    with second.read() as tx:
        assert tuple(tx.execute("SELECT a, b FROM t").fetchone()) == (7, 1)


def test_a_migration_that_fails_changes_nothing(tmp_path):
    path = tmp_path / "some.db"
    Database(path, ["CREATE TABLE t (a INTEGER)"])
    with pytest.raises(StorageError):
        Database(path, ["CREATE TABLE t (a INTEGER)", "CREATE TABLE u (a INTEGER); CREATE TABLE t (a INTEGER)"])
    tables = {row[0] for row in sqlite3.connect(path).execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert tables == {"t"}


def test_a_file_of_a_newer_studio_is_refused_and_untouched(tmp_path):
    path = tmp_path / "studio.db"
    open_studio_database(path)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.commit()
    connection.close()
    with pytest.raises(StorageError, match="newer version"):
        open_studio_database(path)
    assert path.exists()


@pytest.mark.parametrize(
    "damage", [b"this is no database at all, just some words", b"SQLite format 3\x00" + b"\xff" * 4096]
)
def test_a_damaged_file_is_set_aside_and_a_new_one_begun(tmp_path, damage):
    path = tmp_path / "studio.db"
    path.write_bytes(damage)
    database, warnings = open_studio_database(path)
    assert count(database) == 0
    assert "was damaged" in warnings[0]
    (kept,) = tmp_path.glob("studio.db.broken-*")
    assert kept.read_bytes() == damage


def test_a_folder_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        open_studio_database(tmp_path / "file" / "studio.db")

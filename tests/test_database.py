import sqlite3
import threading

import pytest

from studio.database import STUDIO_MIGRATIONS, DamagedError, Database, open_studio_database
from studio.errors import StorageError

TABLE = ("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE)",)


@pytest.fixture
def database(tmp_path):
    opened = Database(tmp_path / "a.db", TABLE)
    yield opened
    opened.close()


def texts(database):
    with database.read() as tx:
        return [row["text"] for row in tx.execute("SELECT text FROM notes ORDER BY id")]


def add(database, text):
    with database.write() as tx:
        tx.execute("INSERT INTO notes (text) VALUES (?)", (text,))


def test_what_was_written_is_there_after_reopening(database, tmp_path):
    add(database, "a")
    database.close()
    assert texts(Database(tmp_path / "a.db", TABLE)) == ["a"]


def test_a_block_that_raises_changes_nothing_and_the_next_one_works(database):
    def broken():
        with database.write() as tx:
            tx.execute("INSERT INTO notes (text) VALUES ('a')")
            raise KeyError

    with pytest.raises(KeyError):
        broken()
    add(database, "b")
    assert texts(database) == ["b"]


def test_a_broken_constraint_stays_the_callers_own_error(database):
    add(database, "a")
    with pytest.raises(sqlite3.IntegrityError):
        add(database, "a")
    assert texts(database) == ["a"]


def test_a_full_disk_is_a_sentence_and_nothing_is_half_written(database):
    add(database, "a")
    with database.read() as tx:
        pages = tx.execute("PRAGMA page_count").fetchone()[0]
        tx.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageError, match="full") as refused:
        add(database, "x" * 100_000)
    assert "disk space" in refused.value.hint
    with database.read() as tx:
        tx.execute("PRAGMA max_page_count = 100000")
    add(database, "y" * 100_000)
    assert [text[0] for text in texts(database)] == ["a", "y"]


def test_threads_write_at_the_same_time_and_lose_nothing(database):
    def write(name):
        for number in range(10):
            add(database, f"{name}{number}")
        database.close()

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(texts(database)) == 40


def test_an_older_file_is_brought_up_to_date_and_keeps_its_rows(database, tmp_path):
    add(database, "a")
    database.close()
    newer = Database(tmp_path / "a.db", (*TABLE, "ALTER TABLE notes ADD COLUMN stars INTEGER NOT NULL DEFAULT 0"))
    with newer.read() as tx:
        assert dict(tx.execute("SELECT * FROM notes").fetchone()) == {"id": 1, "text": "a", "stars": 0}
        assert tx.execute("PRAGMA user_version").fetchone()[0] == 2


def test_a_migration_that_fails_leaves_the_file_as_it_was(database, tmp_path):
    add(database, "a")
    database.close()
    with pytest.raises(StorageError):
        Database(tmp_path / "a.db", (*TABLE, "CREATE TABLE more (id); CREATE TABLE notes (id)"))
    again = Database(tmp_path / "a.db", TABLE)
    assert texts(again) == ["a"]
    with again.read() as tx:
        assert not tx.execute("SELECT 1 FROM sqlite_master WHERE name = 'more'").fetchall()


def test_a_file_of_a_newer_studio_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "studio.db"
    Database(path, (*STUDIO_MIGRATIONS, "CREATE TABLE later (id)")).close()
    before = path.read_bytes()
    with pytest.raises(StorageError, match="newer version"):
        open_studio_database(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", ["no database", "a page lost", "empty header", "header alone"])
def test_a_damaged_file_is_set_aside_whole_with_a_warning(tmp_path, damage):
    path = tmp_path / "studio.db"
    database, _ = open_studio_database(path)
    for number in range(200):
        with database.write() as tx:
            tx.execute("INSERT INTO drafts VALUES ('ann', ?, ?, 0)", (str(number), "x" * 500))
    database.close()
    data = path.read_bytes()
    half = len(data) // 2 // 4096 * 4096
    broken = {
        "no database": b"not a database at all, but long enough to be read as a header " * 100,
        "a page lost": data[:half] + b"\xff" * 8192 + data[half + 8192 :],
        "empty header": bytes(100) + data[100:],
        "header alone": b"SQLite format 3\x00" + b"\xff" * 4096,
    }[damage]
    path.write_bytes(broken)
    opened, warnings = open_studio_database(path)
    (kept,) = tmp_path.glob("studio.db.broken-*")
    assert kept.read_bytes() == broken
    assert kept.name in warnings[0]
    with opened.read() as tx:
        assert tx.execute("SELECT count(*) FROM drafts").fetchone()[0] == 0


def test_two_damaged_files_in_one_second_are_both_kept(tmp_path):
    for text in (b"first " * 200, b"second " * 200):
        (tmp_path / "studio.db").write_bytes(text)
        open_studio_database(tmp_path / "studio.db")[0].close()
    assert {file.read_bytes()[:5] for file in tmp_path.glob("studio.db.broken-*")} == {b"first", b"secon"}


def test_damage_that_shows_later_says_what_to_do(tmp_path):
    path = tmp_path / "studio.db"
    path.write_bytes(b"no database, yet the right length of a page " * 100)
    with pytest.raises(DamagedError, match="is damaged") as refused:
        Database(path, TABLE)
    assert "again" in refused.value.hint


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="could not be written"):
        Database(tmp_path / "file" / "a.db", TABLE)


def test_a_file_that_is_a_folder_is_a_sentence(tmp_path):
    (tmp_path / "a.db").mkdir()
    with pytest.raises(StorageError, match=r"a\.db cannot be used"):
        Database(tmp_path / "a.db", TABLE)

import threading

import pytest

from studio.errors import StorageError
from studio.library import background
from studio.library.background import Scanner, parts_for, together
from studio.library.index import Library
from studio.library.scan import Progress
from tests.library.kit import settings_in, write_model


@pytest.fixture
def library(tmp_path):
    return Library(settings_in(tmp_path), look=False)


def test_a_scan_beside_the_studio_finds_what_a_start_leaves_out(library):
    write_model(library.settings.paths.models / "loras" / "oil.safetensors")
    told = []
    scanner = Scanner(library.settings, library.load, told.append)
    assert "oil" not in {entry.name for entry in library.entries()}
    scanner.start()
    assert scanner.wait(60)
    assert "oil" in {entry.name for entry in library.entries()}
    assert (told[0].state, told[-1].state, told[-1].error) == ("running", "done", "")
    assert told[-1].done == told[-1].total == told[-1].found


def test_who_asks_during_a_scan_gets_another_one_after_it(library):
    states, ended = [], threading.Event()
    scanner = Scanner(library.settings, library.load, lambda progress: states.append(progress.state))
    scanner.start()
    scanner.start()
    scanner.start()
    while not scanner.wait(60):
        ended.set()
    assert not ended.is_set()
    assert states.count("done") == 2


def test_a_scan_that_cannot_write_says_so(library, tmp_path):
    folder = library.settings.paths.library_db
    told = []
    library.cache.database.close()
    for file in folder.parent.glob("library.db*"):
        file.unlink()
    folder.mkdir()
    (folder / "x").touch()
    scanner = Scanner(library.settings, lambda: None, told.append)
    scanner.start()
    assert scanner.wait(60)
    assert "library.db" in told[-1].error


def test_a_list_that_cannot_be_read_is_said_and_the_next_scan_runs(library):
    told, busy = [], [StorageError("library.db is busy.")]

    def load():
        if busy:
            raise busy.pop()

    scanner = Scanner(library.settings, load, told.append)
    for error in ("library.db is busy.", ""):
        scanner.start()
        assert scanner.wait(60)
        assert (told[-1].state, error in told[-1].error, bool(told[-1].error)) == ("done", True, bool(error))


def test_much_to_do_is_shared_by_processes_and_found_once(library, monkeypatch):
    for number in range(12):
        write_model(library.settings.paths.models / "loras" / f"{number}.safetensors")
    monkeypatch.setattr(background, "EACH", 3)
    told = []
    scanner = Scanner(library.settings, library.load, told.append)
    scanner.start()
    assert scanner.wait(60)
    assert {str(number) for number in range(12)} <= {entry.name for entry in library.entries()}
    assert (told[-1].done, told[-1].total, told[-1].changed) == (told[-1].found, told[-1].found, 12)


@pytest.mark.parametrize(
    ("to_do", "cores", "parts"), [(0, 8, 1), (999, 8, 1), (2000, 8, 2), (90_000, 64, 4), (9000, 1, 2)]
)
def test_a_small_scan_takes_one_process_and_a_large_one_leaves_half_of_the_machine(to_do, cores, parts):
    assert parts_for(to_do, cores) == parts


def test_the_parts_of_a_scan_add_up():
    whole = together([Progress("done", 3, 3, 2, 1), Progress("running", 1, 4, 1, 0, "full")])
    assert whole == Progress("running", 4, 7, 3, 1, "full")


def test_a_stopped_scan_ends_at_once(library):
    scanner = Scanner(library.settings, library.load, lambda _: None)
    scanner.start()
    scanner.stop()
    assert scanner.wait(0)

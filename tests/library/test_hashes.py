import hashlib

import pytest

from studio.library.cache import Cache
from studio.library.hashes import Hashes, read_sha256, short_hash
from tests.library.kit import write_model


@pytest.fixture
def hashes(tmp_path):
    return Hashes(Cache(tmp_path / "library.db"))


def test_a_files_id_is_its_sha256(hashes, tmp_path):
    file = write_model(tmp_path / "a.safetensors")
    expected = hashlib.sha256(file.read_bytes()).hexdigest()
    assert hashes.content_id(file) == expected
    assert short_hash(expected) == expected[:10]


def test_a_file_is_read_once_until_it_changes(hashes, tmp_path, monkeypatch):
    file = write_model(tmp_path / "a.safetensors")
    read = []
    monkeypatch.setattr("studio.library.hashes.read_sha256", lambda path, told: read.append(path) or read_sha256(path))
    first = hashes.content_id(file)
    assert hashes.content_id(file) == first
    assert len(read) == 1
    write_model(file, numbers=bytes(6))
    assert hashes.content_id(file) != first


def test_a_hash_that_was_handed_in_is_not_read_for_until_the_file_changes(hashes, tmp_path, monkeypatch):
    file = write_model(tmp_path / "a.safetensors")
    hashes.keep(file, "5e1f")
    assert hashes.content_id(file) == "5e1f"
    write_model(file, numbers=bytes(6))
    assert hashes.content_id(file) == read_sha256(file)


def test_those_who_ask_while_it_is_read_get_the_same_answer(hashes, tmp_path):
    file = write_model(tmp_path / "a.safetensors", numbers=bytes(1 << 22))
    assert len({future.result() for future in [hashes.start(file) for _ in range(5)]}) == 1


def test_a_file_that_is_gone_is_an_error_each_time(hashes, tmp_path):
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            hashes.content_id(tmp_path / "gone.safetensors")


MB = 1 << 20


class Telling:
    """Hashes of a disk that needs so many seconds for each MB; what they tell."""

    def __init__(self, folder, monkeypatch):
        self.now, self.pace, self.words = 0.0, 1.0, []
        self.hashes = Hashes(Cache(folder / "library.db"), lambda *word: self.words.append(word), lambda: self.now)
        monkeypatch.setattr("studio.library.hashes.read_sha256", self.read)

    def read(self, file, told):
        def tell(count):
            self.now += count / MB * self.pace
            told(count)

        return read_sha256(file, tell)

    def about(self, path):
        """What is told while that model is read."""
        self.words.clear()
        self.hashes.content_id(path)
        return self.words


@pytest.fixture
def told(tmp_path, monkeypatch):
    return Telling(tmp_path, monkeypatch)


def test_a_slow_reading_tells_how_far_it_is_up_to_its_end(told, tmp_path):
    file = write_model(tmp_path / "a.safetensors", numbers=bytes(4 * MB))
    size = file.stat().st_size
    assert told.about(file) == [(file, done, size) for done in (*range(MB, size, MB), size)]
    assert told.about(file) == []  # from the cache


def test_a_folder_is_told_of_as_one_model_with_what_is_known_of_it(told, tmp_path):
    files = [write_model(tmp_path / "net" / f"{name}.safetensors", numbers=bytes(2 * MB)) for name in "ab"]
    sizes = [file.stat().st_size for file in files]
    told.about(files[0])
    words = told.about(tmp_path / "net")
    assert {path for path, _, _ in words} == {tmp_path / "net"}
    assert words[0][1] == sizes[0] + MB
    assert words[-1][1:] == (sum(sizes), sum(sizes))


def test_a_quick_reading_is_told_of_not_at_all(told, tmp_path):
    told.pace = 0.01
    assert told.about(write_model(tmp_path / "a.safetensors", numbers=bytes(4 * MB))) == []


def test_a_reading_that_breaks_off_is_told_to_have_ended(told, tmp_path, monkeypatch):
    file = write_model(tmp_path / "a.safetensors")
    size = file.stat().st_size

    def broken(file, tell):
        told.now += 1
        tell(1)
        raise OSError("the disk is gone")

    monkeypatch.setattr("studio.library.hashes.read_sha256", broken)
    with pytest.raises(OSError, match="gone"):
        told.about(file)
    assert told.words == [(file, 1, size), (file, size, size)]

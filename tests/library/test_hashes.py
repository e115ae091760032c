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
    monkeypatch.setattr("studio.library.hashes.read_sha256", lambda path: read.append(path) or read_sha256(path))
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

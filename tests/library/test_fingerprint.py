import os

import pytest

from studio.library.fingerprint import fingerprint, of_unreadable
from studio.library.walk import files_of
from tests.library.kit import write_model


def mark(path):
    return fingerprint(path, files_of(path))


def test_a_moved_file_keeps_its_fingerprint(tmp_path):
    file = write_model(tmp_path / "a.safetensors")
    before = mark(file)
    assert mark(file.rename(tmp_path / "other name.safetensors")) == before


@pytest.mark.parametrize("place", ["header", "middle", "end"])
def test_a_change_of_header_middle_or_end_shows(tmp_path, place):
    numbers = bytearray(1 << 19)
    before = mark(write_model(tmp_path / "a.safetensors", numbers=bytes(numbers)))
    metadata = {"x": "y"} if place == "header" else {}
    if place != "header":
        numbers[len(numbers) // 2 if place == "middle" else -1] = 1
    assert mark(write_model(tmp_path / "a.safetensors", numbers=bytes(numbers), **metadata)) != before


@pytest.mark.parametrize("data", [b"", b"short", (1 << 60).to_bytes(8, "little") + bytes(99)])
def test_a_damaged_file_has_one_too(tmp_path, data):
    (tmp_path / "a.safetensors").write_bytes(data)
    assert len(mark(tmp_path / "a.safetensors")) == 64


def test_a_folders_is_of_its_weights_and_not_of_its_card(tmp_path):
    write_model(tmp_path / "a" / "model.safetensors")
    before = mark(tmp_path / "a")
    (tmp_path / "a" / "card.json").write_text("{}")
    assert mark(tmp_path / "a") == before
    assert mark((tmp_path / "a").rename(tmp_path / "b")) == before
    write_model(tmp_path / "b" / "model.safetensors", numbers=b"1234")
    assert mark(tmp_path / "b") != before


def test_files_that_cannot_be_read_are_told_apart_by_their_places(tmp_path):
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    assert len({of_unreadable(tmp_path / "a", 1), of_unreadable(tmp_path / "a", 2), of_unreadable(odd, 1)}) == 3

import os

import pytest

from studio.errors import StorageError
from studio.files import move_whole, write_whole


def refuse(*_):
    raise OSError(28, "No space left on device")


def test_a_file_is_written_whole_and_its_folders_are_made(tmp_path):
    path = tmp_path / "a" / "b.png"
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    assert [entry.name for entry in path.parent.iterdir()] == ["b.png"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_older_file_and_no_part(tmp_path, monkeypatch, step):
    path = tmp_path / "a.png"
    write_whole(path, b"one")
    monkeypatch.setattr(os, step, refuse)
    with pytest.raises(StorageError, match=r"a\.png .*No space left on device"):
        write_whole(path, b"two")
    assert path.read_bytes() == b"one"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"a\.png could not be written"):
        write_whole(tmp_path / "file" / "a.png", b"")


def test_the_file_is_readable_like_any_other_of_the_person(tmp_path):
    plain = tmp_path / "plain"
    plain.touch()
    write_whole(tmp_path / "whole", b"")
    assert (tmp_path / "whole").stat().st_mode == plain.stat().st_mode


def test_a_moved_file_is_gone_from_where_it_was(tmp_path):
    source, target = tmp_path / "a", tmp_path / "trash" / "a"
    source.write_bytes(b"x")
    move_whole(source, target)
    assert (source.exists(), target.read_bytes()) == (False, b"x")
    with pytest.raises(StorageError, match="could not be written"):
        move_whole(source, target)

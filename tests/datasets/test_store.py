import errno
import os

import pytest
from PIL import Image

from studio.datasets.importing import take_in
from studio.datasets.store import DatasetStore
from studio.errors import InvalidRequestError, MissingError, StorageError
from tests.datasets.kit import data, fill, item, picture


@pytest.fixture
def store(tmp_path):
    made = DatasetStore(tmp_path / "datasets", tmp_path / "trash", tmp_path / "cache")
    fill(made.create("cup"), 3)
    return made


def files(store) -> list[str]:
    return sorted(p.relative_to(store.root).as_posix() for p in store.root.rglob("*") if p.is_file())


def test_a_folder_that_was_copied_there_by_hand_is_a_dataset(store):
    fill(store.root / "Émile's dog [old]", 2, caption="")
    assert store.names() == ["cup", "Émile's dog [old]"]
    assert len(store.pictures("Émile's dog [old]")) == 2


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 81, "ends ", "ends.", "CUP", "cup", "a\nb"])
def test_a_name_that_cannot_be_used_is_refused(store, name):
    with pytest.raises(InvalidRequestError) as refused:
        store.create(name)
    assert refused.value.field == "name"


@pytest.mark.parametrize("name", ["..", "../cup", "", ".", "none"])
def test_names_lead_nowhere_else(store, name):
    with pytest.raises(MissingError):
        store.folder(name)
    with pytest.raises(MissingError):
        store.picture("cup", f"{name}/0.png")


def test_captions_are_written_and_what_they_were_undoes_it(store):
    before = store.write_captions("cup", {"0.png": "new", "1.png": ""})
    assert [one.caption for one in store.entries("cup")] == ["new", None, "a sks cup"]
    store.write_captions("cup", before)
    assert [one.caption for one in store.entries("cup")] == ["a sks cup"] * 3


def test_one_bad_caption_and_none_is_written(store):
    with pytest.raises(InvalidRequestError, match=r"1\.png"):
        store.write_captions("cup", {"0.png": "new", "1.png": 5})
    with pytest.raises(MissingError, match=r"7\.png"):
        store.write_captions("cup", {"0.png": "new", "7.png": "x"})
    assert [one.caption for one in store.entries("cup")] == ["a sks cup"] * 3


def test_a_bulk_edit_can_be_undone(store):
    changed, before = store.edit_captions("cup", "replace", "sks", "blue")
    assert changed == dict.fromkeys(("0.png", "1.png", "2.png"), "a blue cup")
    store.write_captions("cup", before)
    assert store.entries("cup")[0].caption == "a sks cup"


def test_a_deleted_picture_comes_back_with_all_that_belongs_to_it(store):
    store.put_mask("cup", "1.png", data(Image.new("L", (8, 8), 255)))
    before, mark = files(store), store.content_id("cup")
    token = store.delete_picture("cup", "1.png")
    assert files(store) == [name for name in before if not name.startswith("cup/1")]
    assert store.content_id("cup") != mark
    assert store.restore(token) == "cup"
    assert (files(store), store.content_id("cup")) == (before, mark)
    with pytest.raises(MissingError):
        store.restore(token)


def test_a_deleted_dataset_comes_back_unless_its_name_was_taken(store):
    before = files(store)
    token = store.delete("cup")
    assert store.names() == []
    store.create("cup")
    with pytest.raises(InvalidRequestError, match="cup again"):
        store.restore(token)
    (store.root / "cup").rmdir()
    store.restore(token)
    assert files(store) == before


@pytest.mark.parametrize("token", ["", "../../etc", "1234567890-aaaaaaaaaaaa", ".."])
def test_an_unknown_token_brings_nothing_back(store, token):
    with pytest.raises(MissingError):
        store.restore(token)


def test_the_trash_is_emptied_of_what_is_old(store):
    token = store.delete_picture("cup", "1.png")
    assert store.trash.purge() == 0
    assert store.trash.purge(2e10) == 1
    with pytest.raises(MissingError):
        store.restore(token)


def test_two_pictures_of_one_stem_share_their_caption(store):
    picture(9).save(store.root / "cup" / "1.jpg")
    store.delete_picture("cup", "1.jpg")
    assert store.entries("cup")[1].caption == "a sks cup"


def test_a_mask_is_kept_and_taken_away(store):
    store.put_mask("cup", "0.png", data(Image.new("RGB", (8, 8), "white")))
    assert store.picture("cup", "0.png").mask == store.root / "cup" / "0-masklabel.png"
    assert len(store.pictures("cup")) == 3
    store.delete_mask("cup", "0.png")
    store.delete_mask("cup", "0.png")
    assert store.picture("cup", "0.png").mask is None


def test_a_black_mask_is_refused(store):
    with pytest.raises(InvalidRequestError, match="black everywhere"):
        store.put_mask("cup", "0.png", data(Image.new("L", (8, 8))))


def test_a_full_disk_leaves_nothing_half_written(store, monkeypatch):
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = files(store)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space"):
        take_in(store.root / "cup", [], [item("new.png", data(picture(8)))])
    with pytest.raises(StorageError, match="No space"):
        store.write_captions("cup", {"0.png": "new"})
    assert files(store) == before

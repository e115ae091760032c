import json
import os
import re
import shutil
import time

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from studio.database import open_studio_database
from studio.errors import AssetError, InvalidRequestError, StorageError
from studio.gallery.index import Gallery, page_query
from studio.gallery.png import Made, encode_png, read_made, read_png
from tests.gallery.samples import control, params, raw


def add(gallery, prompt="a red house", owner="local", seeds=(5,), **changes):
    return gallery.add("job", owner, params(prompt=prompt, **changes), tuple(raw(seed) for seed in seeds))


def ids(items):
    return [item.id for item in items]


def files(root):
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def forget_rows(paths):
    for path in paths.root.glob("studio.db*"):
        path.unlink()


def reopened(paths):
    database, _ = open_studio_database(paths.studio_db)
    return Gallery(paths, database)


def rebuilt(paths):
    gallery = reopened(paths)
    gallery.rebuild()
    return gallery


# ---- adding


def test_every_picture_of_a_job_has_a_file_a_thumbnail_and_a_row(gallery, paths):
    given = params(count=2, controls=(control(),))
    items = gallery.add("job", "ann", given, (raw(5), raw(6)), seconds={"denoise": 2.0}, warnings=("w",))
    assert [item.seed for item in items] == [5, 6]
    for item, image in zip(items, (raw(5), raw(6)), strict=True):
        assert (item.job_id, item.owner, item.prompt, item.starred) == ("job", "ann", "a red house", False)
        assert (item.width, item.height) == (128, 96)
        assert Image.open(item.path).tobytes() == image.rgb
        assert max(Image.open(item.thumbnail).size) <= 384
        assert re.fullmatch(
            rf"\d{{4}}-\d\d-\d\d/\d{{5}}-{item.seed}\.png", item.path.relative_to(paths.outputs).as_posix()
        )
    assert gallery.page() == [items[1], items[0]]
    assert gallery.get(items[0].id) == items[0]


def test_a_pictures_own_params_make_that_picture_alone(gallery):
    item = add(gallery, seeds=(5, 6), count=2)[1]
    assert (item.params.seed, item.params.count) == (6, 1)
    assert read_png(item.path).request == item.params.to_request()


def test_names_go_on_after_a_restart_and_after_deleting(gallery, paths):
    first, second = add(gallery), add(gallery)
    gallery.delete(second[0].id)
    third = add(Gallery(paths, gallery.database))
    assert [int(items[0].path.name[:5]) for items in (first, second, third)] == [1, 2, 3]


def test_a_large_picture_has_a_small_thumbnail(gallery):
    (item,) = gallery.add("job", "local", params(), (raw(1, (1024, 512)),))
    assert Image.open(item.thumbnail).size == (384, 192)


def test_a_disk_that_fills_up_keeps_neither_files_nor_rows(gallery, paths, monkeypatch):
    before = add(gallery)
    kept, sync, calls = files(paths.outputs), os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) > 3:
            raise OSError(28, "No space left on device")
        sync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        add(gallery, seeds=(7, 8, 9))
    monkeypatch.undo()
    assert gallery.page() == before
    assert files(paths.outputs) == kept
    assert len(files(paths.thumbnails)) == 1


# ---- pages


def test_pages_follow_one_another_newest_first(gallery):
    made = [add(gallery)[0].id for _ in range(7)]
    seen, before = [], None
    while page := gallery.page(before=before, limit=3):
        seen += ids(page)
        before = page[-1].id
    assert seen == made[::-1]


def test_new_pictures_do_not_shift_the_next_page(gallery):
    made = [add(gallery)[0].id for _ in range(4)]
    first = gallery.page(limit=2)
    add(gallery)
    assert ids(gallery.page(before=first[-1].id, limit=2)) == [made[1], made[0]]


def test_an_owner_sees_their_own(gallery):
    mine, theirs = add(gallery, owner="ann")[0], add(gallery, owner="bob")[0]
    assert ids(gallery.page("ann")) == [mine.id]
    assert ids(gallery.page()) == [theirs.id, mine.id]
    assert (gallery.count("ann"), gallery.count("bob"), gallery.count("eve"), gallery.count()) == (1, 1, 0, 2)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("red", {"red", "both"}),
        ("RED house", {"red", "both"}),
        ("house red", {"red", "both"}),
        ("hou", {"red", "blue", "both"}),
        ("ouse", set()),
        ("red blue", {"both"}),
        ("cafe", {"accent"}),
        ("Café", {"accent"}),
        ("", {"red", "blue", "both", "accent"}),
        ("   ", {"red", "blue", "both", "accent"}),
        ('"', set()),
        ("!!!", set()),
        ('red" OR prompt:"blue', set()),
        ("red*", {"red", "both"}),
        ("NOT", set()),
        ("'; DROP TABLE gallery", set()),
    ],
)
def test_words_are_searched_in_prompts(gallery, query, found):
    prompts = {
        "red": "a Red house",
        "blue": "a blue house",
        "both": "house of red and blue",
        "accent": "a café",
    }
    made = {add(gallery, prompt=prompt)[0].id: name for name, prompt in prompts.items()}
    assert {made[item.id] for item in gallery.page(query=query)} == found


def test_filters_and_cursor_work_together(gallery):
    made = [
        add(gallery, prompt=f"{color} house", owner=owner)[0] for color in ("red", "blue") for owner in ("ann", "bob")
    ]
    for item in made[:3]:
        gallery.star(item.id, True)
    assert ids(gallery.page("ann", query="house", starred=True)) == [made[2].id, made[0].id]
    assert ids(gallery.page("ann", query="house", starred=True, before=made[2].id)) == [made[0].id]


@pytest.mark.parametrize("query", ["", "house"])
@pytest.mark.parametrize("owner", [None, "ann"])
@pytest.mark.parametrize("starred", [False, True])
@pytest.mark.parametrize("before", [None, 500])
def test_a_page_is_read_by_index_whatever_the_number_of_rows(database, query, owner, starred, before):
    sql, values = page_query(owner, query=query, starred=starred, before=before)
    with database.read() as tx:
        plan = [row["detail"] for row in tx.execute(f"EXPLAIN QUERY PLAN {sql} LIMIT 60", values)]
    assert not any("TEMP B-TREE" in step for step in plan), plan
    if query:
        assert "VIRTUAL TABLE INDEX" in plan[0]
        assert plan[1:] == ["SEARCH g USING INTEGER PRIMARY KEY (rowid=?)"]
    else:
        index = "gallery_starred" if starred else "gallery_owned" if owner else "gallery_all"
        assert [index in step for step in plan] == [True]


# ---- stars, trash


def test_a_star_is_put_on_and_taken_off(gallery):
    item = add(gallery)[0]
    assert gallery.star(item.id, True).starred
    assert ids(gallery.page(starred=True)) == [item.id]
    assert not gallery.star(item.id, False).starred
    assert gallery.page(starred=True) == []


def test_a_deleted_picture_is_gone_until_it_is_restored(gallery, paths):
    item = gallery.star(add(gallery)[0].id, True)
    gallery.delete(item.id)
    assert gallery.get(item.id) is None
    assert gallery.page() == gallery.page(query="house") == gallery.page(starred=True) == []
    assert gallery.count() == 0
    assert not item.path.exists()
    assert files(paths.trash) == [item.path.relative_to(paths.outputs).as_posix()]
    assert gallery.restore(item.id) == item
    assert item.path.is_file()
    assert files(paths.trash) == []


def test_restoring_what_is_there_changes_nothing(gallery):
    item = add(gallery)[0]
    assert gallery.restore(item.id) == item


@pytest.mark.parametrize("number", [99, 0, -1, 10**30])
def test_what_is_not_there_is_named(gallery, number):
    assert gallery.get(number) is None
    for call in (lambda n: gallery.star(n, True), gallery.delete, gallery.restore):
        with pytest.raises(AssetError, match=f"no picture {number}"):
            call(number)


def test_a_cursor_may_be_any_number(gallery):
    item = add(gallery)[0]
    assert gallery.page(before=10**30) == [item]
    assert gallery.page(before=-1) == []


def test_a_deleted_picture_cannot_be_starred_or_deleted_again(gallery):
    item = add(gallery)[0]
    gallery.delete(item.id)
    with pytest.raises(AssetError, match="no picture"):
        gallery.delete(item.id)
    with pytest.raises(AssetError, match="no picture"):
        gallery.star(item.id, True)


def test_only_old_trash_is_purged(gallery, paths):
    kept, gone = add(gallery)[0], add(gallery)[0]
    gallery.delete(gone.id)
    assert gallery.purge() == 0
    assert gallery.purge(deleted_before=time.time() + 1) == 1
    assert files(paths.trash) == []
    assert not gone.thumbnail.exists()
    assert gallery.page() == [kept]
    assert gallery.page(query="house") == [kept]
    with pytest.raises(AssetError, match="no picture"):
        gallery.restore(gone.id)


def test_a_file_that_cannot_be_moved_stays_listed(gallery, monkeypatch):
    item = add(gallery)[0]

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(StorageError, match="Permission denied"):
        gallery.delete(item.id)
    assert gallery.get(item.id) == item


def test_a_file_that_cannot_be_removed_stays_in_the_trash(gallery, paths, monkeypatch):
    item = add(gallery)[0]
    gallery.delete(item.id)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(paths.root), "unlink", refuse)
    assert gallery.purge(deleted_before=time.time() + 1) == 0
    monkeypatch.undo()
    assert gallery.restore(item.id) == item


# ---- lost files, lost rows


def test_a_lost_thumbnail_is_made_again(gallery):
    item = add(gallery)[0]
    item.thumbnail.unlink()
    assert Image.open(gallery.thumbnail(item)).size == (128, 96)


def test_a_picture_removed_by_hand_stays_listed_and_can_be_deleted(gallery):
    item = add(gallery)[0]
    item.path.unlink()
    assert gallery.page() == [item]
    assert gallery.thumbnail(item) == item.thumbnail
    item.thumbnail.unlink()
    with pytest.raises(AssetError, match="no longer there"):
        gallery.thumbnail(item)
    gallery.delete(item.id)
    assert gallery.restore(item.id) == item


def test_lost_rows_come_back_from_the_files_in_their_order(gallery, paths):
    made = [add(gallery, prompt=f"house {i}", owner=owner)[0] for i, owner in enumerate(("ann", "bob", "ann"))]
    gallery.delete(made[1].id)
    forget_rows(paths)
    again = reopened(paths)
    assert again.rebuild() == 3
    back = again.page()
    assert [(item.prompt, item.owner, item.job_id, item.path) for item in back] == [
        (item.prompt, item.owner, item.job_id, item.path) for item in (made[2], made[0])
    ]
    assert [item.params for item in back] == [made[2].params, made[0].params]
    assert again.page(query="house")
    assert again.rebuild() == 0


def test_a_deleted_picture_can_be_restored_after_its_row_was_lost(gallery, paths):
    item = add(gallery)[0]
    gallery.delete(item.id)
    forget_rows(paths)
    again = reopened(paths)
    assert (again.rebuild(), again.count()) == (1, 0)
    assert again.restore(1).path.is_file()


def test_files_that_are_not_ours_or_broken_are_passed_over(gallery):
    item = add(gallery)[0]
    Image.new("RGB", (4, 4)).save(item.path.with_name("holiday.png"))
    item.path.with_name("broken.png").write_bytes(item.path.read_bytes()[:40])
    item.path.with_name("text.png").write_text("hello")
    assert gallery.rebuild() == 0
    shutil.copy(item.path, item.path.with_name("copy.png"))
    assert gallery.rebuild() == 1


ODD = {
    "half a character": {"params": params(prompt="half \ud800")},
    "an owner that is none": {"params": params(), "owner": "\ud800\0"},
    "a time that is none": {"params": params(), "created": float("inf")},
}


@pytest.mark.parametrize("made", ODD.values(), ids=ODD)
def test_odd_values_in_a_file_do_not_keep_the_gallery_from_its_rows(gallery, paths, made):
    good = add(gallery)[0]
    text = json.dumps({"owner": "", "job_id": "", **made, "params": made["params"].to_dict()})
    chunks = PngInfo()
    chunks.add_text("maquette", text)
    Image.new("RGB", (4, 4)).save(paths.outputs / "odd.png", pnginfo=chunks)
    forget_rows(paths)
    assert good.path in {item.path for item in rebuilt(paths).page()}


def test_a_seed_beyond_the_databases_numbers_is_passed_over(gallery, paths):
    made = Made(params=params(seed=2**64))
    (paths.outputs / "a.png").write_bytes(encode_png(Image.new("RGB", (4, 4)), made))
    assert gallery.rebuild() == 0


def test_settings_of_another_version_do_not_hide_the_picture(gallery, database):
    item = add(gallery)[0]
    with database.write() as tx:
        tx.execute("UPDATE gallery SET params = '{\"version\": 99}'")
    found = gallery.get(item.id)
    assert found.prompt == "a red house"
    with pytest.raises(InvalidRequestError, match="version"):
        _ = found.params


def test_the_file_says_who_made_it_and_in_what_time(gallery):
    (item,) = gallery.add("job-7", "ann", params(), (raw(),), seconds={"denoise": 2.5}, warnings=("slow",))
    made = read_made(item.path)
    assert (made.owner, made.job_id, made.created) == ("ann", "job-7", item.created)

import zipfile
from io import BytesIO

import pytest
from PIL import Image

from studio.datasets import importing
from studio.datasets.captions import read_caption
from studio.datasets.folder import list_pictures
from studio.datasets.importing import files_of, safe_name, take_in, unpacked
from studio.errors import AssetError, InvalidRequestError
from tests.datasets.kit import data, fill, item, picture


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> BytesIO:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return BytesIO(buffer.getvalue())


def test_pictures_come_as_they_are_with_captions_masks_and_maps(tmp_path):
    given = {
        "a.png": data(picture(0)),
        "a.txt": "schön".encode("cp1252"),
        "a-masklabel.png": data(Image.new("L", (8, 8), 255)),
        "masks/b.png": data(Image.new("L", (8, 8), 255)),
        "map/b.png": data(Image.new("RGB", (8, 8))),
        "b.jpg": data(picture(1), "JPEG"),
        "b.caption": b"a cup",
    }
    made = take_in(tmp_path, [], [item(name, content) for name, content in given.items()])
    assert (made.added, made.skipped, made.captions, made.masks) == (["a.png", "b.jpg"], [], 2, 2)
    first, second = list_pictures(tmp_path)
    assert first.path.read_bytes() == given["a.png"]
    assert (read_caption(first), read_caption(second)) == ("schön", "a cup")
    assert (first.mask, second.mask) == (tmp_path / "a-masklabel.png", tmp_path / "b-masklabel.png")
    assert second.map == tmp_path / "b-map.png"


def test_a_name_that_is_taken_gets_a_number_and_its_caption_follows(tmp_path):
    take_in(tmp_path, [], [item("a.png", data(picture(0)))])
    made = take_in(tmp_path, ["a.png"], [item("A.jpg", data(picture(1), "JPEG")), item("A.txt", b"second")])
    assert made.added == ["A (2).jpg"]
    assert [read_caption(one) for one in list_pictures(tmp_path)] == ["second", None]


def test_the_same_picture_twice_is_kept_once(tmp_path):
    same = data(picture(0))
    made = take_in(tmp_path, [], [item("a.png", same), item("a.png", same)])
    assert (made.added, made.skipped) == (["a.png"], [("a.png", "It is here already.")])


def test_captions_may_come_later(tmp_path):
    take_in(tmp_path, [], [item("x/a.png", data(picture(0)))])
    made = take_in(tmp_path, ["x/a.png"], [item("x/a.txt", b"a cup")])
    assert (made.captions, made.skipped) == (1, [])
    assert read_caption(list_pictures(tmp_path)[0]) == "a cup"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.png", data(picture(0))[:300], "damaged"),
        ("a.png", b"", "empty"),
        ("a.png", b"<svg></svg>", "SVG"),
        ("a.tif", b"II*\x00", "not a picture of a kind"),
        ("a.txt", b"words", "without its picture"),
        ("a.exe", b"MZ", "no picture"),
        ("a.png", data(Image.new("1", (9000, 1))), "9000"),
        ("../a.png", data(picture(0)), "leads out"),
    ],
)
def test_what_cannot_be_used_is_skipped_with_a_reason(tmp_path, name, content, said):
    made = take_in(tmp_path / "set", [], [item(name, content), item("good.png", data(picture(1)))])
    assert made.added == ["good.png"]
    assert [one for one, _ in made.skipped] == [name]
    assert said in made.skipped[0][1]
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["good.png"]


@pytest.mark.parametrize(
    "name", ["../a.png", "/etc/a.png", "C:\\a.png", "..\\a.png", "x/../../a.png", "", "a/" * 9 + "b"]
)
def test_names_that_lead_elsewhere_are_none(name):
    assert safe_name(name) is None


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("a.png", "a.png"),
        ("x\\y\\é ü.png", "x/y/é ü.png"),
        ("./x//a.png", "x/a.png"),
        ("a:b?.png", "a_b_.png"),
        ("x. /a\n.png", "x/a_.png"),
        ("n" * 300 + ".png", "n" * 100 + ".png"),
    ],
)
def test_odd_names_are_made_usable(name, wanted):
    assert safe_name(name) == wanted


def test_a_zip_is_unpacked_without_its_top_folder(tmp_path):
    archive = zipped({"cup/a.png": data(picture(0)), "cup/x/b.png": data(picture(1)), "cup/a.txt": b"a cup"})
    made = take_in(tmp_path, [], unpacked("cup.zip", archive))
    assert (made.added, made.captions) == (["a.png", "x/b.png"], 1)


@pytest.mark.parametrize("name", ["../../evil.png", "/evil.png", "C:/evil.png", "a/../../evil.png"])
def test_a_zip_that_leads_out_of_the_folder_writes_nothing_there(tmp_path, name):
    archive = zipped({name: data(picture(0)), "good.png": data(picture(1))})
    made = take_in(tmp_path / "set", [], unpacked("bad.zip", archive))
    assert made.added == ["good.png"]
    assert "leads out" in made.skipped[0][1]
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()] == ["set/good.png"]


def test_a_bomb_is_unpacked_no_further_than_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(importing, "UNPACKED_MAX", 5000)
    good = data(picture(0, (8, 8)))
    archive = zipped({"good.png": good} | {f"{n}.png": bytes(10_000) for n in range(3)})
    made = take_in(tmp_path, [], unpacked("bomb.zip", archive))
    assert made.added == ["good.png"]
    assert "holds more than" in made.skipped[-1][1]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 nothing", b"no zip"])
def test_what_is_no_zip_is_refused(content):
    with pytest.raises(AssetError, match=r"bad\.zip is no zip archive"):
        list(unpacked("bad.zip", BytesIO(content)))


def test_too_many_files_in_a_zip_are_refused(monkeypatch):
    monkeypatch.setattr(importing, "ENTRIES_MAX", 2)
    with pytest.raises(AssetError, match="holds 3 files"):
        list(unpacked("many.zip", zipped({f"{n}.txt": b"" for n in range(3)})))


def test_a_folder_is_taken_in_whole(tmp_path):
    source = fill(tmp_path / "from" / "10_cup", 3)
    (source / ".DS_Store").write_bytes(b"x")
    made = take_in(tmp_path / "to", [], files_of(source.parent))
    assert (made.added, made.captions, made.skipped) == ([f"10_cup/{n}.png" for n in range(3)], 3, [])
    with pytest.raises(InvalidRequestError, match="no folder"):
        list(files_of(tmp_path / "none"))


def test_a_dataset_that_is_full_takes_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr(importing, "PICTURES_MAX", 2)
    made = take_in(tmp_path, [], [item(f"{n}.png", data(picture(n))) for n in range(3)])
    assert len(made.added) == 2
    assert "at most 2" in made.skipped[0][1]

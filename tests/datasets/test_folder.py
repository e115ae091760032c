from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from studio.datasets.captions import read_caption, write_caption
from studio.datasets.folder import Picture, content_id, list_pictures, open_mask, open_picture
from studio.errors import AssetError, InvalidRequestError
from tests.datasets.kit import data, fill, picture


def names(folder: Path) -> list[str]:
    return [one.name for one in list_pictures(folder)]


def test_every_picture_is_found_however_deep_and_hidden_files_are_not(tmp_path):
    for name in ("b.png", "10_my cup/a.JPG", "x/y/z.webp", ".hidden.png", "__MACOSX/a.png", "notes.md", "é ü.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert names(tmp_path) == ["10_my cup/a.JPG", "b.png", "x/y/z.webp", "é ü.png"]


@pytest.mark.parametrize("mask", ["sub/a-masklabel.png", "masks/sub/a.png", "sub/masks/a.png"])
@pytest.mark.parametrize("map_", ["sub/a-map.png", "map/sub/a.png", "sub/map/a.png"])
def test_masks_and_maps_belong_to_their_picture_and_are_none_themselves(tmp_path, mask, map_):
    for name in ("sub/a.jpg", "sub/b.jpg", mask, map_):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    first, second = list_pictures(tmp_path)
    assert (first.name, first.mask, first.map) == ("sub/a.jpg", tmp_path / mask, tmp_path / map_)
    assert (second.name, second.mask, second.map) == ("sub/b.jpg", None, None)


def test_a_mask_without_its_picture_is_a_picture(tmp_path):
    for name in ("alone-masklabel.png", "masks/alone too.png", "map/a map of the town.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert len(names(tmp_path)) == 3


@pytest.mark.parametrize(
    "text", ["a cup", "eine schöne Tasse, 😀 “quoted”", "コップ", "a, b; c\\d %s {x} <y>", "two\nlines"]
)
def test_captions_come_back_as_they_were_written(tmp_path, text):
    one = Picture("a.png", tmp_path / "a.b.png")
    write_caption(one, text)
    assert read_caption(one) == text
    assert (tmp_path / "a.b.txt").read_bytes() == text.encode()
    write_caption(one, "")
    assert read_caption(one) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"\xef\xbb\xbfa cup\r\n", "a cup"),
        ("schön".encode("cp1252"), "schön"),
        ("schön".encode("utf-16"), "schön"),
        (b"a\x00b", "ab"),
        (b"  \n", None),
        (b"\x81\xff", "\ufffdÿ"),
    ],
)
def test_captions_of_other_programs_are_read(tmp_path, content, text):
    (tmp_path / "a.caption").write_bytes(content)
    assert read_caption(Picture("a.png", tmp_path / "a.png")) == text


def test_a_text_file_counts_more_than_a_sidecar_even_when_it_is_empty(tmp_path):
    one = Picture("a.png", tmp_path / "a.png")
    (tmp_path / "a.caption").write_text("old")
    write_caption(one, "new")
    assert read_caption(one) == "new"
    write_caption(one, "")
    assert read_caption(one) is None
    assert (tmp_path / "a.caption").read_text() == "old"


@pytest.mark.parametrize("text", ["x" * 4001, "half \ud83d a smile"])
def test_a_caption_that_cannot_be_kept_is_refused(tmp_path, text):
    with pytest.raises(InvalidRequestError, match=r"a\.png"):
        write_caption(Picture("a.png", tmp_path / "a.png"), text)
    assert list(tmp_path.iterdir()) == []


def test_the_id_follows_content_and_not_names(tmp_path):
    folder = fill(tmp_path / "one", 3)
    first = content_id(list_pictures(folder), read_caption)
    (folder / "0.png").rename(folder / "other.png")
    (folder / "0.txt").rename(folder / "other.txt")
    assert content_id(list_pictures(folder), read_caption) == first
    (folder / "other.txt").write_text("another")
    changed = content_id(list_pictures(folder), read_caption)
    picture(1).convert("L").save(folder / "1-masklabel.png")
    assert len({first, changed, content_id(list_pictures(folder), read_caption)}) == 3


def test_a_mask_is_its_file_or_the_transparency(tmp_path):
    shown = picture(0, (8, 8)).convert("RGBA")
    assert open_mask(Picture("a", tmp_path / "a.png"), shown) is None
    shown.putalpha(Image.new("L", (8, 8), 0))
    assert np.asarray(open_mask(Picture("a", tmp_path / "a.png"), shown)).max() == 0
    Image.new("L", (4, 4), 255).save(tmp_path / "m.png")
    mask = open_mask(Picture("a", tmp_path / "a.png", mask=tmp_path / "m.png"), shown)
    assert mask is not None
    assert mask.size == (4, 4)
    assert np.asarray(mask).min() == 255


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_mode_is_read_as_a_plain_one(tmp_path, mode):
    kind = "JPEG" if mode == "CMYK" else "PNG"
    image = Image.new("I;16", (8, 6), 40_000) if mode == "I;16" else picture(0, (8, 6)).convert(mode)
    (tmp_path / "a").write_bytes(data(image, kind))
    found = open_picture(tmp_path / "a")
    assert (found.size, found.mode in ("L", "RGB", "RGBA")) == ((8, 6), True)
    if mode == "I;16":
        assert found.getpixel((0, 0)) == 40_000 >> 8


def test_a_rotated_photo_stands_upright(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    (tmp_path / "a.jpg").write_bytes(data(picture(0, (60, 40)), "JPEG", exif=exif))
    assert open_picture(tmp_path / "a.jpg").size == (40, 60)


def test_the_first_frame_of_an_animation_counts(tmp_path):
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert open_picture(tmp_path / "a.gif").convert("RGB").getpixel((0, 0)) == (255, 0, 0)


def test_a_picture_that_is_gone_or_huge_is_refused_in_words(tmp_path):
    with pytest.raises(AssetError, match="cannot be read"):
        open_picture(tmp_path / "none.png")
    Image.new("1", (9000, 8)).save(tmp_path / "wide.png")
    with pytest.raises(AssetError, match="9000 x 8"):
        open_picture(tmp_path / "wide.png")

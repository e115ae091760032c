import hashlib
import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from studio.errors import AssetError, StorageError
from studio.gallery.assets import AssetStore
from studio.gallery.decode import Limits, count_gif_frames


@pytest.fixture
def store(tmp_path):
    return AssetStore(tmp_path / "assets")


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(size=(40, 30), mode="RGB"):
    bands = len(Image.new(mode, (1, 1)).getbands())
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], bands), dtype=np.uint8)
    return Image.fromarray(values.squeeze(-1) if bands == 1 else values, mode if bands != 4 else None)


def png_claiming(width, height):
    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def gif_bomb(frames):
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    head = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    return head + frame * frames + b";"


SVG = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'

REFUSED = {
    "30,000 pixels a side": (png_claiming(30_000, 30_000), "30000 x 30000"),
    "too many pixels in all": (png_claiming(8_192, 8_192 + 1), "8192 x 8193"),
    "a truncated PNG": (encoded(noise())[:700], "damaged"),
    "a truncated JPEG": (encoded(noise(), "JPEG")[:500], "damaged"),
    "a truncated WebP": (encoded(noise(), "WEBP")[:200], "damaged"),
    "a truncated GIF": (encoded(noise(), "GIF")[:100], "damaged"),
    "a header and no more": (encoded(noise())[:20], "damaged"),
    "a GIF of 100,000 frames": (gif_bomb(100_000), "more than 1000 frames"),
    "an SVG": (SVG, "SVG"),
    "an SVG in UTF-8 with a mark": (b"\xef\xbb\xbf  " + SVG[22:], "SVG"),
    "a text": (b"hello", "not a picture"),
    "nothing": (b"", "empty"),
    "a PDF": (b"%PDF-1.7 ...", "not a picture"),
}


@pytest.mark.parametrize(("data", "says"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_used_is_refused_with_a_sentence_and_leaves_no_file(store, data, says):
    with pytest.raises(AssetError, match=says) as caught:
        store.put_image(data)
    assert caught.value.hint
    assert not store.root.exists()


def test_a_file_over_the_byte_limit_is_refused_before_it_is_decoded(tmp_path):
    store = AssetStore(tmp_path, Limits(bytes=100))
    path = tmp_path / "big.png"
    path.write_bytes(encoded(noise()))
    with pytest.raises(AssetError, match="at most"):
        store.put_image(path)


def test_the_id_is_the_hash_of_the_file_and_equal_pictures_are_kept_once(store):
    first, second = store.put_image(noise()), store.put_image(encoded(noise(), "BMP"))
    assert first == second == hashlib.sha256(store.path(first).read_bytes()).hexdigest()
    assert store.path(first) == store.root / first[:2] / f"{first}.png"
    assert len([p for p in store.root.rglob("*") if p.is_file()]) == 1


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_pixels_come_back_as_they_went_in(store, mode):
    image = noise(mode=mode)
    back = store.open_image(store.put_image(image))
    assert (back.mode, back.tobytes()) == (mode, image.tobytes())


@pytest.mark.parametrize(
    ("source", "mode"),
    [
        (encoded(noise(mode="RGBA").convert("CMYK"), "JPEG"), "RGB"),
        (encoded(noise().convert("P")), "RGB"),
        (encoded(noise().convert("1")), "L"),
        (encoded(noise().convert("LA")), "RGBA"),
        (encoded(noise(), "GIF"), "RGB"),
        (encoded(noise().convert("P"), transparency=0), "RGBA"),
        (encoded(Image.new("RGB", (1, 1)), "WEBP"), "RGB"),
        (encoded(Image.new("1", (1, 1))), "L"),
    ],
    ids=["CMYK JPEG", "palette", "bilevel", "grey with alpha", "GIF", "palette with transparency", "1x1 WebP", "1x1"],
)
def test_every_mode_becomes_a_plain_one(store, source, mode):
    assert store.open_image(store.put_image(source)).mode == mode


def test_a_cmyk_jpeg_keeps_its_colours(store):
    red = encoded(Image.new("RGB", (16, 16), (250, 10, 10)).convert("CMYK"), "JPEG", quality=95)
    r, g, b = store.open_image(store.put_image(red)).getpixel((8, 8))
    assert r > 230
    assert max(g, b) < 40


def test_a_photos_colour_profile_is_obeyed_and_a_broken_one_ignored(store):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain = store.put_image(encoded(noise()))
    for foreign in (srgb, profile, b"no profile"):
        assert store.put_image(encoded(noise(), icc_profile=foreign)) == plain
    # A profile with its red and green primaries swapped turns red into green.
    red, green = srgb.index(b"rXYZ"), srgb.index(b"gXYZ")
    swapped = bytearray(srgb)
    swapped[red : red + 4], swapped[green : green + 4] = b"gXYZ", b"rXYZ"
    image = store.open_image(store.put_image(encoded(Image.new("RGB", (8, 8), "red"), icc_profile=bytes(swapped))))
    assert image.getpixel((4, 4))[1] > 200


def test_sixteen_bits_become_eight(store):
    deep = Image.fromarray(np.array([[0, 255, 256, 65535]], dtype=np.uint16))
    assert list(store.open_image(store.put_image(encoded(deep))).tobytes()) == [0, 0, 1, 255]


def test_a_photo_is_kept_upright(store):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = store.open_image(store.put_image(encoded(noise((40, 30)), "JPEG", exif=exif)))
    assert image.size == (30, 40)


def test_of_an_animation_the_first_frame_is_kept(store):
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "green", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert count_gif_frames(data, 1000) == 3
    assert store.open_image(store.put_image(data)).getpixel((0, 0)) == (255, 0, 0)


def test_metadata_does_not_survive(store):
    exif = Image.Exif()
    exif[0x010E] = "a place and a name"
    asset = store.put_image(encoded(noise(), "JPEG", exif=exif))
    assert b"a place" not in store.path(asset).read_bytes()


def test_json_comes_back_and_equal_values_have_one_id(store):
    value = {"b": [1, 2.5, "é"], "a": None}
    asset = store.put_json(value)
    assert store.open_json(asset) == value
    assert store.put_json({"a": None, "b": [1, 2.5, "é"]}) == asset
    assert store.exists(asset, ".json")
    assert not store.exists(asset)


@pytest.mark.parametrize("asset", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n"])
def test_only_a_hash_is_an_id(store, asset):
    assert not store.exists(asset)
    with pytest.raises(AssetError, match="not the id"):
        store.path(asset)


def test_a_missing_asset_and_one_damaged_on_disk_are_named(store):
    with pytest.raises(AssetError, match="not here"):
        store.open_image("0" * 64)
    asset = store.put_image(noise())
    store.path(asset).write_bytes(b"\x89PNG")
    with pytest.raises(AssetError, match="damaged on the disk"):
        store.open_image(asset)


def test_a_full_disk_is_said_and_leaves_nothing_behind(store, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        store.put_image(noise())
    assert not [p for p in store.root.rglob("*") if p.is_file()]

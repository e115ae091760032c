import io
import json

import pytest
from PIL import Image, PngImagePlugin
from PIL.PngImagePlugin import PngInfo

from studio.errors import AssetError, InvalidRequestError
from studio.gallery.infotext import write_infotext
from studio.gallery.png import Made, encode_png, picture_size, read_made, read_png
from tests.gallery.samples import control, params, raw

SMALL = Image.new("RGB", (8, 8), "red")


def picture(seed=5):
    image = raw(seed)
    return Image.frombytes("RGB", (image.width, image.height), image.rgb)


def with_chunks(**chunks):
    info = PngInfo()
    for key, value in chunks.items():
        info.add_text(key, value)
    buffer = io.BytesIO()
    SMALL.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def with_comment(kind, comment):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = comment
    buffer = io.BytesIO()
    SMALL.save(buffer, kind, exif=exif.tobytes())
    return buffer.getvalue()


def test_the_pixels_of_a_picture_are_untouched():
    image = picture()
    data = encode_png(image, Made(params=params()))
    assert Image.open(io.BytesIO(data)).tobytes() == image.tobytes()
    assert picture_size(data) == image.size


def test_the_two_chunks_are_what_other_programs_and_we_read():
    given = params(prompt="ünïcode 😀 日本", controls=(control(),))
    chunks = Image.open(io.BytesIO(encode_png(picture(), Made(params=given, owner="local", job_id="j")))).text
    assert chunks["parameters"] == write_infotext(given)
    body = json.loads(chunks["maquette"])
    assert (body["app"], body["version"]) == ("Maquette", "0.1.0")
    assert body["params"] == json.loads(json.dumps(given.to_dict()))


def test_everything_comes_back_from_our_own_picture(tmp_path):
    given = params(
        controls=(control(annotator_options=(("low", 1.0),)),), init_image="ab" * 32, mask_image="cd" * 32, strength=0.5
    )
    made = Made(params=given, owner="local", job_id="j", created=12.5, seconds={"denoise": 1.5}, warnings=("w",))
    path = tmp_path / "a.png"
    path.write_bytes(encode_png(picture(), made))
    back = read_made(path)
    assert (back.params, back.owner, back.job_id, back.created) == (given, "local", "j", 12.5)
    read = read_png(path)
    assert read.request == given.to_request()
    assert read.notes == ()


def test_ours_wins_over_the_text_of_others():
    made = Made(params=params(prompt="ours"))
    chunks = Image.open(io.BytesIO(encode_png(SMALL, made))).text
    data = with_chunks(parameters="theirs\nSteps: 1, Seed: 2, Size: 8x8", maquette=chunks["maquette"])
    assert read_png(data).request.prompt == "ours"


@pytest.mark.parametrize(
    "ours",
    ["", "{", "[" * 100_000, "null", '{"params": 5}', '{"params": {"version": 99}}', '{"params": {"version": 1}}'],
)
def test_broken_settings_of_ours_fall_back_to_the_text(ours):
    data = with_chunks(parameters="theirs\nSteps: 1, Seed: 2, Size: 8x8", maquette=ours)
    read = read_png(data)
    assert read.request.prompt == "theirs"
    assert bool(read.notes) == bool(ours)
    assert read_made(data) is None


def test_prompts_that_no_chunk_can_hold_are_still_saved():
    assert encode_png(SMALL, Made(params=params(prompt="nul \0 half \ud800")))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
@pytest.mark.parametrize(
    "comment",
    [
        b"UNICODE\0" + "a häuschen\nSteps: 9, Seed: 2, Size: 8x8".encode("utf-16-be"),
        b"UNICODE\0" + "a häuschen\nSteps: 9, Seed: 2, Size: 8x8".encode("utf-16-le"),
        b"ASCII\0\0\0" + "a häuschen\nSteps: 9, Seed: 2, Size: 8x8".encode(),
    ],
    ids=["big end first", "little end first", "bytes"],
)
def test_the_comment_of_a_photo_format_is_read(kind, comment):
    request = read_png(with_comment(kind, comment)).request
    assert (request.prompt, request.num_inference_steps) == ("a häuschen", 9)


def test_reading_settings_decodes_no_pixel(monkeypatch):
    file = io.BytesIO()
    Image.new("1", (3000, 3000)).save(file, "PNG")
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(InvalidRequestError):
        read_png(file.getvalue())


def test_a_picture_without_settings_says_so():
    with pytest.raises(InvalidRequestError, match="carries no settings"):
        read_png(with_chunks())


@pytest.mark.parametrize("data", [b"", b"hello", with_chunks()[:20], b"\x89PNG\r\n\x1a\n" + b"\xff" * 50])
def test_what_is_no_picture_is_refused(data):
    with pytest.raises(AssetError):
        read_png(data)


def test_a_compressed_text_bomb_is_refused():
    info = PngInfo()
    info.add_text("parameters", "a" * 50_000_000, zip=True)
    buffer = io.BytesIO()
    SMALL.save(buffer, "PNG", pnginfo=info)
    with pytest.raises(AssetError):
        read_png(buffer.getvalue())


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(AssetError, match=r"gone\.png"):
        read_png(tmp_path / "gone.png")


def test_pictures_that_are_not_here_are_left_out_with_notes():
    given = params(
        controls=(control(), control(map="cd" * 32)), init_image="ef" * 32, mask_image="cd" * 32, strength=0.5
    )
    data = encode_png(SMALL, Made(params=given))
    read = read_png(data, has_asset=lambda asset: asset == "cd" * 32)
    assert [unit.map for unit in read.request.controls] == ["cd" * 32]
    assert (read.request.init_image, read.request.mask_image) == (None, None)
    assert len(read.notes) == 2
    assert read_png(data, has_asset=lambda _: True).notes == ()

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from studio.cli.parser import parse
from studio.cli.request import build_request
from studio.errors import AssetError, InvalidRequestError


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """A folder with a picture, a mask of it and a text."""
    own = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(own).save(tmp_path / "init.png")
    painted = Image.new("L", (64, 48))
    painted.paste(255, (30, 20, 34, 24))
    painted.save(tmp_path / "mask.png")
    (tmp_path / "text.png").write_text("no picture")
    monkeypatch.chdir(tmp_path)
    return own


def request(*words):
    """The request, and the pictures that it names."""
    kept = {}

    def keep(data):
        kept[name := f"{len(kept):064}"] = Image.open(BytesIO(data))
        return name

    made = build_request(parse(["generate", "--out", "x.png", "--prompt", "x", *words]), keep)
    return made, *(kept.get(name) for name in (made.init_image, made.mask_image))


def test_the_picture_stands_in_a_larger_canvas_whose_new_part_may_change(pictures):
    made, canvas, mask = request("--init", "init.png", "--outpaint", "16,0,32,8")
    assert (made.width, made.height) == canvas.size == mask.size == (112, 56)
    assert np.array_equal(np.asarray(canvas)[:48, 16:80], pictures)
    assert np.asarray(mask)[:, :16].all()
    assert not np.asarray(mask)[:40, 24:72].any()


def test_what_was_painted_may_change_as_well(pictures):
    _, _, mask = request("--init", "init.png", "--mask", "mask.png", "--outpaint", "16,0,0,0")
    assert np.asarray(mask)[20:24, 46:50].all()


def test_a_size_that_is_said_stays_and_the_painted_part_alone_takes_none(pictures):
    made, _, _ = request("--init", "init.png", "--outpaint", "16,0,0,0", "--width", "128")
    assert (made.width, made.height) == (128, 48)
    made, _, _ = request("--init", "init.png", "--outpaint", "16,0,0,0", "--mask-padding", "8")
    assert (made.width, made.height, made.mask_padding) == (None, None, 8)


def test_the_new_part_begins_from_what_fill_says(pictures):
    words = ("--init", "init.png", "--outpaint", "16,0,0,0")
    shown = [np.asarray(request(*words, "--fill", fill)[1])[:, :16] for fill in ("original", "fill", "noise")]
    assert (shown[0] == shown[0][:, :1]).all()
    assert shown[1].std() < shown[0].std() < shown[2].std() + 20
    assert request(*words, "--fill", "noise")[0].fill == "noise"


def test_how_a_mask_is_used_is_said_by_flags(pictures):
    flags = ("--mask-padding", "32", "--mask-blur", "0", "--fill", "nothing")
    made, _, _ = request("--init", "init.png", "--mask", "mask.png", *flags)
    assert (made.mask_padding, made.mask_blur, made.fill) == (32, 0, "nothing")


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        (["--outpaint", "8,0,0,0"], InvalidRequestError, "outpaint has no picture"),
        (["--init", "init.png", "--outpaint", "9000,0,0,0"], InvalidRequestError, "8192 a side"),
        (["--init", "text.png", "--outpaint", "8,0,0,0"], AssetError, "not a picture"),
        (["--init", "gone.png", "--outpaint", "8,0,0,0"], InvalidRequestError, "cannot be read"),
    ],
)
def test_a_wrong_canvas_is_refused(pictures, words, error, said):
    with pytest.raises(error, match=said):
        request(*words)


@pytest.mark.parametrize("sides", ["8", "8,8,8", "8,8,8,x", "-8,0,0,0", "0,0,0,0", "8.5,0,0,0"])
def test_sides_that_are_no_four_numbers_are_wrong_use(sides, capsys):
    with pytest.raises(SystemExit) as ended:
        parse(["generate", "--out", "x.png", f"--outpaint={sides}"])
    assert ended.value.code == 2
    assert "left, top, right and bottom" in capsys.readouterr().err

"""Whatever lies in a folder: it is trained on, left out with a reason, or refused in a sentence."""

import numpy as np
import pytest
from PIL import Image

from studio.errors import InvalidRequestError
from studio.training.data.order import Order
from tests.datasets.kit import data, fill, picture
from tests.training.data.kit import batches, params


def turned() -> bytes:
    exif = Image.Exif()
    exif[274] = 6
    return data(picture(0, (60, 40)), "JPEG", exif=exif)


def animated() -> bytes:
    return data(picture(0), "GIF", save_all=True, append_images=[picture(1)])


def deep(mode: str) -> bytes:
    values = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16
    return data(Image.fromarray(values) if mode == "16-bit" else picture(2).convert(mode), "PNG")


USABLE = {
    "grey.png": deep("L"),
    "black and white.png": deep("1"),
    "palette.png": deep("P"),
    "grey and clear.png": deep("LA"),
    "clear.png": deep("RGBA"),
    "sixteen.png": deep("16-bit"),
    "print.jpg": data(picture(3).convert("CMYK"), "JPEG"),
    "turned.jpg": turned(),
    "moving.gif": animated(),
    "one pixel.png": data(Image.new("RGB", (1, 1))),
    "wide.png": data(Image.new("RGB", (8000, 2))),
    "émoji 😀 & 'quotes'.webp": data(picture(4), "WEBP"),
}
USELESS = {
    "half.png": data(picture(5))[:200],
    "empty.png": b"",
    "words.jpg": b"these are words",
    "drawing.svg": b"<svg></svg>",
    "scan.tiff": b"II*\x00",
    "bomb.png": data(Image.new("1", (8193, 8))),
}


def test_all_modes_and_sizes_are_learned_from_and_the_rest_is_left_out_with_reasons(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    for name, content in (USABLE | USELESS).items():
        (folder / name).write_bytes(content)
    made = batches(folder, tmp_path / "cache", masked=True)
    made.prepare()
    seen = [made.at(index) for index in range(len(USABLE))]
    assert {batch.pictures[0] for batch in seen} == USABLE.keys()
    assert all(batch.latents.isfinite().all() for batch in seen)
    assert {name for name, _ in made.skipped} == USELESS.keys()
    assert all(why for _, why in made.skipped)


@pytest.mark.parametrize(("count", "held"), [(1, 0), (2, 0), (9, 0)])
def test_copies_of_one_picture_are_learned_from_and_none_is_held_out(tmp_path, count, held):
    folder = tmp_path / "set"
    folder.mkdir()
    for n in range(count):
        (folder / f"{n}.png").write_bytes(data(picture(0)))
    made = batches(folder, tmp_path / "cache", held_out=0.5)
    assert (len(made.pictures), len(made.held_out())) == (count, held)
    assert made.at(0).latents.isfinite().all()


def test_a_folder_that_is_gone_is_refused(tmp_path):
    with pytest.raises(InvalidRequestError, match="cannot be used"):
        batches(tmp_path / "none", tmp_path / "cache")


def test_five_thousand_pictures_come_in_order_without_delay():
    order = Order(params(batch=4, seed=3), [3000, 1999, 1])
    seen = [(bucket, place) for index in range(5000) for bucket, places in [order.batch(index)] for place in places]
    assert len(seen) == 20_000
    assert len(set(seen)) == 5000
    assert all(seen.count(one) == 4 for one in seen[:20])


def test_a_picture_that_vanishes_after_it_was_prepared_is_still_learned_from(tmp_path):
    folder = fill(tmp_path / "set", 3)
    made = batches(folder, tmp_path / "cache")
    made.prepare()
    for file in folder.iterdir():
        file.unlink()
    assert made.at(5).latents.isfinite().all()

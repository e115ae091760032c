import numpy as np
import pytest
from diffusers.image_processor import VaeImageProcessor
from PIL import Image, ImageDraw

from studio.errors import InvalidRequestError
from studio.inpainting import begun_from, changeable, feathered, grow, grown_mask, opaque, put_back, region, surrounded

RNG = np.random.default_rng(0)


def picture(size=(64, 48), seed=0):
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def mask(box, size=(64, 48)):
    drawn = Image.new("L", size)
    ImageDraw.Draw(drawn).rectangle(box, fill=255)
    return drawn


CORNERS = [np.sort(RNG.integers(0, side, (40, 2))) for side in (64, 48)]


@pytest.mark.parametrize("size", [(512, 512), (768, 512), (512, 768), (1024, 256)])
@pytest.mark.parametrize("padding", [0, 5, 32])
def test_the_region_is_the_one_that_diffusers_crops(size, padding):
    for (left, right), (top, bottom) in zip(*CORNERS, strict=True):
        painted = mask((left, top, right, bottom))
        assert region(painted, padding, size) == VaeImageProcessor.get_crop_region(painted, *size, pad=padding)


@pytest.mark.parametrize("size", [(512, 512), (768, 512), (64, 2048)])
def test_the_region_holds_the_mask_and_lies_in_the_picture(size):
    for (left, right), (top, bottom) in zip(*CORNERS, strict=True):
        found = region(mask((left, top, right, bottom)), 4, size)
        assert 0 <= found[0] <= left <= right < found[2] <= 64
        assert 0 <= found[1] <= top <= bottom < found[3] <= 48


def test_an_empty_mask_gives_the_whole_picture():
    assert region(Image.new("L", (64, 48)), 8, (512, 512)) == (0, 0, 64, 48)


@pytest.mark.parametrize("blur", [0, 1, 4, 12])
@pytest.mark.parametrize("box", [(0, 0, 64, 48), (10, 4, 50, 44)])
def test_what_the_soft_mask_keeps_is_the_sources_own_bytes(blur, box):
    source, made = picture(), picture((40, 40), seed=1)
    soft = feathered(mask((24, 16, 36, 30)), blur)
    done = np.asarray(put_back(source, made, soft, box))
    kept = np.asarray(soft) == 0
    assert np.array_equal(done[kept], np.asarray(source)[kept])
    assert not np.array_equal(done[~kept], np.asarray(source)[~kept])


def test_where_the_mask_is_full_the_new_picture_is_seen_bit_for_bit():
    source, made = picture(), picture((40, 40), seed=1)
    done = put_back(source, made, mask((10, 4, 49, 43)), (10, 4, 50, 44))
    assert np.array_equal(np.asarray(done.crop((10, 4, 50, 44))), np.asarray(made))


@pytest.mark.parametrize(
    ("given", "white"),
    [
        (Image.new("L", (8, 8), 128), True),
        (Image.new("L", (8, 8), 127), False),
        (Image.new("RGB", (4, 2), "white"), True),
        (Image.new("RGBA", (8, 8), (255, 255, 255, 0)), False),
        (Image.new("1", (8, 8), 1), True),
        (Image.new("P", (8, 8)), False),
    ],
)
def test_a_mask_of_any_mode_and_size_is_black_or_white(given, white):
    found = changeable(given, (16, 12))
    assert (found.mode, found.size, found.getextrema()) == ("L", (16, 12), (255 * white,) * 2)


def test_what_is_transparent_is_white_paper():
    assert opaque(Image.new("RGBA", (2, 2), (9, 9, 9, 0))).getpixel((0, 0)) == (255, 255, 255)


def test_surroundings_fill_the_mask_and_touch_nothing_else():
    source, painted = picture(), mask((16, 8, 40, 40))
    source.paste((200, 40, 40), (16, 8, 41, 41))
    done, kept = np.asarray(surrounded(source, painted)), np.asarray(painted) == 0
    assert np.array_equal(done[kept], np.asarray(source)[kept])
    assert np.abs(done[~kept].mean(0) - np.asarray(source)[kept].mean(0)).max() < 20


def test_surroundings_of_one_colour_give_that_colour():
    source = Image.new("RGB", (50, 30), (10, 20, 30))
    source.paste("white", (20, 10, 30, 20))
    assert surrounded(source, mask((20, 10, 29, 19), (50, 30))).getcolors() == [(1500, (10, 20, 30))]


def test_a_mask_that_covers_all_has_no_surroundings_but_grey():
    assert surrounded(picture(), Image.new("L", (64, 48), 255)).getextrema() == ((128, 128),) * 3


@pytest.mark.parametrize("fill", ["original", "noise", "nothing"])
def test_fills_of_latents_leave_the_pixels(fill):
    source = picture()
    assert begun_from(source, mask((1, 1, 9, 9)), fill) is source


@pytest.mark.parametrize("surroundings", ["edge", "blur", "noise"])
def test_a_grown_picture_holds_the_picture_and_has_something_around_it(surroundings):
    own, sides = picture(), (16, 0, 8, 24)
    canvas = grow(own, sides, surroundings)
    assert canvas.size == (88, 72)
    assert np.array_equal(np.asarray(canvas.crop((16, 0, 80, 48))), np.asarray(own))
    assert np.asarray(canvas.crop((0, 48, 88, 72))).std() > 1
    assert np.array_equal(np.asarray(canvas), np.asarray(grow(own, sides, surroundings)))


def test_edges_go_on_outwards():
    canvas = np.asarray(grow(picture(), (8, 8, 8, 8)))
    assert (canvas[:, :8] == canvas[:, 8:9]).all()
    assert (canvas[-8:] == canvas[-9]).all()


def test_growing_by_nothing_changes_nothing():
    assert np.array_equal(np.asarray(grow(picture(), (0, 0, 0, 0))), np.asarray(picture()))
    assert grown_mask(None, (64, 48), (0, 0, 0, 0)).getbbox() is None


def test_the_grown_mask_overlaps_the_picture_only_at_sides_that_grow():
    grown = np.asarray(grown_mask(None, (64, 48), (16, 0, 0, 8), overlap=4))
    kept = np.zeros((56, 80), np.uint8) == 0
    kept[:44, 20:] = False
    assert np.array_equal(grown == 255, kept)


def test_what_was_painted_is_in_the_grown_mask():
    grown = grown_mask(mask((30, 20, 33, 23)), (64, 48), (16, 0, 0, 0), overlap=0)
    assert np.asarray(grown)[20:24, 46:50].all()
    assert (np.asarray(grown) > 0).sum() == 16 * 48 + 16


def test_an_overlap_wider_than_the_picture_leaves_nothing_to_keep():
    assert grown_mask(None, (4, 4), (8, 8, 8, 8)).getextrema() == (255, 255)


@pytest.mark.parametrize("sides", [(-8, 0, 0, 0), (8, 8, 8), (8192, 0, 0, 0)])
def test_a_frame_that_cannot_be_is_refused(sides):
    with pytest.raises(InvalidRequestError) as refused:
        grow(picture(), sides)
    assert refused.value.field == "outpaint"

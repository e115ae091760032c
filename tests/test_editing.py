import numpy as np
import pytest
from PIL import Image

from studio.editing import clean_edit, made_size, painted, prepare, request_fields
from studio.errors import InvalidRequestError

ID = "ab" * 32
SIZE = (96, 64)
STROKE = {"c": "#000000", "s": 10, "e": 0, "p": [20, 20, 1, 60, 20, 1]}
SQUARE = (128, 128)


def picture():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8))


def edit(**changed):
    return clean_edit({"w": 512, "h": 341, "picture": {"id": ID, "w": 96, "h": 64}, **changed})


def fields(wanted=SQUARE, **changed):
    cleaned = edit(**changed)
    return request_fields(cleaned, prepare(cleaned, picture(), None), wanted)


def test_what_is_left_out_is_as_it_begins():
    assert clean_edit({}) == clean_edit(clean_edit({}))
    assert (clean_edit({})["picture"], clean_edit({})["strength"], clean_edit({"alone": None})["alone"]) == (
        None,
        0.75,
        False,
    )


def test_a_cleaned_edit_is_cleaned_already():
    whole = edit(
        strokes=[STROKE], inverted=True, frame=[8, 0, 16, 0], strength=0.5, alone=True, padding=8, blur=2, fill="fill"
    )
    assert clean_edit(whole) == whole


def test_without_paint_the_whole_picture_may_change():
    made = prepare(edit(), picture(), None)
    assert (made.mask, made.grown) == (None, False)
    assert fields(SIZE, strength=0.4) == {"strength": 0.4, "width": 96, "height": 64}


def test_the_mask_is_white_where_it_is_painted():
    mask = np.asarray(prepare(edit(strokes=[STROKE]), picture(), None).mask)
    assert (mask.shape, mask[20, 40], mask[40, 40]) == ((64, 96), 255, 0)


def test_what_is_erased_again_is_not_painted():
    assert painted(edit(strokes=[STROKE, {**STROKE, "e": 1, "s": 30}]), SIZE, None) is None


def test_inverted_twice_is_as_before():
    once, inverted = (np.asarray(painted(edit(strokes=[STROKE], inverted=i), SIZE, None)) for i in (False, True))
    assert np.array_equal(once, 255 - inverted)


def test_a_finished_mask_lies_under_the_strokes():
    base = Image.new("L", SIZE)
    base.paste(255, (0, 40, 96, 64))
    whole = edit(strokes=[STROKE], base={"id": ID, "box": [0, 0, 96, 64]})
    mask = np.asarray(painted(whole, SIZE, base))
    assert (mask[20, 40], mask[50, 10], mask[5, 5]) == (255, 255, 0)


def test_where_no_stroke_goes_a_finished_mask_stays_bit_for_bit():
    base = Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 96), dtype=np.uint8))
    lying = {"id": ID, "box": [0, 0, 96, 64]}
    assert np.array_equal(np.asarray(painted(edit(base=lying), SIZE, base)), np.asarray(base))
    erased = np.asarray(painted(edit(base=lying, strokes=[{**STROKE, "e": 1}]), SIZE, base))
    assert np.array_equal(erased[32:], np.asarray(base)[32:])
    assert not erased[18:22, 20:60].any()


def test_a_frame_makes_the_canvas_larger_and_its_new_part_free():
    made = prepare(edit(frame=[16, 0, 0, 8], strokes=[STROKE]), picture(), None)
    mask = np.asarray(made.mask)
    assert (made.grown, made.canvas.size, mask.shape) == (True, (112, 72), (72, 112))
    assert np.array_equal(np.asarray(made.canvas)[:64, 16:], np.asarray(picture()))
    assert (mask[30, 5], mask[20, 56], mask[40, 60]) == (255, 255, 0)


def test_settings_of_the_mask_are_said_only_with_one():
    said = fields(strokes=[STROKE], alone=True, padding=16, blur=3, fill="noise")
    assert said == {"strength": 0.75, "mask_padding": 16, "mask_blur": 3, "fill": "noise"}
    assert set(fields(alone=True, padding=16)) == {"strength", "width", "height"}


@pytest.mark.parametrize(
    ("canvas", "wanted", "made"),
    [
        ((128, 128), (128, 128), (128, 128)),
        ((160, 128), (128, 128), (160, 128)),
        ((96, 120), (128, 128), (96, 120)),
        ((1024, 1024), (128, 128), (128, 128)),
        ((4000, 3000), (512, 512), (592, 440)),
        ((32, 32), (128, 128), (128, 128)),
        ((8000, 100), (512, 512), (2048, 64)),
        ((2600, 2000), (2048, 2048), (2048, 1576)),
    ],
)
def test_a_canvas_is_made_in_its_own_size_or_in_its_aspect(canvas, wanted, made):
    assert made_size(canvas, wanted) == made


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"picture": {"id": "../x", "w": 8, "h": 8}}, "no id"),
        ({"picture": "photo.png"}, "no id"),
        ({"picture": {"id": ID, "w": 0, "h": 8}}, "not between 1 and"),
        ({"strokes": [{"p": [float("nan"), 0, 1], "s": 4}]}, "not a number"),
        ({"strokes": "many"}, "not a list"),
        ({"base": {"id": "x", "box": [0, 0, 8, 8]}}, "not the id of a picture"),
        ({"frame": [8, 8]}, "four numbers"),
        ({"frame": [-8, 0, 0, 0]}, "four numbers"),
        ({"frame": [9000, 0, 0, 0]}, "four numbers"),
        ({"frame": [0.5, 0, 0, 0]}, "four numbers"),
        ({"strength": 0}, "how much changes"),
        ({"strength": "all"}, "how much changes"),
        ({"padding": -1}, "padding"),
        ({"blur": 65}, "blur"),
        ({"fill": "stars"}, "begins from"),
    ],
)
def test_what_cannot_be_used_is_refused_in_words(changed, said):
    with pytest.raises(InvalidRequestError, match=said):
        edit(**changed)
    with pytest.raises(InvalidRequestError):
        clean_edit(["no object"])

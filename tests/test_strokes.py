import math

import numpy as np
import pytest

from studio.errors import InvalidRequestError
from studio.strokes import clean_strokes, is_empty, rasterise, require_drawn

NAN = float("nan")


def stroke(*points, size=4, eraser=0, color="#000000"):
    return {"c": color, "s": size, "e": eraser, "p": [float(v) for x, y in points for v in (x, y, 1)]}


def drawing(*strokes, w=64, h=64, **rest):
    return clean_strokes({"w": w, "h": h, "strokes": list(strokes), **rest})


def light(value, width=64, height=64):
    return np.asarray(rasterise(value, width, height).convert("L"), dtype=np.float64) / 255


def test_strokes_are_white_on_black_whatever_their_colour():
    for color in ("#000000", "#ffffff", "#E11D48"):
        image = rasterise(drawing(stroke((8, 32), (56, 32), color=color)), 64, 64)
        assert (image.mode, image.size) == ("RGB", (64, 64))
        assert image.getpixel((32, 32)) == (255, 255, 255)
        assert image.getpixel((32, 50)) == (0, 0, 0)


def test_a_line_has_the_area_of_a_rectangle_with_round_caps():
    area = light(drawing(stroke((16, 32), (48, 32), size=8))).sum()
    assert area == pytest.approx(32 * 8 + math.pi * 16, rel=0.02)


def test_a_line_lies_where_it_was_drawn():
    values = light(drawing(stroke((20, 10), (20, 54), size=6)))
    assert (values[32] * (np.arange(64) + 0.5)).sum() / values[32].sum() == pytest.approx(20, abs=0.1)
    assert values[32].sum() == pytest.approx(6, abs=0.3)


def test_a_slanted_line_is_as_wide_as_a_straight_one():
    slanted = light(drawing(stroke((12, 12), (52, 52), size=6))).sum()
    assert slanted == pytest.approx(math.hypot(40, 40) * 6 + math.pi * 9, rel=0.03)


def test_one_tap_is_a_dot():
    assert light(drawing(stroke((32, 32), size=10))).sum() == pytest.approx(math.pi * 25, rel=0.03)


def test_pressure_widens_each_segment():
    value = {"w": 64, "h": 64, "strokes": [{"s": 4, "e": 0, "p": [8, 32, 1, 30, 32, 1, 56, 32, 3]}]}
    values = light(clean_strokes(value))
    assert values[:, 16].sum() == pytest.approx(4, abs=0.3)
    assert values[:, 45].sum() == pytest.approx(12, abs=0.3)


def test_a_drawing_scales_with_the_size_asked_for():
    value = drawing(stroke((8, 8), (56, 8), (56, 56), size=4))
    small, large = light(value), light(value, 256, 256)
    np.testing.assert_allclose(large.reshape(64, 4, 64, 4).mean((1, 3)), small, atol=0.26)
    assert abs(large.mean() - small.mean()) < 0.002


def test_the_eraser_clears_and_later_strokes_draw_over_it():
    line, rubber = stroke((8, 32), (56, 32)), stroke((32, 8), (32, 56), size=10, eraser=1)
    assert light(drawing(line, rubber))[32, 32] == 0
    assert light(drawing(line, rubber))[32, 16] == 1
    assert light(drawing(line, rubber, stroke((32, 32), size=4)))[32, 32] == 1


def test_a_drawing_is_empty_when_nothing_of_it_is_left():
    line = stroke((8, 32), (56, 32))
    assert is_empty(drawing())
    assert is_empty(drawing(stroke((32, 32), eraser=1)))
    assert is_empty(drawing(line, stroke((8, 32), (56, 32), size=12, eraser=1)))
    assert is_empty(drawing(stroke((-40, -40), (-30, -40))))
    assert not is_empty(drawing(line))
    assert not is_empty(drawing(line, stroke((8, 32), eraser=1)))
    require_drawn(drawing(line))
    with pytest.raises(InvalidRequestError, match="Nothing is drawn"):
        require_drawn(drawing())


def test_cleaning_a_clean_drawing_changes_nothing():
    value = drawing(stroke((8, 32), (56, 32)), background="ab" * 32)
    assert clean_strokes(value) == value


def test_what_else_a_browser_sends_is_left_out():
    value = clean_strokes({"w": 9, "h": 9, "strokes": [{**stroke((1, 1)), "evil": "x"}], "evil": 1})
    assert set(value) == {"w", "h", "strokes"}
    assert set(value["strokes"][0]) == {"c", "s", "e", "p"}


WRONG = {
    "no object": [],
    "no size": {"strokes": []},
    "a size of zero": {"w": 0, "h": 9},
    "a huge size": {"w": 10**6, "h": 9},
    "a size that is text": {"w": "9", "h": 9},
    "strokes that are no list": {"w": 9, "h": 9, "strokes": {"a": 1}},
    "a stroke that is no object": {"w": 9, "h": 9, "strokes": [1]},
    "no points": {"w": 9, "h": 9, "strokes": [{"s": 1, "p": []}]},
    "points out of step": {"w": 9, "h": 9, "strokes": [{"s": 1, "p": [1, 2, 1, 4]}]},
    "a point that is no number": {"w": 9, "h": 9, "strokes": [{"s": 1, "p": [NAN, 2, 1]}]},
    "a point that is text": {"w": 9, "h": 9, "strokes": [{"s": 1, "p": ["1", 2, 1]}]},
    "an endless number": {"w": 9, "h": 9, "strokes": [{"s": 1, "p": [10**400, 2, 1]}]},
    "a point far outside": {"w": 9, "h": 9, "strokes": [{"s": 1, "p": [1e6, 2, 1]}]},
    "a negative pressure": {"w": 9, "h": 9, "strokes": [{"s": 1, "p": [1, 2, -1]}]},
    "no brush": {"w": 9, "h": 9, "strokes": [{"p": [1, 2, 1]}]},
    "a huge brush": {"w": 9, "h": 9, "strokes": [{"s": 1e6, "p": [1, 2, 1]}]},
    "a colour that is a command": {"w": 9, "h": 9, "strokes": [{"s": 1, "c": "url(x)", "p": [1, 2, 1]}]},
    "a background that is long": {"w": 9, "h": 9, "strokes": [], "background": "x" * 10_000},
    "a background that is deep": {"w": 9, "h": 9, "strokes": [], "background": {"a": [[]]}},
    "too many strokes": {"w": 9, "h": 9, "strokes": [1] * 20_001},
    "more painting than a person does": {"w": 400, "h": 400, "strokes": [{"s": 400, "p": [200, 200, 1] * 4000}]},
}


@pytest.mark.parametrize("value", WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_refused_with_a_sentence(value):
    with pytest.raises(InvalidRequestError, match="drawing cannot be used") as caught:
        clean_strokes(value)
    assert caught.value.field == "strokes"
    assert caught.value.hint


def test_too_many_points_are_refused():
    points = [1.0, 1.0, 1.0] * 200_001
    with pytest.raises(InvalidRequestError, match="400,000 points"):
        clean_strokes({"w": 9, "h": 9, "strokes": [{"s": 1, "p": points}] * 2})

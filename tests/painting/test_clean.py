import json

import pytest

from studio.errors import InvalidRequestError
from studio.painting.clean import PaintingLimits, clean_painting

NAN = float("nan")
BRUSH = {"kind": "brush", "p": [8, 8, 1, 40, 40, 1], "s": 10, "soft": 0.5, "v": 200}
BALL = {"kind": "ball", "x": 30, "y": 30, "r": 10, "v": 100}
AREA = {"kind": "area", "p": [0, 0, 9, 0, 9, 9], "region": "tree"}
ID = "ab" * 32


def depth(*ops, **rest):
    return clean_painting({"w": 64, "h": 64, "ops": list(ops), **rest}, "depth")


def test_cleaning_a_clean_painting_changes_nothing():
    base = {"id": ID, "box": [0, -8, 64, 80], "annotator": "near", "source": ID, "options": {"strength": 2}}
    painting = depth(BRUSH, BALL, {"kind": "invert"}, base=base, background={"url": "./a", "opacity": 0.5})
    assert painting["base"] == base
    assert clean_painting(painting, "depth") == painting
    assert clean_painting(json.loads(json.dumps(painting)), "depth") == painting


def test_what_else_a_browser_sends_is_left_out():
    painting = depth({**BALL, "evil": "x"}, evil=1, base=None, background=None)
    assert set(painting) == {"kind", "w", "h", "ops"}
    assert painting["ops"] == [BALL]


def test_each_kind_has_its_own_ops():
    assert clean_painting({"w": 9, "h": 9, "ops": [AREA]}, "segments")["ops"] == [AREA]
    with pytest.raises(InvalidRequestError, match="nothing is called 'area'") as caught:
        depth(AREA)
    assert "ball" in caught.value.hint
    with pytest.raises(InvalidRequestError, match="nothing is called 'ball'"):
        clean_painting({"w": 9, "h": 9, "ops": [BALL]}, "segments")


WRONG = {
    "no object": [],
    "no size": {"ops": []},
    "a size of zero": {"w": 0, "h": 9},
    "a huge size": {"w": 1025, "h": 9},
    "a size that is text": {"w": "9", "h": 9},
    "ops that are no list": {"w": 9, "h": 9, "ops": {"a": 1}},
    "an op that is no object": {"w": 9, "h": 9, "ops": [1]},
    "an op that is not known": {"w": 9, "h": 9, "ops": [{"kind": "__init__"}]},
    "a kind that is no text": {"w": 9, "h": 9, "ops": [{"kind": ["brush"]}]},
    "too many ops": {"w": 9, "h": 9, "ops": [1] * 5001},
    "a stroke without points": {"w": 9, "h": 9, "ops": [{**BRUSH, "p": []}]},
    "points out of step": {"w": 9, "h": 9, "ops": [{**BRUSH, "p": [1, 2, 1, 4]}]},
    "a point that is no number": {"w": 9, "h": 9, "ops": [{**BRUSH, "p": [NAN, 2, 1]}]},
    "a point that is text": {"w": 9, "h": 9, "ops": [{**BRUSH, "p": ["1", 2, 1]}]},
    "an endless number": {"w": 9, "h": 9, "ops": [{**BRUSH, "p": [10**400, 2, 1]}]},
    "a point far outside": {"w": 9, "h": 9, "ops": [{**BRUSH, "p": [100, 2, 1]}]},
    "a negative pressure": {"w": 9, "h": 9, "ops": [{**BRUSH, "p": [1, 2, -1]}]},
    "a huge brush": {"w": 9, "h": 9, "ops": [{**BRUSH, "s": 1e6}]},
    "no softness": {"w": 9, "h": 9, "ops": [{**BRUSH, "soft": None}]},
    "lighter than light": {"w": 9, "h": 9, "ops": [{**BRUSH, "v": 256}]},
    "a truth for a number": {"w": 9, "h": 9, "ops": [{**BALL, "v": True}]},
    "a ball of no size": {"w": 9, "h": 9, "ops": [{**BALL, "r": 0}]},
    "a ball far outside": {"w": 9, "h": 9, "ops": [{**BALL, "x": -1e6}]},
    "a gradient with one end": {"w": 9, "h": 9, "ops": [{"kind": "gradient", "p": [0, 0], "v": [0, 255]}]},
    "a gradient with one light": {"w": 9, "h": 9, "ops": [{"kind": "gradient", "p": [0, 0, 9, 9], "v": [0]}]},
    "a floor that is brighter": {"w": 9, "h": 9, "ops": [{"kind": "floor", "y": 4, "v": [0, 300]}]},
    "a turned box": {"w": 9, "h": 9, "ops": [{"kind": "box", "x": 1, "y": 1, "rx": 1, "ry": 1, "turn": 90, "v": 9}]},
    "a base that is a path": {"w": 9, "h": 9, "base": {"id": "../../etc", "box": [0, 0, 9, 9]}},
    "a base without a place": {"w": 9, "h": 9, "base": {"id": ID}},
    "a base of no width": {"w": 9, "h": 9, "base": {"id": ID, "box": [0, 0, 0, 9]}},
    "a base of three numbers": {"w": 9, "h": 9, "base": {"id": ID, "box": [0, 0, 9]}},
    "a base with deep options": {"w": 9, "h": 9, "base": {"id": ID, "box": [0, 0, 9, 9], "options": {"a": [[]]}}},
    "a base with a novel": {"w": 9, "h": 9, "base": {"id": ID, "box": [0, 0, 9, 9], "source": "x" * 9999}},
    "a background that is deep": {"w": 9, "h": 9, "background": {"a": [[]]}},
    "more work than a person makes": {"w": 512, "h": 512, "ops": [{"kind": "smooth", "s": 4}] * 50},
    "wide strokes without end": {"w": 512, "h": 512, "ops": [{**BRUSH, "s": 512}] * 2000},
}


@pytest.mark.parametrize("value", WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_refused_with_a_sentence(value):
    with pytest.raises(InvalidRequestError, match="painting cannot be used") as caught:
        clean_painting(value, "depth")
    assert caught.value.field == "painting"
    assert caught.value.hint


@pytest.mark.parametrize("region", ["sofa", "#ff0000", "", None, ["sky"], "__class__"])
def test_a_region_that_is_not_known_is_refused_and_the_known_ones_are_named(region):
    with pytest.raises(InvalidRequestError, match="there is no region") as caught:
        clean_painting({"w": 9, "h": 9, "ops": [{**AREA, "region": region}]}, "segments")
    assert "sky, ground" in caught.value.hint


def test_an_area_of_many_corners_costs_what_it_covers():
    comb = [coordinate for i in range(5000) for coordinate in (i % 512, 512 * (i % 2))]
    with pytest.raises(InvalidRequestError, match="too much work"):
        clean_painting({"w": 512, "h": 512, "ops": [{**AREA, "p": comb}]}, "segments")


def test_numbers_are_counted_over_all_strokes():
    with pytest.raises(InvalidRequestError, match="20 numbers"):
        clean_painting({"w": 64, "h": 64, "ops": [BRUSH] * 4}, "depth", PaintingLimits(numbers=20))

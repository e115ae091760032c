"""Paintings of regions with words: what is read, and the map that they give."""

import numpy as np
import pytest

from studio.errors import InvalidRequestError
from studio.painting.clean import clean_painting
from studio.painting.palettes import PALETTES, SPOKEN, packed, spelled
from studio.painting.rasterise import is_empty, rasterise
from studio.params import REGIONS_MAX, Region
from studio.regions import NEAR, areas
from studio.ui.components.paint_pad import readable

LEFT = {"kind": "rect", "p": [0, 0, 20, 40], "region": "coral"}
RIGHT = {"kind": "rect", "p": [20, 0, 40, 40], "region": "blue"}
ROWS = [{"region": "coral", "words": "a house", "on": True}, {"region": "blue", "words": "", "on": True}]


def painting(*ops, regions=ROWS, **fields):
    return clean_painting({"w": 40, "h": 40, "ops": list(ops), "regions": regions, **fields}, "regions")


def shown(cleaned):
    return {spelled(color) for _, color in rasterise(cleaned, 80, 80).getcolors()}


def test_cleaning_a_clean_painting_changes_nothing():
    cleaned = painting(LEFT, RIGHT, softness=0.05)
    assert clean_painting(cleaned, "regions") == cleaned
    assert cleaned["regions"] == ROWS
    assert painting(LEFT)["softness"] == 0.02


def test_regions_have_their_colours_at_any_size():
    assert shown(painting(LEFT, RIGHT)) == {spelled(SPOKEN["coral"]), spelled(SPOKEN["blue"])}


def test_one_that_is_off_is_not_on_the_map():
    off = painting(LEFT, RIGHT, regions=[ROWS[0], ROWS[1] | {"on": False}])
    assert shown(off) == {spelled(SPOKEN["coral"]), "#000000"}
    assert is_empty(painting(RIGHT, regions=[ROWS[1] | {"on": False}]))


def test_one_that_is_cleared_leaves_nothing_and_can_be_painted_again():
    clear = {"kind": "clear", "region": "coral"}
    assert shown(painting(LEFT, RIGHT, clear)) == {spelled(SPOKEN["blue"]), "#000000"}
    assert shown(painting(LEFT, RIGHT, clear, LEFT)) == shown(painting(LEFT, RIGHT))


def test_colours_are_far_enough_apart_to_be_told_from_each_other_and_from_nothing():
    colors = [np.array(color) for color in (*SPOKEN.values(), (0, 0, 0))]
    apart = [np.abs(a - b).max() for i, a in enumerate(colors) for b in colors[:i]]
    assert min(apart) > NEAR
    assert len(SPOKEN) == REGIONS_MAX


def test_each_area_of_the_map_is_found_again():
    image = rasterise(painting(LEFT, RIGHT), 40, 40)
    left, right = areas(image, [Region(color=spelled(SPOKEN[name])) for name in ("coral", "blue")])
    assert left[:, :20].all()
    assert right[:, 20:].all()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"regions": "all"}, "not a list"),
        ({"regions": [3]}, "not an object"),
        ({"regions": [ROWS[0], ROWS[0]]}, "listed twice"),
        ({"regions": [{"region": "sky", "words": ""}]}, "no region 'sky'"),
        ({"regions": [{"region": "coral", "words": 3}]}, "no text"),
        ({"regions": [{"region": "coral", "words": "a" * 20_001}]}, "no text of at most 20,000"),
        ({"softness": 0.6}, "softness of its borders is 0.6"),
        ({"softness": "much"}, "not a number"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_sentence(wrong, said):
    with pytest.raises(InvalidRequestError, match=said):
        painting(**{"regions": ROWS} | wrong)


def test_a_draft_keeps_the_words_on_a_sheet_of_another_aspect():
    kept = readable(painting(LEFT, softness=0.05), "regions", 1024, 512)
    assert (kept["w"], kept["h"]) == (512, 256)
    assert (kept["regions"], kept["softness"]) == (ROWS, 0.05)


def test_segments_know_nothing_of_words():
    assert "regions" not in clean_painting({"w": 9, "h": 9, "ops": [], "regions": ROWS}, "segments")
    assert packed(PALETTES["segments"]["sky"]) == 0x06E6E6

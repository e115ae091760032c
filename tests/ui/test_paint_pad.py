import pytest

from studio.painting.clean import clean_painting
from studio.ui.components.paint_pad import empty_painting, fitted, over_map, readable

STROKE = {"kind": "brush", "p": [128, 256, 1, 384, 256, 0.5], "s": 40, "soft": 0.5, "v": 200}
BALL = {"kind": "ball", "x": 256, "y": 256, "r": 100, "v": 90}
BASE = {"id": "ab" * 32, "box": [0, 0, 512, 512]}
PAINTING = clean_painting({"w": 512, "h": 512, "ops": [STROKE, BALL], "base": BASE}, "depth")


def test_a_painting_fitted_to_its_own_size_stays():
    assert fitted(PAINTING, 768, 768)["ops"] == PAINTING["ops"]


def test_on_another_sheet_it_lies_in_the_middle_unbent_with_its_base():
    wide = fitted(PAINTING, 1024, 768)
    assert (wide["w"], wide["h"]) == (512, 384)
    stroke, ball = wide["ops"]
    assert (ball["x"], ball["y"], ball["r"]) == (256, 192, 75)
    assert stroke["p"] == [160, 192, 1, 352, 192, 0.5]
    assert stroke["s"] == 30
    assert wide["base"]["box"] == [64, 0, 384, 384]


def test_what_cannot_be_read_is_an_empty_sheet():
    assert readable({"ops": 3}, "depth", 512, 384) == empty_painting(512, 384)
    assert readable(PAINTING, "segments", 512, 384) == empty_painting(512, 384)


@pytest.mark.parametrize("kind", ["depth", "segments"])
def test_a_finished_map_can_be_painted_over(kind):
    assert readable(over_map("ab" * 32, 512, 256), kind, 512, 256)["base"]["box"] == [0, 0, 512, 256]

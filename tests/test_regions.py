import numpy as np
import pytest
from PIL import Image

from studio.errors import InvalidRequestError
from studio.params import ControlUnit, GenerationRequest, Region
from studio.regions import Speaking, areas, check_regions, masks, remarks, spoken

RED, BLUE = "#e6553c", "#3c78e6"
LEFT, RIGHT = Region(color=RED, words="a house"), Region(color=BLUE, words="a boat")


def painted(*boxes, size=(40, 20)):
    image = Image.new("RGB", size)
    for color, box in boxes:
        image.paste(color, box)
    return image


HALVES = painted((RED, (0, 0, 20, 20)), (BLUE, (20, 0, 40, 20)))


def unit(*regions, **fields):
    return ControlUnit(kind="regions", map="m", regions=regions, **fields)


def told(image, *regions):
    return list(remarks(unit(*regions), lambda _: image))


def test_each_pixel_belongs_to_the_region_of_its_colour():
    left, right = areas(HALVES, (LEFT, RIGHT))
    assert left[:, :20].all()
    assert right[:, 20:].all()
    assert not (left & right).any()


def test_colours_that_were_smoothed_or_compressed_are_still_known():
    noisy = np.asarray(HALVES, np.int16) + np.random.default_rng(0).integers(-30, 31, (20, 40, 3))
    found = areas(Image.fromarray(noisy.clip(0, 255).astype(np.uint8)), (LEFT, RIGHT))
    np.testing.assert_array_equal(found, areas(HALVES, (LEFT, RIGHT)))


def test_black_and_what_is_transparent_are_nobodys():
    clear = HALVES.convert("RGBA")
    clear.putalpha(0)
    dark = Region(color="#140000", words="x")
    for image in (painted(), clear):
        assert not np.any(areas(image, (LEFT, RIGHT, dark)))
    assert areas(painted(), (Region(color="#000000", words="x"),))[0].all()


def test_borders_are_soft_and_both_sides_still_add_up():
    hard, soft = masks(HALVES, unit(LEFT, RIGHT, softness=0)), masks(HALVES, unit(LEFT, RIGHT, softness=0.1))
    assert set(np.unique(hard)) == {0, 1}
    assert 0 < soft[0][10, 22] < soft[0][10, 17] < 1
    assert soft[0][10, 2] == 1
    np.testing.assert_allclose(soft[0] + soft[1], 1, atol=0.01)


ODD = {
    "all is well": (HALVES, (LEFT, RIGHT), []),
    "words without area": (
        painted((RED, (0, 0, 20, 20))),
        (LEFT, RIGHT),
        ['Nothing is painted in #3c78e6, so "a boat" counts nowhere.'],
    ),
    "area without words": (
        HALVES,
        (LEFT, Region(color=BLUE)),
        ["The region in #3c78e6 has no words, so the prompt alone decides there."],
    ),
    "no words at all": (
        HALVES,
        (Region(color=RED), Region(color=BLUE)),
        ["No region has words, so the prompt alone decides everywhere."],
    ),
    "no regions at all": (HALVES, (), ["No region has words, so the prompt alone decides everywhere."]),
    "neither words nor area": (painted((RED, (0, 0, 40, 20))), (LEFT, Region(color=BLUE)), []),
    "a colour of nobody": (
        HALVES,
        (LEFT,),
        ["50% of the regions map is in colours of no region; the prompt alone decides there."],
    ),
}


@pytest.mark.parametrize(("image", "regions", "said"), ODD.values(), ids=ODD.keys())
def test_what_is_odd_is_told(image, regions, said):
    assert told(image, *regions) == said


WRONG = {
    "of another kind": ([ControlUnit(kind="depth", map="m", regions=(LEFT,))], "The depth control takes no regions."),
    "a mode": ([unit(LEFT, mode="control")], "knows no mode control"),
    "one colour twice": ([unit(LEFT, Region(color=RED.upper()))], "Two regions are in #e6553c."),
    "twice": ([unit(LEFT), unit(RIGHT)], "There are several regions controls."),
}


@pytest.mark.parametrize(("units", "said"), WRONG.values(), ids=WRONG.keys())
def test_what_cannot_be_is_refused(units, said):
    with pytest.raises(InvalidRequestError, match=said) as refused:
        check_regions(units)
    assert refused.value.field == "regions"
    assert refused.value.hint


@pytest.mark.parametrize(
    ("regions", "field"),
    [
        ([{"color": f"#0000{i:02x}"} for i in range(20)], "regions"),
        ([{"color": "red"}], "color"),
        ([{"color": RED, "weight": 1.5}], "weight"),
        ([{"color": RED, "weight": float("nan")}], "weight"),
        ([{"color": RED, "words": 3}], "words"),
        ([{"words": "a house"}], "color"),
        ("all", "regions"),
    ],
)
def test_a_request_with_regions_that_cannot_be_read_names_the_field(regions, field):
    with pytest.raises(InvalidRequestError) as refused:
        GenerationRequest.from_dict({"controls": [{"kind": "regions", "map": "m", "regions": regions}]})
    assert refused.value.field == field


def test_regions_come_through_plain_values():
    request = GenerationRequest(prompt="x", controls=(unit(LEFT, Region(color=BLUE, weight=0.5), softness=0.1),))
    assert GenerationRequest.from_dict(request.to_dict()) == request


def read(*words, lines=None, seed=1):
    notes = []
    speaking = Speaking(seed, lambda _: lines, str.strip, notes)
    regions = [Region(color=f"#{i:06x}", words=text) for i, text in enumerate(words)]
    return [region.words for region in speaking.unit(unit(*regions)).regions if region.words], notes


def test_words_are_read_as_prompts_are():
    assert read(" (a house:1.2) [cat:dog:0.5] # mine", "a __color__ boat", "", lines=["blue"]) == (
        ["(a house:1.2) [cat:dog:0.5]", "a blue boat"],
        [],
    )


def test_each_region_draws_on_its_own_and_a_seed_draws_the_same():
    drawn = read(*["{" + "|".join("abcdefghijklmnop") + "}"] * 6)[0]
    assert len(set(drawn)) > 2
    assert read(*["{" + "|".join("abcdefghijklmnop") + "}"] * 6)[0] == drawn


def test_each_picture_draws_for_its_regions_as_if_it_were_made_alone():
    units = [unit(Region(color=RED, words="{" + "|".join("abcdefgh") + "}"), RIGHT)]
    each = [Speaking(seed, lambda _: None, str.strip, []) for seed in range(5)]
    first, rows = spoken(units, each)
    assert len(set(rows)) > 1
    for row, speaking in zip(rows, each, strict=True):
        assert row == tuple(region.words for region in speaking.unit(units[0]).regions)
    assert rows[0] == tuple(region.words for region in first[0].regions)
    assert spoken([unit(LEFT, RIGHT)], each)[1] == ()


def test_tags_and_and_count_in_the_prompt_alone():
    words, notes = read("a house <lora:cat:1>", "a boat AND a sail")
    assert words == ["a house", "a boat"]
    assert notes == [
        "<lora:cat:1> in a region switches nothing on; write it in the prompt.",
        "AND joins nothing in a region; what stands after it was left out.",
    ]

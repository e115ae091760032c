"""Regions in a browser: painted with the mouse, told in words, sent, and brought back from the picture's own file."""

import json

import numpy as np
import pytest

from studio.access import LOCAL_USER
from studio.painting.clean import clean_painting
from studio.painting.palettes import SPOKEN, spelled
from studio.painting.rasterise import rasterise
from tests.ui.hands import PROMPT, drop, make, wait_for_value
from tests.ui.test_paint_in_browser import drag, found, on_tab, pick, place, shown, wait_for_ops

PAD = "regions-pad"
CORAL, BLUE = SPOKEN["coral"], SPOKEN["blue"]


@pytest.fixture
def regions(page):
    return on_tab(page, "regions")


def words(name: str) -> str:
    return f"#{PAD} [data-region={name}] input[type=text]"


def paint_two(page) -> None:
    """A house on the left with the rectangle, a boat on the right with the brush, both told."""
    pick(page, PAD, "Rectangle")
    drag(page, PAD, (0.05, 0.3), (0.45, 0.9))
    page.fill(words("coral"), "a red house")
    page.fill(words("blue"), "a blue boat")  # the row that is written in is painted with
    pick(page, PAD, "Brush (B)")
    drag(page, PAD, (0.6, 0.6), (0.9, 0.6))
    wait_for_ops(page, PAD, 2)


def labels(page) -> list[str]:
    return page.locator(f"#{PAD} .mq-words-here").all_text_contents()


def at(page, x: float, y: float) -> tuple[int, ...]:
    """The colour at a share of the sheet."""
    look = """([id, x, y]) => { const c = document.querySelector(`#${id} canvas`);
        return [...c.getContext('2d').getImageData(x * c.width, y * c.height, 1, 1).data].slice(0, 3); }"""
    return tuple(page.evaluate(look, [PAD, x, y]))


def test_two_regions_are_painted_told_sent_and_come_back_from_the_file(regions, served):
    if served.studio is None:
        pytest.skip("that is somebody else's server")
    studio = served.studio
    paint_two(regions)
    assert labels(regions) == ["a red house", "a blue boat"]
    regions.mouse.move(*place(regions, PAD, 0.2, 0.6))
    regions.wait_for_selector(f"#{PAD} >> text=Here is: a red house.")
    job = studio.jobs.required(make(regions, "a red house and a blue boat on a sunny day"))
    unit = next(unit for unit in job.params["controls"] if unit["kind"] == "regions")
    assert [(row["color"], row["words"]) for row in unit["regions"]] == [
        (spelled(CORAL), "a red house"),
        (spelled(BLUE), "a blue boat"),
    ]
    assert unit["conditioning_scale"] == 0.5
    made = studio.assets.open_image(unit["map"])
    assert {color for _, color in made.getcolors()} == {(0, 0, 0), CORAL, BLUE}
    assert made.getpixel((made.width // 4, made.height // 2)) == CORAL

    file = studio.gallery_page(LOCAL_USER)[0].path
    regions.click(f"#{PAD} [aria-label='Clear the canvas']")
    regions.fill(words("coral"), "")
    regions.fill(words("blue"), "something else")
    drop(regions, "#result .mq-frame", file.read_bytes())
    wait_for_value(regions, words("coral"), "a red house")
    wait_for_value(regions, words("blue"), "a blue boat")
    wait_for_ops(regions, PAD, 2)
    assert at(regions, 0.25, 0.6) == CORAL
    wait_for_value(regions, PROMPT, "a red house and a blue boat on a sunny day")


def test_the_canvas_shows_the_map_that_is_made_of_it(regions):
    paint_two(regions)
    pick(regions, PAD, "Fill")
    regions.click(f"#{PAD} [aria-label='One more region']")
    with regions.expect_request(lambda request: '"fill"' in (request.post_data or "")) as sent:
        drag(regions, PAD, (0.02, 0.02))
    kept = found(json.loads(sent.value.post_data), "coral")
    seen = shown(regions, PAD)
    made = np.asarray(rasterise(clean_painting(kept, "regions"), seen.shape[1], seen.shape[0]))
    assert (seen != made).any(-1).mean() < 1e-3
    assert at(regions, 0.02, 0.02) == SPOKEN["green"]


def test_a_region_is_left_out_taken_in_removed_and_undone(regions):
    paint_two(regions)
    regions.click(f"#{PAD} [aria-label='Leave the coral region out']")
    assert max(at(regions, 0.25, 0.6)) < 90
    regions.click(f"#{PAD} [aria-label='Leave the coral region out']")
    assert at(regions, 0.25, 0.6) == CORAL
    regions.click(f"#{PAD} [aria-label='Remove the coral region']")
    regions.wait_for_selector(words("coral"), state="detached")
    assert at(regions, 0.25, 0.6) == (0, 0, 0)
    assert at(regions, 0.75, 0.6) == BLUE
    regions.click(".mq-toast >> text=Undo")
    wait_for_value(regions, words("coral"), "a red house")
    assert at(regions, 0.25, 0.6) == CORAL


def test_eight_regions_are_the_most_and_one_is_always_there(regions):
    add = f"#{PAD} [aria-label='One more region']"
    for _ in range(6):
        regions.click(add)
    assert regions.locator(f"#{PAD} li").count() == 8
    assert regions.is_disabled(add)
    for name in SPOKEN:
        regions.click(f"#{PAD} [aria-label='Remove the {name} region']")
    assert regions.locator(f"#{PAD} li").count() == 1
    drag(regions, PAD, (0.5, 0.5), (0.6, 0.5))
    assert at(regions, 0.55, 0.5) == list(SPOKEN.values())[-1]


def test_a_reload_keeps_what_was_painted_and_told(regions):
    with regions.expect_response(lambda answer: "a blue boat" in (answer.request.post_data or "")):
        paint_two(regions)
    regions.reload()
    regions.wait_for_selector(f"#{PAD}[data-ready]", state="attached")
    wait_for_value(regions, words("blue"), "a blue boat")
    wait_for_ops(regions, PAD, 2)
    assert labels(regions) == ["a red house", "a blue boat"]


def test_the_row_beside_the_canvas_offers_no_model_and_no_mode(regions):
    paint_two(regions)
    row = regions.locator("#control-stack [data-unit=regions]")
    assert row.locator("input[type=number]").input_value() == "0.5"
    row.locator("[aria-label^='From when until when']").click()
    assert row.locator(".mq-when").is_visible()
    assert not row.locator("select").first.is_visible()
    assert not row.locator("select").last.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_tells_regions_in_one_column(visit, scheme):
    page = on_tab(visit(width=390, height=844, scheme=scheme), "regions")
    paint_two(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.is_visible(words("blue"))

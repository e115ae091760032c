"""The Edit tab in a browser: paint out, grow, undo, go on, and what is asked for."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.ui.hands import ask, drop, known_jobs, make, wait_for_another, wait_for_value

PAD = "#edit-pad"
CANVAS = f"{PAD} canvas"


def photo(size=(128, 128)) -> bytes:
    """A blue ball on sand."""
    image = Image.new("RGB", size, (214, 190, 150))
    ImageDraw.Draw(image).ellipse((80, 30, 110, 60), fill=(40, 80, 190))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def editor(page):
    """The page with the Edit tab in front and a photo on it."""
    return with_photo(page)


def with_photo(page):
    page.click("#sketch-pad [aria-label='Clear the canvas']")
    page.click("#tab-edit")
    drop(page, f"{PAD} .mq-edit-pad", photo())
    page.wait_for_selector(f"{PAD} .mq-edit-pad[data-picture]")
    page.wait_for_function("document.querySelector('#edit-pad .mq-edit-picture').naturalWidth === 128")
    return page


def paint(page, *points: tuple[float, float]) -> None:
    """One stroke through points given as shares of the picture."""
    page.locator(CANVAS).scroll_into_view_if_needed()
    box = page.locator(CANVAS).bounding_box()
    at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*at[0])
    page.mouse.down()
    for point in at[1:]:
        page.mouse.move(*point, steps=6)
    page.mouse.up()


def pull(page, side: str, by: tuple[float, float]) -> None:
    """Drag a border of the frame by so many pixels of the screen."""
    handle = page.locator(f"{PAD} [data-side={side}]")
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + by[0], y + by[1], steps=5)
    page.mouse.up()


def strokes(page, count: int) -> None:
    page.wait_for_selector(f'{PAD} [data-strokes="{count}"], {PAD}[data-strokes="{count}"]')


def frame(page) -> list[int]:
    text = page.evaluate("document.querySelector('#edit-pad [data-frame], #edit-pad[data-frame]').dataset.frame")
    return [int(part) for part in text.split(",")]


def tinted(page) -> float:
    """The share of the picture that is painted over."""
    return page.evaluate(
        """() => { const c = document.querySelector('#edit-pad canvas'),
        d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
        let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 127; return n / (d.length / 4); }"""
    )


BALL = [(0.66, 0.3), (0.82, 0.3), (0.7, 0.38), (0.82, 0.4), (0.66, 0.36)]


def params(served, job_id):
    return served.studio.jobs.required(job_id).params


def asset(served, name):
    return np.asarray(served.studio.assets.open_image(name))


def test_what_is_painted_over_may_change_and_nothing_else(editor, served):
    paint(editor, *BALL)
    strokes(editor, 1)
    assert 0.01 < tinted(editor) < 0.15
    asked = params(served, make(editor, "sand"))
    assert np.array_equal(asset(served, asked["init_image"]), np.asarray(Image.open(io.BytesIO(photo()))))
    mask = asset(served, asked["mask_image"])
    assert mask.shape == (128, 128)
    assert (mask[38, 94], mask[100, 20]) == (255, 0)
    assert (asked["width"], asked["height"], asked["strength"]) == (128, 128, 0.75)
    assert (asked["mask_padding"], asked["mask_blur"], asked["fill"]) == (None, 4, "original")


def test_without_paint_the_whole_picture_changes(editor, served):
    editor.locator(f"{PAD} [aria-label='How much to change']").fill("0.4")
    asked = params(served, make(editor, "snow"))
    assert (asked["mask_image"], asked["strength"]) == (None, 0.4)
    assert asked["init_image"]


def test_undo_redo_erase_invert_and_clear(editor):
    paint(editor, *BALL)
    paint(editor, (0.2, 0.8), (0.4, 0.8))
    strokes(editor, 2)
    whole = tinted(editor)
    editor.keyboard.press("Control+z")
    strokes(editor, 1)
    assert tinted(editor) < whole
    editor.keyboard.press("Control+Shift+z")
    strokes(editor, 2)
    assert tinted(editor) == pytest.approx(whole)
    editor.keyboard.press("e")
    paint(editor, (0.2, 0.8), (0.4, 0.8))
    assert tinted(editor) < whole
    rest = tinted(editor)
    editor.click(f"{PAD} [aria-label^='Turn around']")
    assert tinted(editor) == pytest.approx(1 - rest, abs=0.01)
    paint(editor, (0.2, 0.2), (0.3, 0.2))
    assert tinted(editor) < 1 - rest - 0.005
    editor.keyboard.press("b")
    paint(editor, (0.2, 0.2), (0.3, 0.2))
    assert tinted(editor) == pytest.approx(1 - rest, abs=0.01)
    editor.click(f"{PAD} [aria-label='Take all paint off']")
    strokes(editor, 0)
    assert tinted(editor) == 0
    editor.click(".mq-toast >> text=Undo")
    assert tinted(editor) == pytest.approx(1 - rest, abs=0.01)


def test_the_painted_part_alone_with_its_settings(editor, served):
    paint(editor, *BALL)
    editor.check(f"{PAD} .mq-edit-alone input")
    for name, value in (("Pixels around the painted part", "16"), ("Soft border", "2")):
        editor.fill(f"{PAD} [aria-label='{name}']", value)
        editor.press(f"{PAD} [aria-label='{name}']", "Tab")
    editor.select_option(f"{PAD} select", "fill")
    asked = params(served, make(editor, "sand"))
    assert (asked["mask_padding"], asked["mask_blur"], asked["fill"]) == (16, 2, "fill")


def test_a_border_is_dragged_outwards_in_steps_of_eight(editor, served):
    pull(editor, "right", (61, 0))
    assert frame(editor)[2] % 8 == 0
    assert frame(editor)[2] >= 8
    grown = frame(editor)
    assert f"grows to {128 + grown[2]} \u00d7 128" in editor.inner_text(f"{PAD} .mq-edit-size")
    pull(editor, "top", (0, -40))
    grown = frame(editor)
    assert grown[1] >= 8
    asked = params(served, make(editor, "a beach"))
    assert (asked["width"], asked["height"]) == (128 + grown[2], 128 + grown[1])
    canvas, mask = asset(served, asked["init_image"]), asset(served, asked["mask_image"])
    own = np.asarray(Image.open(io.BytesIO(photo())))
    assert np.array_equal(canvas[grown[1] :, :128], own)
    assert mask[: grown[1]].all()
    assert not mask[grown[1] + 16 :, :100].any()
    editor.click("text=Back to the picture's size")
    assert frame(editor) == [0, 0, 0, 0]
    editor.locator(PAD).locator("[aria-label^='Undo']").click()
    assert frame(editor) == grown


def test_a_border_moves_by_the_arrows(editor):
    editor.focus(f"{PAD} [data-side=left]")
    editor.keyboard.press("ArrowLeft")
    editor.keyboard.press("Shift+ArrowLeft")
    editor.keyboard.press("ArrowRight")
    assert frame(editor) == [64, 0, 0, 0]
    pull(editor, "left", (400, 0))
    assert frame(editor) == [0, 0, 0, 0]


def test_a_reload_keeps_picture_paint_and_frame(editor):
    paint(editor, *BALL)
    pull(editor, "bottom", (0, 50))
    before = frame(editor), tinted(editor)
    editor.reload()
    editor.wait_for_selector(f"{PAD} .mq-edit-pad[data-picture]", state="attached")
    editor.click("#tab-edit")
    strokes(editor, 1)
    assert frame(editor) == before[0]
    assert tinted(editor) == pytest.approx(before[1], abs=0.01)


def test_a_finished_picture_is_changed_on_by_one_click(editor, served):
    first = make(editor, "a red house")
    chosen = editor.evaluate("document.querySelector('#edit-pad .mq-edit-picture').src")
    editor.click("#result .mq-actions >> text=To canvas")
    editor.wait_for_function("was => document.querySelector('#edit-pad .mq-edit-picture').src !== was", arg=chosen)
    asked = params(served, make(editor, "a blue house"))
    item = served.studio.gallery.get(served.studio.jobs.required(first).results[0])
    made = editor.request.get(f"{served.url}/{item.view()['url']}").body()
    assert np.array_equal(asset(served, asked["init_image"]), np.asarray(Image.open(io.BytesIO(made)).convert("RGB")))


def test_settings_bring_the_picture_and_the_mask_back(editor, served):
    paint(editor, *BALL)
    asked = params(served, make(editor, "sand"))
    share = tinted(editor)
    editor.click(f"{PAD} [aria-label='Take the picture off']")
    editor.wait_for_selector(f"{PAD} .mq-edit-pad:not([data-picture])")
    editor.fill("#prompt textarea", "something else")
    editor.click("#tab-scribble")
    editor.click("#result .mq-actions >> text=Settings")
    wait_for_value(editor, "#prompt textarea", "sand")
    editor.wait_for_selector(f"{PAD} .mq-edit-pad[data-picture]")
    editor.wait_for_function("document.querySelector('#edit-pad .mq-edit-picture').naturalWidth === 128")
    assert editor.is_visible(CANVAS)
    again = params(served, make(editor))
    assert again["init_image"] == asked["init_image"]
    masks = [asset(served, one["mask_image"]) > 127 for one in (asked, again)]
    assert np.array_equal(*masks)
    assert tinted(editor) == pytest.approx(share, abs=0.02)


def test_a_picture_that_is_taken_off_comes_back(editor):
    editor.click(f"{PAD} [aria-label='Take the picture off']")
    editor.wait_for_selector(f"{PAD} >> text=Drop a picture to change here")
    editor.click(".mq-toast >> text=Undo")
    editor.wait_for_selector(f"{PAD} .mq-edit-pad[data-picture]")


def test_without_a_picture_that_is_said(page):
    page.click("#sketch-pad [aria-label='Clear the canvas']")
    page.click("#tab-edit")
    known = known_jobs(page)
    ask(page, "a boat")
    page.wait_for_selector("#notice >> text=There is no picture to change")
    wait_for_another(page, known)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_has_it_in_one_column(visit, scheme):
    page = with_photo(visit(width=390, height=844, scheme=scheme))
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    paint(page, *BALL)
    strokes(page, 1)
    pull(page, "right", (20, 0))
    assert frame(page)[2] >= 8

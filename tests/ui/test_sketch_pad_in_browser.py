"""The sketch pad in a browser: what it sends, and other hands than the mouse."""

import pytest

from tests.ui.hands import CLEAR, wait_for_strokes


def stroke(page, start, end, *, steps: int = 6) -> None:
    """Draw with the mouse from start to end, as shares of the pad."""
    box = page.locator("#sketch-pad canvas").bounding_box()
    page.mouse.move(box["x"] + start[0] * box["width"], box["y"] + start[1] * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + end[0] * box["width"], box["y"] + end[1] * box["height"], steps=steps)
    page.mouse.up()


@pytest.fixture
def pad(page):
    """The page with an empty pad."""
    page.click(CLEAR)
    wait_for_strokes(page, 0)
    return page


def test_a_stroke_is_sent_once(pad):
    sent = []
    pad.on("request", lambda r: sent.append(r) if r.method == "POST" and "strokes" in (r.post_data or "") else None)
    with pad.expect_response(lambda r: "strokes" in (r.request.post_data or "")):
        stroke(pad, (0.2, 0.2), (0.8, 0.7))
    wait_for_strokes(pad, 1)
    assert len(sent) == 1
    assert len(sent[0].post_data) < 4000


def test_a_finger_draws(visit, browser):
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = visit(context)
    page.locator("#sketch-pad canvas").scroll_into_view_if_needed()
    count = int(page.evaluate("document.querySelector('[data-strokes]').dataset.strokes"))
    box = page.locator("#sketch-pad canvas").bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    wait_for_strokes(page, count + 1)
    context.close()


def test_what_is_no_picture_is_refused_in_words(pad, tmp_path):
    (tmp_path / "photo.png").write_bytes(b"not a picture")
    pad.set_input_files("#sketch-pad input[type=file]", tmp_path / "photo.png")
    assert pad.wait_for_selector(".mq-toast").inner_text().strip()
    wait_for_strokes(pad, 0)


def choose_shape(page, name: str) -> None:
    """Choose a shape and wait for the canvas to take it."""
    before = ratio(page)
    page.click("#shape input")
    page.get_by_role("option", name=name).click()
    page.wait_for_function(f"b => Math.abs({RATIO} - b) > 0.1", arg=before)


RATIO = "(b => b.width / b.height)(document.querySelector('#sketch-pad canvas').getBoundingClientRect())"
INKED = """() => { const c = document.querySelector('#sketch-pad canvas'), d = c.getContext('2d')
    .getImageData(0, 0, c.width, c.height).data, xs = [];
    for (let i = 3; i < d.length; i += 4) if (d[i] > 128) xs.push((i >> 2) % c.width);
    return (Math.max(...xs.slice(0, 1e5)) - Math.min(...xs.slice(0, 1e5))) / c.width; }"""


def ratio(page) -> float:
    """Width over height of the canvas."""
    return page.evaluate(RATIO)


def test_a_shape_and_back_leaves_the_drawing_as_it_was(pad):
    stroke(pad, (0.1, 0.5), (0.9, 0.5))
    wide = pad.evaluate(INKED)
    choose_shape(pad, "Landscape 4:3")
    assert pad.evaluate(INKED) < wide - 0.1
    choose_shape(pad, "Tall 9:16")
    choose_shape(pad, "Square")
    assert abs(pad.evaluate(INKED) - wide) < 0.01


def test_undo_after_another_shape_keeps_that_shape(pad):
    stroke(pad, (0.2, 0.2), (0.8, 0.2))
    stroke(pad, (0.2, 0.8), (0.8, 0.8))
    choose_shape(pad, "Portrait 3:4")
    pad.locator("#sketch-pad canvas").focus()
    pad.keyboard.press("Control+z")
    wait_for_strokes(pad, 1)
    assert abs(ratio(pad) - 0.75) < 0.05
    pad.keyboard.press("Control+y")
    wait_for_strokes(pad, 2)

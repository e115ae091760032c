"""The sketch pad in a browser: what it sends, and other hands than the mouse."""

import pytest


def stroke(page, start, end, *, steps: int = 6) -> None:
    """Draw with the mouse from start to end, as shares of the pad."""
    box = page.locator("#sketch-pad canvas").bounding_box()
    page.mouse.move(box["x"] + start[0] * box["width"], box["y"] + start[1] * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + end[0] * box["width"], box["y"] + end[1] * box["height"], steps=steps)
    page.mouse.up()


def wait_for_strokes(page, count: int) -> None:
    page.wait_for_selector(f'#sketch-pad [data-strokes="{count}"], #sketch-pad[data-strokes="{count}"]')


@pytest.fixture
def pad(page):
    """The page with an empty pad."""
    page.click('#sketch-pad [aria-label="Clear the canvas"]')
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

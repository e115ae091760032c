"""Drawing in a browser: what the hand does becomes strokes, and every step can be taken back."""

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


def ink_share(page) -> float:
    """How much of the pad is covered with ink."""
    return page.evaluate(
        """() => { const c = document.querySelector('#sketch-pad canvas');
        const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0;
        for (let i = 3; i < d.length; i += 4) n += d[i] > 127; return 4 * n / d.length; }"""
    )


@pytest.fixture
def pad(page):
    """The page with an empty pad."""
    page.click('#sketch-pad [aria-label="Clear the canvas"]')
    wait_for_strokes(page, 0)
    return page


def test_first_visit_shows_a_drawing_and_its_prompt(page):
    assert page.input_value("#prompt textarea") == "a red house under a night sky"
    assert ink_share(page) > 0.01


def test_a_stroke_is_sent_once(pad):
    sent = []
    pad.on("request", lambda r: sent.append(r) if r.method == "POST" and "strokes" in (r.post_data or "") else None)
    with pad.expect_response(lambda r: "strokes" in (r.request.post_data or "")):
        stroke(pad, (0.2, 0.2), (0.8, 0.7))
    wait_for_strokes(pad, 1)
    assert len(sent) == 1
    assert len(sent[0].post_data) < 4000


def test_undo_redo_and_clear_come_back(pad):
    stroke(pad, (0.2, 0.2), (0.8, 0.2))
    stroke(pad, (0.2, 0.4), (0.8, 0.4))
    wait_for_strokes(pad, 2)
    pad.click('#sketch-pad [aria-label="Undo (Ctrl+Z)"]')
    wait_for_strokes(pad, 1)
    pad.click('#sketch-pad [aria-label="Redo (Ctrl+Shift+Z)"]')
    wait_for_strokes(pad, 2)
    pad.click('#sketch-pad [aria-label="Clear the canvas"]')
    wait_for_strokes(pad, 0)
    pad.click('#sketch-pad [aria-label="Undo (Ctrl+Z)"]')
    wait_for_strokes(pad, 2)


def test_keys_choose_tools_and_undo(pad):
    pad.keyboard.press("e")
    pad.wait_for_selector('#sketch-pad [data-tool="eraser"]')
    pad.keyboard.press("b")
    pad.wait_for_selector('#sketch-pad [data-tool="brush"]')
    before = pad.input_value('[aria-label="Brush size"]')
    pad.keyboard.press("]")
    assert int(pad.input_value('[aria-label="Brush size"]')) > int(before)
    stroke(pad, (0.2, 0.2), (0.8, 0.2))
    wait_for_strokes(pad, 1)
    pad.keyboard.press("Control+z")
    wait_for_strokes(pad, 0)
    pad.keyboard.press("Control+Shift+z")
    wait_for_strokes(pad, 1)


def test_keys_of_the_pad_are_letters_in_a_text(page):
    page.click("#prompt textarea")
    page.keyboard.press("End")
    page.keyboard.type(" be [")
    assert page.input_value("#prompt textarea").endswith(" be [")
    page.wait_for_selector('#sketch-pad [data-tool="brush"]')


def test_the_eraser_takes_ink_away(pad):
    stroke(pad, (0.2, 0.5), (0.8, 0.5))
    wait_for_strokes(pad, 1)
    full = ink_share(pad)
    pad.keyboard.press("e")
    stroke(pad, (0.4, 0.5), (0.6, 0.5))
    wait_for_strokes(pad, 2)
    assert 0 < ink_share(pad) < full


def test_the_pad_takes_the_aspect_of_the_shape(pad):
    stroke(pad, (0.2, 0.5), (0.8, 0.5))
    wait_for_strokes(pad, 1)
    pad.click("#shape input")
    pad.get_by_role("option", name="Wide 16:9").click()
    pad.wait_for_function(
        "() => { const b = document.querySelector('#sketch-pad canvas').getBoundingClientRect();"
        " return Math.abs(b.width / b.height - 16 / 9) < 0.05 }"
    )
    wait_for_strokes(pad, 1)


def test_a_finger_draws(visit, browser):
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = visit(context)
    page.locator("#sketch-pad canvas").scroll_into_view_if_needed()
    count = int(page.evaluate("document.querySelector('[data-strokes]').dataset.strokes"))
    box = page.locator("#sketch-pad canvas").bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    wait_for_strokes(page, count + 1)
    context.close()


def test_a_picture_to_trace_lies_under_the_ink_until_removed(pad, tmp_path):
    from PIL import Image

    Image.new("RGB", (64, 48), (200, 40, 40)).save(tmp_path / "photo.png")
    pad.set_input_files("#sketch-pad input[type=file]", tmp_path / "photo.png")
    pad.wait_for_selector("#sketch-pad .mq-trace:not([hidden])")
    stroke(pad, (0.2, 0.5), (0.8, 0.5))
    wait_for_strokes(pad, 1)
    pad.click('[aria-label="Remove the picture to trace"]')
    pad.wait_for_selector("#sketch-pad .mq-trace", state="hidden")
    wait_for_strokes(pad, 1)


def test_what_is_no_picture_is_refused_in_words(pad, tmp_path):
    (tmp_path / "photo.png").write_bytes(b"not a picture")
    pad.set_input_files("#sketch-pad input[type=file]", tmp_path / "photo.png")
    assert pad.wait_for_selector(".mq-toast").inner_text().strip()
    wait_for_strokes(pad, 0)

"""Drawing, typing and making pictures, with the mouse and the keyboard."""

import io

import pytest
from PIL import Image, PngImagePlugin

from tests.ui.conftest import READY
from tests.ui.hands import (
    CLEAR,
    FINAL,
    PROMPT,
    ask,
    draw,
    drop,
    make,
    strokes,
    wait_for_phase,
    wait_for_state,
    wait_for_strokes,
    wait_for_value,
)


def dark_share(page) -> float:
    """How much of the canvas has ink."""
    return page.evaluate("""() => { const c = document.querySelector('#sketch-pad canvas');
        const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0;
        for (let i = 3; i < d.length; i += 4) n += d[i] > 128; return n / (c.width * c.height); }""")


def test_the_first_visit_is_one_click_from_a_picture(page, served):
    wait_for_value(page, PROMPT, "a red house under a night sky")
    assert strokes(page) > 3
    job = make(page)
    size = page.evaluate(f"(i => [i.naturalWidth, i.width])(document.querySelector('{FINAL}'))")
    assert size[0] == 128
    assert size[1] > 300
    if served.studio:
        assert served.studio.jobs.required(job).params["controls"]


def test_the_mouse_draws_what_the_server_gets(page, served):
    page.click(CLEAR)
    draw(page, (0.25, 0.25), (0.75, 0.25))
    assert strokes(page) == 1
    job = make(page, "a blue boat")
    if served.studio:
        unit = served.studio.jobs.required(job).params["controls"][0]
        light = served.studio.assets.open_image(unit["map"]).convert("L").point(lambda v: 255 * (v > 128)).getbbox()
        assert 24 <= light[0] <= 33
        assert 95 <= light[2] <= 104
        assert 26 <= light[1] < light[3] <= 38
        assert len(served.studio.assets.open_json(unit["editor"])["strokes"]) == 1


def test_undo_redo_clear_and_eraser(page):
    start = strokes(page)
    draw(page, (0.1, 0.1), (0.9, 0.1))
    page.keyboard.press("Control+z")
    assert strokes(page) == start
    page.keyboard.press("Control+Shift+Z")
    assert strokes(page) == start + 1
    page.click(CLEAR)
    assert strokes(page) == 0
    assert dark_share(page) == 0
    page.click(".mq-toast >> text=Undo")
    assert strokes(page) == start + 1
    inked = dark_share(page)
    page.keyboard.press("e")
    draw(page, (0.1, 0.1), (0.9, 0.1))
    assert dark_share(page) < inked


def test_keys_are_for_the_pad_only_outside_fields(page):
    page.fill(PROMPT, "")
    page.locator(PROMPT).press_sequentially("be[]?")
    assert page.input_value(PROMPT) == "be[]?"
    page.locator("#sketch-pad canvas").focus()
    page.keyboard.press("e")
    assert page.get_attribute("#sketch-pad [data-tool]", "data-tool") == "eraser"
    page.keyboard.press("b")
    size = page.input_value("#sketch-pad [aria-label='Brush size']")
    page.keyboard.press("]")
    assert int(page.input_value("#sketch-pad [aria-label='Brush size']")) > int(size)
    page.keyboard.press("?")
    page.wait_for_selector("dialog[open] >> text=Shortcuts")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")


def test_control_enter_generates_and_escape_cancels(page):
    page.fill(PROMPT, "a slow boat")
    page.keyboard.press("Control+Enter")
    wait_for_phase(page, r"Step [2-9]/\d+ · .* left")
    page.wait_for_function("document.querySelector('.mq-picture').src.startsWith('data:image/jpeg')")
    page.keyboard.press("Escape")
    page.wait_for_selector("#result >> text=Cancelled.")
    assert page.input_value(PROMPT) == "a slow boat"


def test_a_reload_and_a_second_tab_find_everything(page, visit):
    page.fill(PROMPT, "a slow green tree")
    page.click(CLEAR)
    with page.expect_response(lambda r: '"strokes":[{' in (r.request.post_data or "")):
        draw(page, (0.2, 0.2), (0.8, 0.8))
    ask(page)
    wait_for_phase(page, "Step")
    second = visit(page.context)
    wait_for_phase(second, "Step")
    wait_for_strokes(second, 1)
    page.reload()
    page.wait_for_selector(READY)
    wait_for_value(page, PROMPT, "a slow green tree")
    wait_for_strokes(page, 1)
    wait_for_phase(page, "Step")
    page.click("#cancel")
    second.wait_for_selector("#result >> text=Cancelled.")


def test_pressing_again_queues_another_and_the_list_orders_and_cancels(page):
    ask(page, "slow one")
    wait_for_phase(page, "Step")
    for name in ("second", "third"):
        ask(page, name)
        page.wait_for_function(
            "n => [...maquette.state.jobs.values()].some(j => j.state === 'queued' && j.params.prompt === n)", arg=name
        )
    assert page.inner_text("#queue-badge") == "2"
    page.click("#queue-badge")
    names = "[...document.querySelectorAll('.mq-queue-text > span')].map(n => n.textContent).join()"
    page.wait_for_function(f"{names} === 'slow one,second,third'")
    page.locator(".mq-queue-row", has_text="third").get_by_label("Earlier").click()
    page.wait_for_function(f"{names} === 'slow one,third,second'")
    page.locator(".mq-queue-row", has_text="second").get_by_label("Cancel").click()
    page.wait_for_function(f"{names} === 'slow one,third'")
    page.locator(".mq-queue-row", has_text="slow one").get_by_label("Cancel").click()
    page.wait_for_function(f"document.querySelector('{FINAL}')?.alt === 'third'")


def test_a_list_that_comes_late_does_not_bring_back_what_has_ended(page):
    held = []
    page.route("**/api/v1/jobs", lambda route: held.append((route, route.fetch())))
    with page.expect_request("**/api/v1/jobs"):
        ask(page, "slow one")
    wait_for_phase(page, "Step")
    page.click("#cancel")
    page.wait_for_selector("#result >> text=Cancelled.")
    for route, answer in held:
        assert "slow one" in answer.text()
        with page.expect_response("**/api/v1/jobs"):
            route.fulfill(response=answer)
    page.evaluate("() => new Promise(requestAnimationFrame)")
    assert page.is_visible("#result >> text=Cancelled.")


def test_a_failure_stands_beside_the_picture_with_what_to_do(page):
    ask(page, "this will fail")
    page.wait_for_selector("#result >> text=The device ran out of memory.")
    page.wait_for_selector("#result >> text=Make the picture smaller.")
    page.click("#result >> text=Try again")
    page.wait_for_selector("#result >> text=The device ran out of memory.")
    assert page.input_value(PROMPT) == "this will fail"


def test_a_refusal_stands_beside_the_button_and_keeps_everything(page):
    page.click("#more > button")
    page.fill("#width input", "20000")
    page.fill(PROMPT, "a red car")
    page.click("#generate")
    page.wait_for_selector("#notice [role=alert]")
    assert "20000" in page.inner_text("#notice")
    assert page.input_value(PROMPT) == "a red car"
    assert strokes(page) > 3


def test_an_empty_canvas_makes_a_picture_without_control(page, served):
    page.click(CLEAR)
    job = make(page, "a yellow boat")
    page.wait_for_selector("#notice >> text=Nothing is drawn")
    if served.studio:
        assert not served.studio.jobs.required(job).params["controls"]


def test_unknown_words_are_marked_and_known_ones_inserted(page):
    page.fill(PROMPT, "a red castle")
    page.wait_for_selector("#words mark >> text=castle")
    assert page.locator("#words mark").count() == 1
    page.click("#words summary")
    page.locator("#words .mq-chips button", has_text="boat").click()
    wait_for_value(page, PROMPT, "a red castle boat")


def test_a_hostile_prompt_stays_text(page):
    make(page, "<img src=x onerror=window.hit=1>${window.hit=1}{{7*7}}")
    page.wait_for_selector("#result .mq-facts >> text=onerror")
    assert page.evaluate("window.hit") is None


def test_settings_of_a_picture_come_back_with_its_drawing(page):
    page.click(CLEAR)
    draw(page, (0.2, 0.5), (0.8, 0.5))
    make(page, "a purple fish")
    page.click(CLEAR)
    page.fill(PROMPT, "something else")
    page.click("#result .mq-actions >> text=Settings")
    wait_for_value(page, PROMPT, "a purple fish")
    wait_for_strokes(page, 1)
    page.wait_for_function("document.querySelector('#seed-input').value !== ''")


def test_a_dropped_png_restores_its_settings(page):
    note = PngImagePlugin.PngInfo()
    note.add_text(
        "parameters", "a small orange boat\nSteps: 12, Sampler: DDIM, CFG scale: 4.0, Seed: 42, Size: 128x128"
    )
    file = io.BytesIO()
    Image.new("RGB", (128, 128)).save(file, "PNG", pnginfo=note)
    drop(page, "#result .mq-frame", file.getvalue())
    wait_for_value(page, PROMPT, "a small orange boat")
    wait_for_value(page, "#seed-input", "42")


def test_a_picture_to_trace_is_laid_under_the_canvas_and_taken_off(page):
    file = io.BytesIO()
    Image.new("RGB", (60, 40), "teal").save(file, "PNG")
    drop(page, "#sketch-pad .mq-stage", file.getvalue())
    page.wait_for_selector("#sketch-pad img.mq-trace[src]:not([hidden])")
    page.reload()
    page.wait_for_selector("#sketch-pad img.mq-trace[src]:not([hidden])")
    page.click("#sketch-pad [aria-label='Remove the picture to trace']")
    page.wait_for_selector("#sketch-pad img.mq-trace", state="hidden")


def test_a_seed_that_is_kept_gives_the_same_picture(page):
    make(page, "a boat")
    page.click("#result >> text=Same seed")
    page.wait_for_function("document.querySelector('#seed-input').value !== ''")
    seed = page.input_value("#seed-input")
    make(page)
    assert f"seed {seed} " in page.inner_text("#result .mq-facts")
    page.click("#result >> text=Vary")
    page.wait_for_function(
        "s => !document.querySelector('#result .mq-facts').textContent.includes(s)", arg=f"seed {seed} "
    )


def test_a_preset_fills_the_form(page):
    page.click("#preset input")
    page.get_by_role("option", name="ControlNet, as published").click()
    page.wait_for_function("document.querySelector('#prompt textarea').value.includes('professional')")
    page.click("#more > button")
    wait_for_value(page, "#guidance input[type=number]", "9")


def test_another_shape_keeps_the_drawing_and_makes_that_size(page):
    page.click("#shape input")
    page.get_by_role("option", name="Landscape 4:3").click()
    page.wait_for_function(
        "(b => b.width > b.height * 1.2)(document.querySelector('#sketch-pad canvas').getBoundingClientRect())"
    )
    assert strokes(page) > 3
    make(page)
    page.wait_for_function(f"(i => i.naturalWidth > i.naturalHeight)(document.querySelector('{FINAL}'))")


@pytest.mark.parametrize(("field", "number"), [("#count", "0"), ("#clip-skip", "99")])
def test_a_number_out_of_range_is_refused_beside_the_button(page, field, number):
    page.click("#more > button")
    page.fill(f"{field} input", number)
    page.click("#generate")
    page.wait_for_selector(f"#notice [role=alert] >> text=is {number}, which is not between")


def test_a_number_that_is_still_typed_breaks_nothing(page):
    refused = []
    page.on("response", lambda answer: refused.append(answer.url) if answer.status >= 500 else None)
    page.click("#more > button")
    with page.expect_response(lambda answer: answer.request.method == "POST"):
        page.fill("#steps input[type=number]", "100000")
    with page.expect_response(lambda answer: answer.request.method == "POST"):
        page.fill("#steps input[type=number]", "")
    assert not refused


def test_a_phone_has_one_column_and_the_button_at_the_bottom(visit):
    page = visit(width=390, height=844)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    box = page.locator("#generate").bounding_box()
    assert 844 - 80 < box["y"] + box["height"] <= 844
    order = [page.locator(name).bounding_box()["y"] for name in ("#sketch-pad", "#prompt", "#result")]
    assert order == sorted(order)
    draw(page, (0.3, 0.3), (0.6, 0.6))
    make(page)


def test_a_phone_goes_to_the_result_and_shows_all_of_it(visit):
    page = visit(width=390, height=844)
    at_the_top = "() => Math.abs(document.getElementById('result').getBoundingClientRect().top) < 2"
    make(page)
    page.wait_for_function(at_the_top)
    page.evaluate("() => scrollTo(0, document.body.scrollHeight)")
    strip, button = (page.locator(name).bounding_box() for name in (".mq-strip", "#generate-box"))
    assert strip["y"] + strip["height"] <= button["y"]
    page.evaluate("() => scrollTo(0, 0)")
    ask(page, "a slow boat")
    page.wait_for_function(at_the_top)


def test_a_phone_stays_where_the_hand_went_on(visit):
    page = visit(width=390, height=844)
    before = page.evaluate("scrollY")
    page.evaluate("""() => { document.getElementById('generate').click();
        document.body.dispatchEvent(new PointerEvent('pointerdown', { bubbles: true })); }""")
    wait_for_state(page, "done")
    assert page.evaluate("scrollY") == before


def test_messages_on_a_phone_leave_the_button_free(visit):
    page = visit(width=390, height=844)
    page.click(CLEAR)
    toast, button = (page.locator(name).bounding_box() for name in (".mq-toast", "#generate-box"))
    assert toast["y"] + toast["height"] <= button["y"]
    assert toast["height"] < 60
    page.click("#queue-badge")
    queue = page.locator("#queue-list").bounding_box()
    assert queue["x"] >= 0
    assert queue["x"] + queue["width"] <= 390


def test_the_result_stays_in_view_beside_a_long_form(page):
    page.click("#more > button")
    page.locator("#clip-skip").scroll_into_view_if_needed()
    assert page.evaluate("scrollY") > 200
    assert page.locator("#result").bounding_box()["y"] >= 0


def test_dark_and_light_are_chosen_and_remembered(page):
    dark = "document.body.classList.contains('dark')"
    before = page.evaluate(dark)
    page.click("#theme-toggle")
    assert page.evaluate(dark) is not before
    page.reload()
    page.wait_for_selector(READY)
    page.wait_for_function(f"{dark} === {str(not before).lower()}")

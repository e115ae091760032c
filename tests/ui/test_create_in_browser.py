"""Drawing, typing and making pictures, with the mouse and the keyboard."""

import io

from PIL import Image, PngImagePlugin

FINAL = "#result img[data-job]"


def strokes(page) -> int:
    return page.evaluate("+document.querySelector('#sketch-pad [data-strokes]').dataset.strokes")


def draw(page, *points: tuple[float, float]) -> None:
    """One stroke through points given as shares of the canvas."""
    canvas = page.locator("#sketch-pad canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*at[0])
    page.mouse.down()
    for point in at[1:]:
        page.mouse.move(*point, steps=6)
    page.mouse.up()


def generate(page, prompt: str | None = None) -> str:
    """Press Generate and wait for the picture; the job's id."""
    before = page.evaluate(f"document.querySelector('{FINAL}')?.dataset.job ?? ''")
    if prompt is not None:
        page.fill("#prompt textarea", prompt)
    page.click("#generate")
    page.wait_for_function(f"b => (document.querySelector('{FINAL}')?.dataset.job ?? b) !== b", arg=before)
    return page.get_attribute(FINAL, "data-job")


def dark_share(page) -> float:
    """How much of the canvas has ink."""
    return page.evaluate("""() => { const c = document.querySelector('#sketch-pad canvas');
        const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0;
        for (let i = 3; i < d.length; i += 4) n += d[i] > 128; return n / (c.width * c.height); }""")


def test_the_first_visit_is_one_click_from_a_picture(page, served):
    assert page.input_value("#prompt textarea") == "a red house under a night sky"
    assert strokes(page) > 3
    job = generate(page)
    size = page.evaluate(f"(i => [i.naturalWidth, i.width])(document.querySelector('{FINAL}'))")
    assert size[0] == 128
    assert size[1] > 300
    if served.studio:
        assert served.studio.jobs.required(job).params["controls"]


def test_the_mouse_draws_what_the_server_gets(page, served):
    page.click("#sketch-pad [aria-label='Clear the canvas']")
    draw(page, (0.25, 0.25), (0.75, 0.25))
    assert strokes(page) == 1
    job = generate(page, "a blue boat")
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
    page.click("#sketch-pad [aria-label='Clear the canvas']")
    assert strokes(page) == 0
    assert dark_share(page) == 0
    page.click(".mq-toast >> text=Undo")
    assert strokes(page) == start + 1
    inked = dark_share(page)
    page.keyboard.press("e")
    draw(page, (0.1, 0.1), (0.9, 0.1))
    assert dark_share(page) < inked


def test_keys_are_for_the_pad_only_outside_fields(page):
    page.fill("#prompt textarea", "")
    page.locator("#prompt textarea").press_sequentially("be[]?")
    assert page.input_value("#prompt textarea") == "be[]?"
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
    page.fill("#prompt textarea", "a slow boat")
    page.keyboard.press("Control+Enter")
    page.wait_for_function("document.querySelector('.mq-phase').textContent.startsWith('Step 2')")
    assert page.evaluate("document.querySelector('.mq-picture').src.startsWith('data:image/jpeg')")
    assert "left" in page.inner_text(".mq-phase")
    page.keyboard.press("Escape")
    page.wait_for_selector("#result >> text=Cancelled.")
    assert page.input_value("#prompt textarea") == "a slow boat"


def test_a_reload_and_a_second_tab_find_everything(page, visit):
    page.fill("#prompt textarea", "a slow green tree")
    page.click("#sketch-pad [aria-label='Clear the canvas']")
    with page.expect_response(lambda r: "run" in r.url or "queue" in r.url or "call" in r.url):
        draw(page, (0.2, 0.2), (0.8, 0.8))
    page.click("#generate")
    page.wait_for_function("document.querySelector('.mq-phase').textContent.startsWith('Step')")
    second = visit(page.context)
    second.wait_for_function("document.querySelector('.mq-phase').textContent.startsWith('Step')")
    assert strokes(second) == 1
    page.reload()
    page.wait_for_selector("#sketch-pad[data-ready]")
    assert page.input_value("#prompt textarea") == "a slow green tree"
    assert strokes(page) == 1
    page.wait_for_function("document.querySelector('.mq-phase').textContent.startsWith('Step')")
    page.click("#cancel")
    second.wait_for_selector("#result >> text=Cancelled.")


def test_pressing_again_queues_another_and_the_list_orders_and_cancels(page):
    page.fill("#prompt textarea", "slow one")
    page.click("#generate")
    page.wait_for_function("document.querySelector('.mq-phase').textContent.startsWith('Step')")
    for name in ("second", "third"):
        page.fill("#prompt textarea", name)
        page.click("#generate")
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


def test_a_failure_stands_beside_the_picture_with_what_to_do(page):
    page.fill("#prompt textarea", "this will fail")
    page.click("#generate")
    page.wait_for_selector("#result >> text=The device ran out of memory.")
    page.wait_for_selector("#result >> text=Make the picture smaller.")
    page.click("#result >> text=Try again")
    page.wait_for_selector("#result >> text=The device ran out of memory.")
    assert page.input_value("#prompt textarea") == "this will fail"


def test_a_refusal_stands_beside_the_button_and_keeps_everything(page):
    page.click("#more > button")
    page.fill("#width input", "20000")
    page.fill("#prompt textarea", "a red car")
    page.click("#generate")
    page.wait_for_selector("#notice [role=alert]")
    assert "20000" in page.inner_text("#notice")
    assert page.input_value("#prompt textarea") == "a red car"
    assert strokes(page) > 3


def test_an_empty_canvas_makes_a_picture_without_control(page, served):
    page.click("#sketch-pad [aria-label='Clear the canvas']")
    job = generate(page, "a yellow boat")
    page.wait_for_selector("#notice >> text=Nothing is drawn")
    if served.studio:
        assert not served.studio.jobs.required(job).params["controls"]


def test_unknown_words_are_marked_and_known_ones_inserted(page):
    page.fill("#prompt textarea", "a red castle")
    page.wait_for_selector("#words mark >> text=castle")
    assert page.locator("#words mark").count() == 1
    page.click("#words summary")
    page.locator("#words .mq-chips button", has_text="boat").click()
    assert page.input_value("#prompt textarea") == "a red castle boat"


def test_a_hostile_prompt_stays_text(page):
    generate(page, "<img src=x onerror=window.hit=1>${window.hit=1}{{7*7}}")
    page.wait_for_selector("#result .mq-facts >> text=onerror")
    assert page.evaluate("window.hit") is None


def test_settings_of_a_picture_come_back_with_its_drawing(page):
    page.click("#sketch-pad [aria-label='Clear the canvas']")
    draw(page, (0.2, 0.5), (0.8, 0.5))
    generate(page, "a purple fish")
    page.click("#sketch-pad [aria-label='Clear the canvas']")
    page.fill("#prompt textarea", "something else")
    page.click("#result .mq-actions >> text=Settings")
    page.wait_for_function("document.querySelector('#prompt textarea').value === 'a purple fish'")
    assert strokes(page) == 1
    assert page.input_value("#seed-input")


def test_a_dropped_png_restores_its_settings(page):
    note = PngImagePlugin.PngInfo()
    note.add_text(
        "parameters", "a small orange boat\nSteps: 12, Sampler: DDIM, CFG scale: 4.0, Seed: 42, Size: 128x128"
    )
    file = io.BytesIO()
    Image.new("RGB", (128, 128)).save(file, "PNG", pnginfo=note)
    drop(page, "#result .mq-frame", file.getvalue())
    page.wait_for_function("document.querySelector('#prompt textarea').value === 'a small orange boat'")
    assert page.input_value("#seed-input") == "42"


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
    generate(page, "a boat")
    page.click("#result >> text=Same seed")
    page.wait_for_function("document.querySelector('#seed-input').value !== ''")
    seed = page.input_value("#seed-input")
    generate(page)
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
    assert page.input_value("#guidance input[type=number]") == "9"


def test_another_shape_keeps_the_drawing_and_makes_that_size(page):
    page.click("#shape input")
    page.get_by_role("option", name="Landscape 4:3").click()
    page.wait_for_function(
        "(b => b.width > b.height * 1.2)(document.querySelector('#sketch-pad canvas').getBoundingClientRect())"
    )
    assert strokes(page) > 3
    generate(page)
    page.wait_for_function(f"(i => i.naturalWidth > i.naturalHeight)(document.querySelector('{FINAL}'))")


def test_a_phone_has_one_column_and_the_button_at_the_bottom(visit):
    page = visit(width=390, height=844)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    box = page.locator("#generate").bounding_box()
    assert 844 - 80 < box["y"] + box["height"] <= 844
    order = [page.locator(name).bounding_box()["y"] for name in ("#sketch-pad", "#prompt", "#result")]
    assert order == sorted(order)
    draw(page, (0.3, 0.3), (0.6, 0.6))
    generate(page)


def test_dark_and_light_are_chosen_and_remembered(page):
    dark = "document.body.classList.contains('dark')"
    before = page.evaluate(dark)
    page.click("#theme-toggle")
    assert page.evaluate(dark) is not before
    page.reload()
    page.wait_for_selector("#sketch-pad[data-ready]")
    page.wait_for_function(f"{dark} === {str(not before).lower()}")


def drop(page, where: str, data: bytes) -> None:
    """Drop a PNG file onto something, as a person does with the mouse."""
    page.evaluate(
        """([where, bytes]) => { const files = new DataTransfer();
        files.items.add(new File([new Uint8Array(bytes)], 'dropped.png', { type: 'image/png' }));
        document.querySelector(where).dispatchEvent(
          new DragEvent('drop', { bubbles: true, cancelable: true, dataTransfer: files })); }""",
        [where, list(data)],
    )

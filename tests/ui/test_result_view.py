"""The result in a browser: live while it is made, and found again after a reload, in another tab and after failures."""

import re

FINAL = "#result img[data-job]"


def ask(page, prompt: str) -> None:
    """Type a prompt and press Generate."""
    page.fill("#prompt textarea", prompt)
    page.click("#generate")


def wait_for_phase(page, pattern: str) -> None:
    page.wait_for_function(
        "p => new RegExp(p).test(document.querySelector('#result .mq-phase').textContent)", arg=pattern
    )


def wait_for_state(page, state: str) -> None:
    page.wait_for_selector(f'#result [data-state="{state}"], #result[data-state="{state}"]')


def test_one_click_on_a_first_visit_gives_a_picture_of_the_drawing(page, served):
    page.click("#generate")
    image = page.wait_for_selector(FINAL)
    assert image.evaluate("node => node.complete && node.naturalWidth > 0")
    assert "seed" in page.inner_text("#result .mq-facts")
    if served.studio is not None:
        job = served.studio.jobs.get(image.get_attribute("data-job"))
        assert job.params["controls"][0]["kind"] == "scribble"
        assert job.params["controls"][0]["map"] and job.params["controls"][0]["editor"]


def test_the_picture_is_shown_while_it_is_made(page):
    ask(page, "a slow red house")
    wait_for_phase(page, r"Step [2-9]/\d+ · .* left")
    shown = page.locator("#result .mq-picture")
    assert shown.get_attribute("src").startswith("data:image/jpeg")
    assert shown.get_attribute("data-job") is None
    page.click("#cancel")
    wait_for_state(page, "cancelled")


def test_nothing_drawn_is_said_and_the_prompt_alone_decides(page, served):
    page.click('#sketch-pad [aria-label="Clear the canvas"]')
    ask(page, "a blue boat")
    page.wait_for_function("() => document.querySelector('#notice').textContent.includes('Nothing is drawn')")
    job = page.wait_for_selector(FINAL).get_attribute("data-job")
    if served.studio is not None:
        assert served.studio.jobs.get(job).params["controls"] == []


def test_a_reload_finds_the_running_picture_and_then_its_result(page):
    ask(page, "a slow red house by the sea")
    wait_for_phase(page, r"Step \d")
    page.reload()
    page.wait_for_selector("#sketch-pad[data-ready]")
    wait_for_phase(page, r"Step \d")
    page.click("#cancel")
    wait_for_state(page, "cancelled")
    ask(page, "a green hill")
    job = page.wait_for_selector(FINAL).get_attribute("data-job")
    page.reload()
    assert page.wait_for_selector(FINAL).get_attribute("data-job") == job


def test_a_second_tab_sees_the_same(visit):
    first = visit()
    second = visit(first.context)
    ask(first, "a slow red house, twice")
    wait_for_phase(second, r"Step \d")
    second.click("#cancel")
    wait_for_state(first, "cancelled")


def test_escape_cancels(page):
    ask(page, "a slow red tree")
    wait_for_phase(page, r"Step \d")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Escape")
    wait_for_state(page, "cancelled")
    assert "Cancelled" in page.inner_text("#result .mq-notice")


def test_control_enter_generates_what_was_just_typed(page, served):
    page.fill("#prompt textarea", "")
    page.type("#prompt textarea", "a red tree at noon")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(FINAL)
    page.wait_for_function(
        "() => document.querySelector('#result .mq-facts').textContent.includes('a red tree at noon')"
    )


def test_a_failure_stands_beside_with_what_to_do_and_loses_nothing(page):
    ask(page, "please fail")
    wait_for_state(page, "failed")
    said = page.inner_text("#result .mq-notice")
    assert "out of memory" in said and "smaller" in said and "Try again" in said
    assert page.input_value("#prompt textarea") == "please fail"
    page.get_by_role("button", name="Try again").click()
    page.wait_for_function("() => !document.querySelector('#result .mq-notice').hidden")


def test_a_refusal_stands_beside_the_button(page):
    page.click("#more > button")
    page.fill("#width input", "7")
    page.click("#generate")
    notice = page.wait_for_selector("#notice .mq-notice")
    assert re.search(r"\b7\b", notice.inner_text())
    assert page.input_value("#prompt textarea")


def test_a_worker_that_died_is_started_again_and_said(page):
    ask(page, "let it die")
    wait_for_state(page, "failed")
    assert page.inner_text("#result .mq-notice").strip()
    ask(page, "a red house again")
    page.wait_for_selector(FINAL)


def test_generate_while_one_runs_queues_another(page):
    ask(page, "a slow first")
    wait_for_phase(page, r"Step \d")
    ask(page, "a slow second")
    ask(page, "a slow third")
    page.wait_for_function("() => document.querySelector('#queue-badge').textContent.trim() === '2'")
    page.click("#queue-badge")
    rows = page.locator(".mq-queue-row")
    assert rows.count() == 3
    page.locator(".mq-queue-row", has_text="third").get_by_role("button", name="Earlier").click()
    page.wait_for_function(
        "() => [...document.querySelectorAll('.mq-queue-row')].map(r => r.textContent)[1]?.includes('third')"
    )
    for name in ("second", "third", "first"):
        page.locator(".mq-queue-row", has_text=name).get_by_role("button", name="Cancel").click()
        page.locator(".mq-queue-row", has_text=name).wait_for(state="detached")


def test_vary_makes_another_with_a_new_seed(page):
    ask(page, "a red house to vary")
    first = page.wait_for_selector(FINAL).get_attribute("data-job")
    facts = page.inner_text("#result .mq-facts")
    page.get_by_role("button", name="Once more with a new seed").click()
    page.wait_for_function("job => (document.querySelector('#result img').dataset.job ?? job) !== job", arg=first)
    varied = page.inner_text("#result .mq-facts")
    assert varied != facts and "to vary" in varied


def test_same_seed_keeps_it_and_settings_bring_the_form_back(page):
    ask(page, "a house whose settings return")
    page.wait_for_selector(FINAL)
    seed = re.search(r"seed (\d+)", page.inner_text("#result .mq-facts"))[1]
    page.get_by_role("button", name="Keep this seed for the next picture").click()
    page.wait_for_function("seed => document.querySelector('#seed-input').value === seed", arg=seed)
    page.fill("#prompt textarea", "something else")
    page.locator("#result").get_by_role("button", name="Open the settings that made this").click()
    page.wait_for_function("() => document.querySelector('#prompt textarea').value === 'a house whose settings return'")


def test_send_to_canvas_traces_the_picture(page):
    page.click("#generate")
    page.wait_for_selector(FINAL)
    page.locator("#result").get_by_role("button", name="Trace this picture on the canvas").click()
    page.wait_for_selector("#sketch-pad .mq-trace:not([hidden])")


def test_several_pictures_can_be_picked_from_the_strip(page):
    page.fill("#count input", "3")
    ask(page, "three houses")
    first = page.wait_for_selector(FINAL).get_attribute("data-item")
    page.locator("#result .mq-thumb").nth(1).click()
    page.wait_for_function("item => document.querySelector('#result img').dataset.item !== item", arg=first)
    assert page.get_attribute(FINAL, "data-job")


def test_progress_is_told_to_screen_readers(page):
    page.click("#generate")
    page.wait_for_selector(FINAL)
    live = page.locator("#result [aria-live]")
    page.wait_for_function("() => document.querySelector('#result [aria-live]').textContent === 'The picture is ready'")
    assert live.get_attribute("aria-live") == "polite"

"""The result in a browser: live while it is made, and what can be done with it."""

from tests.ui.hands import FINAL, ask, drop, known_jobs, make, wait_for_another, wait_for_phase, wait_for_state


def test_the_picture_is_shown_while_it_is_made(page):
    ask(page, "a slow red house")
    wait_for_phase(page, r"Step [2-9]/\d+ · .* left")
    page.wait_for_selector("#result .mq-picture[src^='data:image/jpeg']:not([data-job])")
    page.click("#cancel")
    wait_for_state(page, "cancelled")


def test_a_worker_that_died_is_started_again_and_said(page):
    ask(page, "let it die")
    wait_for_state(page, "failed")
    assert page.inner_text("#result .mq-notice").strip()
    make(page, "a red house again")


def test_vary_makes_another_with_a_new_seed(page):
    make(page, "a red house to vary")
    known = known_jobs(page)
    facts = page.inner_text("#result .mq-facts")
    page.get_by_role("button", name="Once more with a new seed").click()
    wait_for_another(page, known)
    varied = page.inner_text("#result .mq-facts")
    assert varied != facts
    assert "to vary" in varied


def test_send_to_canvas_traces_the_picture(page):
    make(page)
    page.locator("#result").get_by_role("button", name="Trace this picture on the canvas").click()
    page.wait_for_selector("#sketch-pad .mq-trace:not([hidden])")


def test_several_pictures_can_be_picked_from_the_strip(page):
    page.fill("#count input", "3")
    make(page, "three houses")
    first = page.get_attribute(FINAL, "data-item")
    page.locator("#result .mq-thumb").nth(1).click()
    page.wait_for_function("item => document.querySelector('#result img').dataset.item !== item", arg=first)
    assert page.get_attribute(FINAL, "data-job")


def test_progress_is_told_to_screen_readers(page):
    make(page)
    live = page.locator("#result [aria-live]")
    page.wait_for_function("() => document.querySelector('#result [aria-live]').textContent === 'The picture is ready'")
    assert live.get_attribute("aria-live") == "polite"


def test_a_lost_connection_is_said_beside_the_picture(page):
    ask(page, "a slow red boat")
    wait_for_phase(page, r"Step \d")
    said = page.evaluate("""() => { maquette.state.connected = false; maquette.emit('jobs');
        return ['.mq-notice', '.mq-phase'].map(name => document.querySelector('#result ' + name).textContent); }""")
    assert "does not answer" in said[0]
    assert said[1] == "Waiting for the studio"
    page.click("#cancel")
    wait_for_state(page, "cancelled")


def test_a_file_that_is_no_picture_is_refused_in_words(page):
    drop(page, "#result .mq-frame", b"hello", "notes.txt", "text/plain")
    page.wait_for_selector("#result .mq-notice >> text=That is no picture")

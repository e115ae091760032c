"""Nothing typed or drawn is lost in a browser: by a reload, a slow line, or a server that was away."""

from tests.ui.conftest import PATIENCE, READY
from tests.ui.hands import CLEAR, PROMPT, strokes, wait_for_strokes, wait_for_value

SLOW = """const send = fetch; window.fetch = async (...given) => {
    if (String(given[0]?.url ?? given[0]).includes('run/predict') && !window.open_line)
        await new Promise(resolve => { (window.held ??= []).push(resolve); });
    return send(...given); }"""


def reload(page) -> None:
    page.reload()
    page.wait_for_selector(READY)


def test_words_typed_before_the_draft_came_stay(browser, served):
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.add_init_script(SLOW)
    page.goto(served.url)
    page.wait_for_function("() => window.held?.length")
    page.fill(PROMPT, "typed early")
    page.evaluate("() => { window.open_line = true; window.held.forEach(go => go()); }")
    page.wait_for_selector(READY)
    wait_for_value(page, PROMPT, "typed early")
    page.click("#generate")
    page.wait_for_function("() => [...maquette.state.jobs.values()].some(job => job.params.prompt === 'typed early')")
    context.close()


def test_a_reload_keeps_what_no_request_has_carried_yet(page):
    page.evaluate("() => { window.fetch = () => new Promise(() => {}); }")
    count = strokes(page)
    page.fill(PROMPT, "typed last")
    box = page.locator("#sketch-pad canvas").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert strokes(page) == count + 1
    reload(page)
    wait_for_value(page, PROMPT, "typed last")
    wait_for_strokes(page, count + 1)


def test_another_tab_begins_with_what_the_server_keeps(visit):
    first = visit()
    with first.expect_response(lambda r: "kept by the server" in (r.request.post_data or "")):
        first.fill(PROMPT, "kept by the server")
    with first.expect_response(lambda r: '"strokes":[]' in (r.request.post_data or "")):
        first.click(CLEAR)
    second = visit(first.context)
    wait_for_value(second, PROMPT, "kept by the server")
    wait_for_strokes(second, 0)


def test_another_browser_begins_with_the_example(visit):
    first = visit()
    first.fill(PROMPT, "of somebody else")
    wait_for_value(visit(), PROMPT, "a red house under a night sky")

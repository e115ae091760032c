"""The stack of controls in a browser: how closely, from when, in which order, alone or left out, and references."""

import io

import pytest
from PIL import Image

from tests.ui.hands import CLEAR, ask, choose_checkpoint, draw, drop, make, wait_for_value

ROW = ".mq-control-stack li:not([hidden])"


def picture(color: str) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (64, 48), color).save(data, "PNG")
    return data.getvalue()


def shown(page) -> list[str]:
    """The rows that are seen, from the top."""
    return page.evaluate(f"[...document.querySelectorAll('{ROW}')].map(row => row.dataset.unit)")


def controls(served, job: str) -> list[dict]:
    return served.studio.jobs.required(job).params["controls"]


@pytest.fixture
def both(page, served):
    """A sketch and edges, which one model follows here: the one for sketches and its twin for edges."""
    if served.studio is None:
        pytest.skip("that is somebody else's server")
    page.click("#tab-edges")
    page.wait_for_selector("#edges-pad canvas", state="visible")
    box = page.locator("#edges-pad canvas").bounding_box()
    page.mouse.move(box["x"] + 40, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 160, steps=5)
    page.mouse.up()
    page.wait_for_selector("[data-unit=edges][data-filled]")
    return page


def test_a_row_is_seen_when_its_tab_is_in_front_or_something_is_in_it(page):
    assert shown(page) == ["scribble"]
    page.click("#tab-depth")
    page.wait_for_selector("[data-unit=depth][data-front]")
    assert shown(page) == ["scribble", "depth"]
    page.click("#tab-scribble")
    page.click(CLEAR)
    page.click("#tab-pose")
    page.wait_for_selector("[data-unit=pose][data-front]")
    page.wait_for_function(f"document.querySelectorAll('{ROW}').length === 1")
    assert shown(page) == ["pose"]


def test_both_count_as_closely_as_they_are_set(both, served):
    both.fill("[data-unit=edges] [aria-label='How closely, as a number']", "0.5")
    both.keyboard.press("Tab")
    both.click("[data-unit=edges] [aria-label^='From when']")
    until = both.locator("[data-unit=edges] [aria-label='Counts until']")
    until.fill("0.6")
    both.select_option("[data-unit=edges] [aria-label='Words or map']", "prompt")
    sketch, edges = controls(served, make(both, "a house"))
    assert (sketch["kind"], sketch["conditioning_scale"], sketch["mode"]) == ("scribble", 1.0, "balanced")
    assert (edges["kind"], edges["conditioning_scale"], edges["mode"]) == ("edges", 0.5, "prompt")
    assert edges["control_guidance_end"] == 0.6
    both.wait_for_selector("[data-unit=edges] .mq-cost >> text=12 ms a step")


def test_alone_and_left_out(both, served):
    both.click("[data-unit=edges] [aria-label^='Only Edges']")
    assert [unit["kind"] for unit in controls(served, make(both))] == ["edges"]
    both.click("[data-unit=edges] [aria-label^='Only Edges']")
    both.click("[data-unit=edges] [aria-label='Follow the edges']")
    assert [unit["kind"] for unit in controls(served, make(both))] == ["scribble"]
    both.reload()
    both.wait_for_selector("[data-unit=edges][data-off]")


def test_rows_are_dragged_into_another_order(both, served):
    grip = both.locator("[data-unit=edges] .mq-grip")
    grip.scroll_into_view_if_needed()
    box = grip.bounding_box()
    both.mouse.move(box["x"] + 8, box["y"] + 20)
    both.mouse.down()
    both.mouse.move(box["x"] + 8, box["y"] - 40, steps=6)
    both.mouse.up()
    assert shown(both) == ["edges", "scribble"]
    grip.focus()
    both.keyboard.press("Alt+ArrowDown")
    assert shown(both) == ["scribble", "edges"]
    both.keyboard.press("Alt+ArrowUp")
    assert [unit["kind"] for unit in controls(served, make(both))] == ["edges", "scribble"]


def test_the_map_in_a_row_is_the_one_that_is_sent(both, served):
    sketch = controls(served, make(both))[0]
    sent = served.studio.assets.open_image(sketch["map"]).convert("L").resize((80, 80), Image.Resampling.BOX)
    row = both.evaluate(
        """() => Array.from(document.querySelector('[data-unit=scribble] canvas').getContext('2d')
        .getImageData(0, 0, 80, 80).data).filter((_, i) => i % 4 === 0)"""
    )
    off = [abs(a - b) for a, b in zip(row, sent.tobytes(), strict=True)]
    assert sum(off) / len(off) < 8


def test_lines_of_a_photo_come_under_the_strokes_and_are_sent_with_their_source(page, served):
    page.click(CLEAR)
    with page.expect_file_chooser() as chooser:
        page.click("#sketch-pad [aria-label^='Lines from a photo']")
    chooser.value.set_files({"name": "photo.png", "mimeType": "image/png", "buffer": picture("#888888")})
    page.wait_for_selector("[data-unit=scribble][data-filled]")
    draw(page, (0.2, 0.2), (0.4, 0.4))
    if served.studio is None:
        return
    (unit,) = controls(served, make(page, "a house"))
    assert unit["annotator"] == "scribble"
    assert served.studio.assets.open_image(unit["source"]).size == (64, 48)
    assert served.studio.assets.open_image(unit["map"]).getbbox()


def test_references_have_weights_and_come_back_with_the_settings(page, served):
    page.click(CLEAR)
    page.click("#tab-reference")
    for color in ("#cc3311", "#1133cc"):
        count = page.locator(".mq-reference").count()
        drop(page, "#reference-pad .mq-reference-pad", picture(color))
        page.wait_for_function(f"document.querySelectorAll('.mq-reference').length === {count + 1}")
    page.click("#reference-pad >> text=Without an adapter")
    page.locator("[aria-label='Weight of picture 2']").fill("0.4")
    units = controls(served, make(page, "a house"))
    assert [(unit["kind"], unit["conditioning_scale"]) for unit in units] == [
        ("reference_only", 0.5),
        ("reference_only", 0.4),
    ]
    page.click("[aria-label='Remove picture 1']")
    page.wait_for_function("document.querySelectorAll('.mq-reference').length === 1")
    page.click("#result .mq-actions >> text=Settings")
    page.wait_for_function("document.querySelectorAll('.mq-reference').length === 2")
    wait_for_value(page, "[aria-label='Weight of picture 2']", "0.4")
    assert controls(served, make(page)) == units


@pytest.mark.parametrize("method", ["Everything", "Style", "Composition"])
def test_an_adapter_reads_references_for_what_is_asked(page, served, method):
    page.click(CLEAR)
    page.click("#tab-reference")
    drop(page, "#reference-pad .mq-reference-pad", picture("#cc3311"))
    page.wait_for_selector(".mq-reference")
    page.click(f"#reference-pad >> text={method}")
    page.click("[data-unit=reference] [aria-label^='From when']")
    page.wait_for_selector("[data-unit=reference] option >> text=IP-Adapter", state="attached")
    (unit,) = controls(served, make(page, "a house"))
    assert (unit["kind"], unit["method"]) == ("reference", {"Everything": "full"}.get(method, method.lower()))
    assert unit["model_id"]
    assert unit["encoder_id"]


def test_what_no_model_follows_is_refused_beside_the_button_and_stays(page, stranger):
    page.click(CLEAR)
    page.click("#tab-reference")
    drop(page, "#reference-pad .mq-reference-pad", picture("#cc3311"))
    page.wait_for_selector(".mq-reference")
    choose_checkpoint(page, stranger)
    ask(page, "a house")
    page.wait_for_selector("#notice [role=alert] >> text=no IP-Adapter")
    assert page.locator(".mq-reference").count() == 1


PADS = {
    "scribble": "#sketch-pad canvas",
    "edges": "#edges-pad canvas",
    "depth": "#depth-pad canvas",
    "segments": "#segments-pad canvas",
    "pose": ".mq-pose-stage > svg",
}


def answered(page, what: str) -> None:
    """Click, and wait until the server has answered what the click asked for."""
    with page.expect_response(lambda answer: answer.request.method == "POST"):
        page.click(what)


@pytest.mark.parametrize(("tab", "board"), PADS.items(), ids=PADS)
def test_what_a_hand_does_is_seen_without_asking_the_server(page, tab, board):
    if tab != "scribble":  # which is in front
        answered(page, f"#tab-{tab}")
    if tab == "pose":
        answered(page, "#pose-editor [aria-label='Arms out']")
    place = page.locator(board).first
    place.scroll_into_view_if_needed()
    box = place.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    before, asked = place.screenshot(), []
    page.on("request", lambda request: asked.append(request.url))
    page.mouse.down()
    page.mouse.move(x + 60, y + 40, steps=5)
    assert place.screenshot() != before
    assert asked == []
    page.mouse.up()


def test_where_a_row_counts_is_painted_over_its_map(page, served):
    """Part of the map is painted over with the mouse; the mask is white there, and the row shows it."""
    if served.studio is None:
        pytest.skip("that is somebody else's server")
    page.click("[data-unit=scribble] [aria-label^='From when']")
    page.click("[data-unit=scribble] >> text=Only in a part")
    page.wait_for_selector(".mq-mask[open][data-ready='1']")
    box = page.locator(".mq-mask-stage canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] * 0.2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] * 0.8, steps=8)
    page.mouse.up()
    page.click("#mask-save")
    page.wait_for_selector("[data-unit=scribble] .mq-area img[src*='assets']", state="visible")
    (unit,) = controls(served, make(page))
    mask = served.studio.assets.open_image(unit["mask"]).convert("L")
    assert mask.getpixel((int(mask.width * 0.2), mask.height // 2)) == 255
    assert mask.getpixel((int(mask.width * 0.8), mask.height // 2)) == 0
    page.click("[data-unit=scribble] [aria-label='Count everywhere again']")
    page.wait_for_selector("[data-unit=scribble] >> text=Only in a part")

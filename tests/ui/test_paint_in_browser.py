"""Depth and segments in a browser: what is painted, what stays a thing, and a canvas that shows the map made of it."""

import json
import shutil
from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from studio.painting.clean import clean_painting
from studio.painting.rasterise import rasterise
from studio.segments import REGIONS
from tests.ui.hands import make, wait_for_value

DEPTH, SEGMENTS = "depth-pad", "segments-pad"
PNG = "id => document.querySelector(`#${id} canvas`).toDataURL('image/png').split(',')[1]"


def on_tab(page, kind: str):
    """The page with that tab in front, ready."""
    page.click(f"#tab-{kind}")
    page.wait_for_selector(f"#{kind}-pad[data-ready]")
    return page


@pytest.fixture
def depth(page):
    return on_tab(page, "depth")


@pytest.fixture
def segments(page):
    return on_tab(page, "segments")


def place(page, pad: str, x: float, y: float) -> tuple[float, float]:
    """Where a share of the sheet is on the screen."""
    canvas = page.locator(f"#{pad} canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


def drag(page, pad: str, *points: tuple[float, float]) -> None:
    """Press at the first share of the sheet, go through the others, let go."""
    page.mouse.move(*place(page, pad, *points[0]))
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*place(page, pad, *point), steps=6)
    page.mouse.up()


def pick(page, pad: str, tool: str) -> None:
    page.click(f"#{pad} [aria-label^='{tool}']")


def wait_for_ops(page, pad: str, count: int) -> None:
    page.wait_for_selector(f"#{pad} [data-ops='{count}'], #{pad}[data-ops='{count}']", state="attached")


def shown(page, pad: str) -> np.ndarray:
    """The canvas, (height, width, 3)."""
    sheet = Image.open(BytesIO(b64decode(page.evaluate(PNG, pad))))
    return np.asarray(sheet.convert("RGB")).astype(int)


def light(page, x: float, y: float) -> int:
    """How light the depth is at a share of the sheet."""
    sheet = shown(page, DEPTH)
    return int(sheet[int(y * sheet.shape[0]), int(x * sheet.shape[1]), 0])


def painting(page, pad: str, act) -> dict:
    """Do something, and read the painting that the page sends to be kept."""

    def sent(request) -> bool:
        return request.method == "POST" and f'"{OPS_OF[pad]}"' in (request.post_data or "")

    with page.expect_request(sent) as request:
        act()
    return found(json.loads(request.value.post_data), OPS_OF[pad])


OPS_OF = {DEPTH: "ball", SEGMENTS: "region"}


def found(value, word: str):
    """The painting in what was sent: the object with ops that speaks of that word."""
    if isinstance(value, dict):
        if "ops" in value and word in json.dumps(value):
            return value
        value = list(value.values())
    hits = [hit for entry in value if isinstance(entry, dict | list) and (hit := found(entry, word))]
    return hits[0] if hits else None


def test_near_is_painted_light_and_the_eraser_takes_it_away(depth):
    assert not shown(depth, DEPTH).any()
    drag(depth, DEPTH, (0.3, 0.3), (0.7, 0.3))
    wait_for_ops(depth, DEPTH, 1)
    assert light(depth, 0.5, 0.3) == 220
    assert light(depth, 0.5, 0.7) == 0
    depth.keyboard.press("e")
    drag(depth, DEPTH, (0.5, 0.2), (0.5, 0.4))
    wait_for_ops(depth, DEPTH, 2)
    assert light(depth, 0.5, 0.3) == 0


def test_far_and_near_is_a_slider(depth):
    depth.locator(f"#{DEPTH} [aria-label^='How near']").fill("60")
    drag(depth, DEPTH, (0.3, 0.3), (0.7, 0.3))
    wait_for_ops(depth, DEPTH, 1)
    assert light(depth, 0.5, 0.3) == 60


def test_a_ball_is_placed_dragged_resized_and_brought_nearer(depth):
    pick(depth, DEPTH, "Ball")
    drag(depth, DEPTH, (0.3, 0.5), (0.4, 0.5))
    wait_for_ops(depth, DEPTH, 1)
    before = light(depth, 0.3, 0.5)
    assert before == pytest.approx(130 + 0.1 * 255, abs=3)
    drag(depth, DEPTH, (0.3, 0.5), (0.7, 0.6))
    wait_for_ops(depth, DEPTH, 1)
    assert light(depth, 0.7, 0.6) == pytest.approx(before, abs=2)
    assert light(depth, 0.3, 0.5) == 0
    corner = 0.1 * 2**-0.5
    drag(depth, DEPTH, (0.7 + corner, 0.6 + corner), (0.7 + 2 * corner, 0.6 + 2 * corner))
    assert light(depth, 0.7, 0.6) == pytest.approx(130 + 0.2 * 255, abs=4)
    depth.locator(f"#{DEPTH} [aria-label^='How near']").fill("30")
    wait_for_light(depth, 0.7, 0.6, 30 + 0.2 * 255)
    depth.click(f"#{DEPTH} >> text=Remove it")
    wait_for_ops(depth, DEPTH, 0)


def wait_for_light(page, x: float, y: float, value: float) -> None:
    page.wait_for_function(
        """([id, x, y, v]) => { const c = document.querySelector(`#${id} canvas`);
        const at = c.getContext('2d').getImageData(x * c.width, y * c.height, 1, 1).data[0];
        return Math.abs(at - v) < 5; }""",
        arg=[DEPTH, x, y, value],
    )


def test_things_are_chosen_with_the_pointer_and_moved_by_keys(depth):
    pick(depth, DEPTH, "Box")
    drag(depth, DEPTH, (0.2, 0.2), (0.4, 0.4))
    pick(depth, DEPTH, "Brush")
    drag(depth, DEPTH, (0.8, 0.8), (0.9, 0.8))
    depth.keyboard.press("v")
    depth.mouse.click(*place(depth, DEPTH, 0.3, 0.3))
    depth.wait_for_selector(f"#{DEPTH} >> text=Box: drag it")
    for _ in range(6):
        depth.keyboard.press("Shift+ArrowRight")
    wait_for_ops(depth, DEPTH, 2)
    assert light(depth, 0.22, 0.3) == 0
    assert light(depth, 0.45, 0.3) > 100
    depth.keyboard.press("Control+z")
    assert light(depth, 0.22, 0.3) > 100
    depth.keyboard.press("Delete")
    wait_for_ops(depth, DEPTH, 1)


def test_a_floor_and_a_backdrop_lie_under_what_is_painted(depth):
    drag(depth, DEPTH, (0.3, 0.8), (0.7, 0.8))
    pick(depth, DEPTH, "Floor")
    drag(depth, DEPTH, (0.5, 0.3), (0.5, 0.5))
    pick(depth, DEPTH, "Backdrop")
    drag(depth, DEPTH, (0.1, 0.1), (0.9, 0.1))
    wait_for_ops(depth, DEPTH, 3)
    assert light(depth, 0.5, 0.8) == 220
    assert light(depth, 0.05, 0.75) == pytest.approx(128, abs=3)
    assert light(depth, 0.95, 0.2) == 255
    assert light(depth, 0.05, 0.2) == 0
    pick(depth, DEPTH, "Floor")
    drag(depth, DEPTH, (0.2, 0.7), (0.2, 0.75))
    wait_for_ops(depth, DEPTH, 3)


def test_what_is_done_is_undone_and_done_again(depth):
    drag(depth, DEPTH, (0.3, 0.3), (0.7, 0.3))
    depth.click(f"#{DEPTH} [aria-label^='Invert']")
    wait_for_ops(depth, DEPTH, 2)
    assert light(depth, 0.5, 0.7) == 255
    depth.click(f"#{DEPTH} [aria-label^='Invert']")
    wait_for_ops(depth, DEPTH, 1)
    depth.click(f"#{DEPTH} [aria-label^='Smooth']")
    wait_for_ops(depth, DEPTH, 2)
    for _ in range(4):
        depth.keyboard.press("Control+z")
    assert not shown(depth, DEPTH).any()
    depth.keyboard.press("Control+Shift+Z")
    wait_for_ops(depth, DEPTH, 1)
    assert light(depth, 0.5, 0.3) == 220


def test_the_canvas_shows_the_map_that_is_made_of_it(depth):
    pick(depth, DEPTH, "Floor")
    drag(depth, DEPTH, (0.5, 0.3), (0.5, 0.4))
    pick(depth, DEPTH, "Box")
    drag(depth, DEPTH, (0.6, 0.3), (0.9, 0.8))
    pick(depth, DEPTH, "Brush")
    drag(depth, DEPTH, (0.1, 0.2), (0.5, 0.35), (0.6, 0.1))
    depth.click(f"#{DEPTH} [aria-label^='Smooth']")
    pick(depth, DEPTH, "Ball")
    kept = painting(depth, DEPTH, lambda: drag(depth, DEPTH, (0.3, 0.6), (0.45, 0.6)))
    seen = shown(depth, DEPTH)
    made = np.asarray(rasterise(clean_painting(kept, "depth"), seen.shape[1], seen.shape[0]), dtype=int)
    assert np.abs(seen - made).mean() < 0.5
    assert np.abs(seen - made).max() <= 2


def test_a_reload_keeps_what_was_painted(depth):
    with depth.expect_response(lambda answer: '"brush"' in (answer.request.post_data or "")):
        drag(depth, DEPTH, (0.3, 0.3), (0.7, 0.3))
    before = shown(depth, DEPTH)
    depth.reload()
    depth.wait_for_selector(f"#{DEPTH}[data-ready]", state="attached")
    wait_for_ops(depth, DEPTH, 1)
    np.testing.assert_array_equal(shown(depth, DEPTH), before)
    on_tab(depth, "depth").click(f"#{DEPTH} [aria-label^='Undo']")
    wait_for_ops(depth, DEPTH, 0)


def test_keys_change_the_brush(segments):
    before = int(segments.locator(f"#{SEGMENTS} [aria-label^='Brush size']").input_value())
    segments.locator(f"#{SEGMENTS} canvas").focus()
    segments.keyboard.press("]")
    assert int(segments.locator(f"#{SEGMENTS} [aria-label^='Brush size']").input_value()) > before
    segments.keyboard.press("[")
    segments.keyboard.press("e")
    assert segments.get_attribute(f"#{SEGMENTS} [aria-label^='Eraser']", "aria-pressed") == "true"
    segments.keyboard.press("b")
    assert segments.get_attribute(f"#{SEGMENTS} [aria-label^='Brush (B)']", "aria-pressed") == "true"


def test_regions_are_painted_filled_and_named(segments):
    pick(segments, SEGMENTS, "Fill")
    drag(segments, SEGMENTS, (0.5, 0.5))
    segments.click(f"#{SEGMENTS} [data-region=ground]")
    pick(segments, SEGMENTS, "Rectangle")
    drag(segments, SEGMENTS, (0.002, 0.6), (1.1, 1.1))
    segments.click(f"#{SEGMENTS} [data-region=tree]")
    segments.wait_for_selector(f"#{SEGMENTS} >> text=You paint: tree.")
    pick(segments, SEGMENTS, "Area")
    drag(segments, SEGMENTS, (0.2, 0.7), (0.3, 0.3), (0.4, 0.7))
    segments.click(f"#{SEGMENTS} [data-region=house]")
    pick(segments, SEGMENTS, "Brush")
    kept = painting(segments, SEGMENTS, lambda: drag(segments, SEGMENTS, (0.6, 0.5), (0.8, 0.55)))
    segments.mouse.move(*place(segments, SEGMENTS, 0.3, 0.6))
    segments.wait_for_selector(f"#{SEGMENTS} >> text=Here is: tree.")
    seen = shown(segments, SEGMENTS)
    assert {tuple(color) for color in np.unique(seen.reshape(-1, 3), axis=0).tolist()} == {
        REGIONS[name] for name in ("sky", "ground", "tree", "house")
    }
    made = np.asarray(rasterise(clean_painting(kept, "segments"), seen.shape[1], seen.shape[0]))
    assert (seen != made).any(-1).mean() < 1e-3


@pytest.fixture
def control_model(served):
    """ControlNets for depth and segments: the bytes of the one for sketches under other names."""
    if served.studio is None:
        pytest.skip("that is somebody else's server")
    library = served.studio.library
    scribble = library.control_model_for("scribble", served.studio.card().base).path
    folders = []
    for kind in ("depth", "segments"):
        folders.append(served.studio.settings.paths.models / "controlnet" / f"a-{kind}")
        shutil.copytree(scribble, folders[-1])
        card = json.loads((folders[-1] / "card.json").read_text()) | {"name": f"a-{kind}", "control_kind": kind}
        (folders[-1] / "card.json").write_text(json.dumps(card))
    library.refresh()
    yield
    for folder in folders:
        shutil.rmtree(folder)
    library.refresh()


def test_regions_and_depth_are_sent_and_settings_bring_them_back(control_model, segments, served):
    segments.click(f"#{SEGMENTS} [data-region=boat]")
    drag(segments, SEGMENTS, (0.2, 0.5), (0.8, 0.5))
    on_tab(segments, "depth")
    pick(segments, DEPTH, "Ball")
    drag(segments, DEPTH, (0.5, 0.5), (0.7, 0.5))
    job = served.studio.jobs.required(make(segments, "a boat"))
    units = {unit["kind"]: unit for unit in job.params["controls"]}
    assert {"depth", "segments"} <= set(units)
    colors = {color for _, color in served.studio.assets.open_image(units["segments"]["map"]).getcolors()}
    assert colors == {(0, 0, 0), REGIONS["boat"]}
    assert served.studio.assets.open_image(units["depth"]["map"]).getextrema()[0][1] > 150
    segments.click(f"#{DEPTH} [aria-label='Clear the canvas']")
    wait_for_ops(segments, DEPTH, 0)
    segments.fill("#prompt textarea", "something else")
    segments.click("#result .mq-actions >> text=Settings")
    wait_for_value(segments, "#prompt textarea", "a boat")
    wait_for_ops(segments, DEPTH, 1)
    wait_for_ops(segments, SEGMENTS, 1)


def photo(tmp_path) -> str:
    buffer = BytesIO()
    Image.new("RGB", (80, 60), "red").save(buffer, "PNG")
    (tmp_path / "photo.png").write_bytes(buffer.getvalue())
    return str(tmp_path / "photo.png")


def test_the_map_of_a_photo_lies_under_what_is_painted_or_the_page_says_why_not(depth, tmp_path):
    with depth.expect_response(lambda answer: answer.url.endswith("/annotate")) as answer:
        depth.locator(f"#{DEPTH} input[type=file]").first.set_input_files(photo(tmp_path))
    asked = answer.value.request.post_data_json
    assert (asked["size"], asked["resize_mode"]) == ([128, 128], "crop")
    if not answer.value.ok:
        assert depth.wait_for_selector(".mq-toast").inner_text().strip()
        wait_for_ops(depth, DEPTH, 0)
        return
    wait_for_light(depth, 0.5, 0.7, 200)
    drag(depth, DEPTH, (0.3, 0.3), (0.7, 0.3))
    depth.keyboard.press("e")
    drag(depth, DEPTH, (0.3, 0.3), (0.7, 0.3))
    wait_for_light(depth, 0.5, 0.3, 200)


def test_another_shape_keeps_a_ball_round(depth):
    pick(depth, DEPTH, "Ball")
    drag(depth, DEPTH, (0.5, 0.5), (0.7, 0.5))
    depth.click("#shape input")
    depth.get_by_role("option", name="Landscape 4:3").click()
    depth.wait_for_function(f"(c => c.width > c.height * 1.2)(document.querySelector('#{DEPTH} canvas'))")
    lit = shown(depth, DEPTH)[..., 0] > 0
    assert lit.any(0).sum() == pytest.approx(lit.any(1).sum(), abs=2)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_paints_in_one_column(visit, scheme):
    page = on_tab(visit(width=390, height=844, scheme=scheme), "depth")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    drag(page, DEPTH, (0.3, 0.3), (0.7, 0.3))
    wait_for_ops(page, DEPTH, 1)
    on_tab(page, "segments")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.is_visible(f"#{SEGMENTS} [data-region=person]")


def test_a_finger_paints(visit, browser):
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = on_tab(visit(context), "depth")
    page.touchscreen.tap(*place(page, DEPTH, 0.5, 0.5))
    wait_for_ops(page, DEPTH, 1)
    assert light(page, 0.5, 0.5) == 220
    context.close()

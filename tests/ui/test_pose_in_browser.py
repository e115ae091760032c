"""The pose editor in a browser: joints under the mouse, people, files, and what is sent."""

import io
import json

import pytest
from PIL import Image

from tests.ui.hands import CLEAR, ask, choose_checkpoint, make, wait_for_value

EDITOR = "#pose-editor[data-ready]"
BOARD = ".mq-pose-stage > svg"
WRIST, KNEE = 4, 9
POSED = "pose_keypoints_2d"


@pytest.fixture
def editor(page):
    """The page with the Pose tab and one person who stands."""
    return with_somebody(page)


def with_somebody(page):
    page.click("#tab-pose")
    page.wait_for_selector(EDITOR)
    page.click("#pose-editor [aria-label='Standing']")
    wait_for_people(page, 1)
    return page


def wait_for_people(page, count: int) -> None:
    page.wait_for_selector(f"#pose-editor [data-people='{count}'], #pose-editor[data-people='{count}']")


def saved(page, folder) -> dict:
    """The pose as the file that the person saves."""
    with page.expect_download() as download:
        page.click("#pose-editor [aria-label='Save the pose as a JSON file']")
    download.value.save_as(folder / "pose.json")
    return json.loads((folder / "pose.json").read_text())


def joints(page, folder, person: int = 0) -> list[list[float]]:
    """x, y, on of each joint."""
    numbers = saved(page, folder)["people"][person][POSED]
    return [numbers[i : i + 3] for i in range(0, 54, 3)]


def at(page, joint: int, person: int = 0) -> tuple[float, float]:
    """Where the joint is on the screen."""
    page.locator(BOARD).scroll_into_view_if_needed()
    box = page.locator(f"{BOARD} > g:first-child > g:nth-child({person + 1}) [data-joint='{joint}']").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def drag(page, start: tuple[float, float], by: tuple[float, float], *, drop: bool = True) -> None:
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(start[0] + by[0], start[1] + by[1], steps=6)
    if drop:
        page.mouse.up()


def open_text(page, folder, text: str) -> None:
    (folder / "given.json").write_text(text)
    page.set_input_files("#pose-editor input[accept*=json]", folder / "given.json")


def test_a_wrist_is_dragged_and_nothing_is_asked_until_it_is_let_go(editor, tmp_path):
    before, sent = joints(editor, tmp_path), []
    editor.on("request", lambda request: sent.append(request.url))
    start = at(editor, WRIST)
    drag(editor, start, (-40, -30), drop=False)
    x, y = at(editor, WRIST)
    assert (round(x - start[0]), round(y - start[1])) == (-40, -30)
    assert not sent
    with editor.expect_response(lambda answer: POSED in (answer.request.post_data or "")):
        editor.mouse.up()
    after = joints(editor, tmp_path)
    assert after[WRIST][0] < before[WRIST][0]
    assert after[WRIST][1] < before[WRIST][1]
    assert [j for i, j in enumerate(after) if i != WRIST] == [j for i, j in enumerate(before) if i != WRIST]
    assert len([url for url in sent if "blob:" not in url]) <= 2  # the event, and the stream of its answer


def test_what_is_done_is_undone_and_done_again(editor, tmp_path):
    before = saved(editor, tmp_path)
    drag(editor, at(editor, WRIST), (50, 0))
    after = saved(editor, tmp_path)
    assert after != before
    editor.keyboard.press("Control+z")
    assert saved(editor, tmp_path) == before
    editor.keyboard.press("Control+Shift+Z")
    assert saved(editor, tmp_path) == after
    editor.click("#pose-editor [aria-label='Undo (Ctrl+Z)']")
    assert saved(editor, tmp_path) == before


def test_people_are_added_copied_and_removed(editor, tmp_path):
    editor.click("#pose-editor [aria-label='Add a person']")
    wait_for_people(editor, 2)
    first, second = (joints(editor, tmp_path, person) for person in (0, 1))
    assert abs(first[0][0] - second[0][0]) > 80
    editor.click("#pose-editor [aria-label='Copy the chosen person']")
    wait_for_people(editor, 3)
    editor.click("#pose-editor [aria-label='Remove the chosen person']")
    wait_for_people(editor, 2)
    editor.click(".mq-toast >> text=Undo")
    wait_for_people(editor, 3)


def test_mirrored_twice_is_as_before(editor, tmp_path):
    editor.click("#pose-editor [aria-label='Waving']")
    before = saved(editor, tmp_path)
    editor.click("#pose-editor [aria-label='Mirror the chosen person']")
    mirrored = saved(editor, tmp_path)
    assert mirrored != before
    left = mirrored["people"][0][POSED][21:24]
    assert left[1] < mirrored["people"][0][POSED][1]  # the left hand waves now, above the head
    editor.click("#pose-editor [aria-label='Mirror the chosen person']")
    assert saved(editor, tmp_path) == before


def test_the_knobs_scale_and_turn_the_chosen_person(editor, tmp_path):
    before = joints(editor, tmp_path)

    def knob(name: str) -> tuple[float, float]:
        box = editor.locator(f"{BOARD} [data-knob={name}]").bounding_box()
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    editor.click("#pose-editor [aria-label='Copy the chosen person']")
    editor.keyboard.press("Control+z")
    editor.mouse.click(*at(editor, 1))
    drag(editor, knob("scale"), (-60, -120))
    smaller = joints(editor, tmp_path)
    assert smaller[10][1] - smaller[0][1] < 0.9 * (before[10][1] - before[0][1])
    drag(editor, knob("turn"), (80, 40))
    turned = joints(editor, tmp_path)
    assert turned[0][0] > smaller[0][0] + 10


def test_keys_move_the_chosen_joint_and_leave_it_out(editor, tmp_path):
    before = joints(editor, tmp_path)[WRIST]
    editor.mouse.click(*at(editor, WRIST))
    editor.keyboard.press("ArrowRight")
    editor.keyboard.press("Shift+ArrowDown")
    assert joints(editor, tmp_path)[WRIST] == pytest.approx([before[0] + 1, before[1] + 10, 1])
    editor.focus(BOARD)
    editor.keyboard.press("Delete")
    assert joints(editor, tmp_path)[WRIST][2] == 0
    editor.click("#pose-editor >> text=Put it back")
    assert joints(editor, tmp_path)[WRIST][2] == 1
    editor.mouse.dblclick(*at(editor, WRIST))
    assert joints(editor, tmp_path)[WRIST][2] == 0


def test_a_reload_and_a_second_tab_find_the_pose(editor, visit, tmp_path):
    with editor.expect_response(lambda answer: POSED in (answer.request.post_data or "")):
        drag(editor, at(editor, WRIST), (-30, -30))
    kept = saved(editor, tmp_path)
    editor.reload()
    editor.wait_for_selector(EDITOR)
    wait_for_people(editor, 1)
    assert saved(editor, tmp_path) == kept
    second = visit(editor.context)
    second.wait_for_selector(EDITOR)
    wait_for_people(second, 1)
    assert saved(second, tmp_path) == kept


def test_what_was_saved_is_opened(editor, tmp_path):
    kept = saved(editor, tmp_path)
    editor.click("#pose-editor [aria-label='Arms out']")
    open_text(editor, tmp_path, json.dumps(kept))
    editor.wait_for_function(
        "() => document.querySelector('#pose-editor .mq-pose-said').textContent.includes('1 person')"
    )
    assert saved(editor, tmp_path) == kept
    editor.click("#pose-editor [aria-label='Undo (Ctrl+Z)']")
    assert saved(editor, tmp_path) != kept


@pytest.mark.parametrize("text", ["{", '{"people": [{"pose_keypoints_2d": [NaN]}]}', '{"people": [1]}'])
def test_what_is_no_pose_is_refused_beside_the_editor_and_nothing_is_lost(editor, tmp_path, text):
    kept = saved(editor, tmp_path)
    open_text(editor, tmp_path, text)
    editor.wait_for_selector("#canvas-notice [role=alert] >> text=This is no pose that can be used")
    assert saved(editor, tmp_path) == kept


def test_number_keys_choose_the_tab_outside_fields(page):
    page.locator("#sketch-pad canvas").focus()
    page.keyboard.press("2")
    page.wait_for_selector("#pose-editor", state="visible")
    page.wait_for_selector("[data-unit=pose][data-front] [aria-label='Follow the pose']")
    page.keyboard.press("9")
    page.keyboard.press("1")
    page.wait_for_selector("#sketch-pad", state="visible")
    page.fill("#prompt textarea", "")
    page.locator("#prompt textarea").press_sequentially("2 boats")
    assert page.is_visible("#sketch-pad")


def test_an_empty_editor_sends_no_unit(page, served):
    page.click(CLEAR)
    page.click("#tab-pose")
    page.wait_for_selector(EDITOR)
    job = make(page, "a yellow boat")
    page.wait_for_selector("#notice >> text=Nobody is posed")
    if served.studio:
        assert not served.studio.jobs.required(job).params["controls"]


def test_without_a_pose_model_the_tab_says_so_and_a_picture_waits_until_it_is_unticked(page, served, stranger):
    page.click(CLEAR)
    editor = with_somebody(page)
    choose_checkpoint(editor, stranger)
    editor.wait_for_selector("#canvas-notice >> text=There is no pose ControlNet")
    ask(editor, "a yellow boat")
    editor.wait_for_selector("#notice [role=alert] >> text=untick it beside the canvas")
    editor.click("[data-unit=pose] [aria-label='Follow the pose']")
    job = make(editor)
    assert served.studio.jobs.required(job).params["controls"] == []


def test_the_people_of_a_photo_come_onto_the_canvas_to_be_corrected(editor, tmp_path):
    with editor.expect_file_chooser() as chooser:
        editor.click("#pose-editor [aria-label^='Read the people of a photo']")
    photo = io.BytesIO()
    Image.new("RGB", (64, 64), "#558844").save(photo, "PNG")
    chooser.value.set_files({"name": "photo.png", "mimeType": "image/png", "buffer": photo.getvalue()})
    wait_for_people(editor, 2)  # as many as the painting worker sees in every photo
    editor.wait_for_selector("#pose-editor img.mq-trace[src]:not([hidden])")
    first, second = (person[POSED] for person in saved(editor, tmp_path)["people"])
    assert first[:2] == [128, 128]
    assert second[:2] == [384, 128]
    editor.click("#pose-editor [aria-label='Undo (Ctrl+Z)']")
    wait_for_people(editor, 1)


def test_sketch_and_pose_count_together_and_settings_bring_both_back(editor, served, tmp_path):
    kept = saved(editor, tmp_path)
    sketch, pose = served.studio.jobs.required(make(editor, "a person")).params["controls"]
    assert (sketch["kind"], pose["kind"]) == ("scribble", "pose")
    assert served.studio.assets.open_json(pose["editor"])["people"] == kept["people"]
    assert served.studio.assets.open_image(pose["map"]).getbbox()
    editor.click("#pose-editor [aria-label='Remove the chosen person']")
    editor.click("#tab-scribble")
    editor.click(CLEAR)
    editor.fill("#prompt textarea", "something else")
    editor.click("#result .mq-actions >> text=Settings")
    wait_for_value(editor, "#prompt textarea", "a person")
    editor.click("#tab-pose")
    wait_for_people(editor, 1)
    assert saved(editor, tmp_path)["people"] == kept["people"]
    again = served.studio.jobs.required(make(editor)).params["controls"]
    assert again == [sketch, pose]


def test_another_shape_keeps_the_people_unbent(editor, tmp_path):
    before = joints(editor, tmp_path)
    editor.click("#shape input")
    editor.get_by_role("option", name="Landscape 4:3").click()
    editor.wait_for_function(
        f"(b => b.width > b.height * 1.2)(document.querySelector('{BOARD}').getBoundingClientRect())"
    )
    after = joints(editor, tmp_path)

    def ratio(k: list[list[float]]) -> float:
        return (k[7][0] - k[WRIST][0]) / (k[10][1] - k[0][1])

    assert ratio(after) == pytest.approx(ratio(before), rel=1e-2)
    assert saved(editor, tmp_path)["canvas_height"] < saved(editor, tmp_path)["canvas_width"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_poses_in_one_column(visit, scheme, tmp_path):
    page = with_somebody(visit(width=390, height=844, scheme=scheme))
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    before = joints(page, tmp_path)
    drag(page, at(page, KNEE), (-20, 0))
    assert joints(page, tmp_path)[KNEE][0] < before[KNEE][0] - 10
    assert page.evaluate(f"getComputedStyle(document.querySelector('{BOARD}').parentNode).backgroundColor") == (
        "rgb(20, 18, 17)"
    )


def test_a_finger_drags_a_joint(visit, browser, tmp_path):
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = with_somebody(visit(context))
    before, (x, y) = joints(page, tmp_path), at(page, WRIST)
    touch = context.new_cdp_session(page)
    for kind, points in (
        ("touchStart", [{"x": x, "y": y}]),
        ("touchMove", [{"x": x - 30, "y": y - 40}]),
        ("touchEnd", []),
    ):
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    assert joints(page, tmp_path)[WRIST][1] < before[WRIST][1] - 10
    context.close()


def test_a_person_partly_beside_the_canvas_is_no_reason_to_refuse(editor, served, tmp_path):
    editor.mouse.click(*at(editor, 1))
    x, y = at(editor, KNEE)
    up = at(editor, 8)
    drag(editor, ((x + up[0]) / 2, (y + up[1]) / 2), (-150, 0))
    assert min(k[0] for k in joints(editor, tmp_path)) < 100
    kinds = [unit["kind"] for unit in served.studio.jobs.required(make(editor, "a boat")).params["controls"]]
    assert kinds == ["scribble", "pose"]

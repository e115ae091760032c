"""The Train section where things are odd: useless files, folders, used names, guests, captions written for one."""

import threading
from types import SimpleNamespace

import pytest

from studio.access import LOCAL_USER
from studio.accounts import Account
from studio.api.guard import Policy
from studio.errors import AssetError
from tests.ui.conftest import PATIENCE, READY, serving
from tests.ui.test_train_in_browser import CARD, STEPS, add, captions, files, fill_in, mug, opened, train

__all__ = ["train"]
ALERT = "#train-pictures [role=alert]"
PASSWORD = "a long enough password"


@pytest.fixture
def annotator(train, served, monkeypatch):
    """What describes pictures: it waits before the second until it is let go, and the third says nothing to it."""
    go, seen = threading.Event(), []

    def caption(asset: str) -> str:
        seen.append(asset)
        if len(seen) == 2:
            go.wait(60)
        if len(seen) == 3:
            raise AssetError("Nothing can be seen.", hint="")
        return f"a mug, {len(seen)}"

    monkeypatch.setattr(served.studio, "sight", lambda user: SimpleNamespace(caption=caption))
    yield go
    go.set()


def test_files_that_are_no_pictures_leave_no_set_behind(train, served):
    known = served.studio.datasets.names()
    pdf = {"name": "scan.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.4"}
    torn = {**files(1)[0], "name": "torn.png", "buffer": mug(1)[:300]}
    train.set_input_files("#train-files", [pdf, torn])
    train.locator(ALERT, has_text="scan.pdf is left out").wait_for()
    assert "torn.png is left out" in train.inner_text(ALERT)
    train.wait_for_selector("#train-choose")
    assert served.studio.datasets.names() == known
    train.set_input_files("#train-files", [pdf, *files(1)])
    train.wait_for_selector(CARD)
    assert len(served.studio.datasets.names()) == len(known) + 1


def test_a_folder_keeps_its_folders_with_the_captions_in_them(train, served, tmp_path):
    top = tmp_path / "two mugs"
    for number, side in enumerate(("left", "right"), 1):
        (top / side).mkdir(parents=True)
        (top / side / "mug.png").write_bytes(mug(number))
        (top / side / "mug.txt").write_text(f"from the {side}")
    train.set_input_files("#train-folder", top)
    train.wait_for_selector(f"{CARD} >> nth=1")
    assert captions(train) == ["from the left", "from the right"]
    assert train.input_value("#train-sets") == "two mugs"
    assert [one.name for one in served.studio.datasets.pictures("two mugs")] == ["left/mug.png", "right/mug.png"]


def test_the_doctor_goes_by_the_word_and_the_size_that_are_typed(train):
    add(train, 1, 2, 3)
    train.locator(f"{CARD} textarea").first.fill("a mug on a table")
    fill_in(train, "Doctored")
    train.fill("#train-trigger", "mgx")
    lacks = train.locator(f"{CARD} .mq-train-trouble", has_text="Lacks the word")
    lacks.wait_for()
    assert not train.locator(f"{CARD}[data-trouble]").count()  # it is put in front: nothing to be alarmed by
    train.click(".mq-train-folds >> text=All settings")
    train.fill("#setting-resolution", "512")
    train.locator("#train-pictures .mq-train-remarks", has_text="512 pixels").wait_for()


def test_captions_are_written_where_there_are_none_seen_as_they_come_and_undone(train, annotator):
    add(train, 1, 2, 3)
    train.locator(f"{CARD} textarea").nth(2).fill("mine")
    train.locator("#train-pictures .mq-train-remarks >> text=Write them for me").click()
    train.locator("#train-pictures [role=status]", has_text="Describing the pictures: 1 of 2").wait_for()
    assert train.is_disabled("#train-pictures .mq-train-remarks [data-caption]")
    assert captions(train) == ["a mug, 1", "", "mine"]
    annotator.set()
    train.locator(".mq-toast", has_text="2 captions are written").wait_for()
    assert captions(train) == ["a mug, 1", "a mug, 2", "mine"]
    train.click(".mq-toast >> text=Undo")
    train.wait_for_function(f"() => !document.querySelector('{CARD} textarea').value")
    assert captions(train) == ["", "", "mine"]


def test_a_press_counts_though_the_list_is_drawn_anew_before_it_is_let_go(train, annotator):
    add(train, 1, 2, 3)
    train.locator(f"{CARD} textarea").nth(2).fill("mine")
    ask = train.locator("#train-pictures .mq-train-remarks >> text=Write them for me")
    ask.hover()
    with train.expect_response(lambda answer: answer.request.method == "GET" and "/datasets/" in answer.url):
        train.mouse.down()  # leaves the caption, which is written; then the doctor looks again
    train.evaluate("() => new Promise(requestAnimationFrame)")
    train.mouse.up()
    train.locator("#train-pictures [role=status]", has_text="Describing the pictures: 1 of 2").wait_for()
    annotator.set()
    train.locator(".mq-toast", has_text="2 captions are written").wait_for()


def test_describing_is_stopped_and_keeps_what_it_has(train, annotator):
    add(train, 1, 2, 3, 4)
    train.click(".mq-train-bulk > summary")
    train.click("#train-caption")
    train.locator("#train-pictures [role=status]", has_text="1 of 4").wait_for()
    train.click("#train-caption-stop")
    train.wait_for_selector("#train-caption-stop", state="hidden")
    annotator.set()
    train.locator(".mq-toast", has_text="2 captions are written").wait_for()
    assert captions(train) == ["a mug, 1", "a mug, 2", "", ""]
    train.click("#train-caption")
    train.locator(ALERT, has_text="Nothing can be seen.").wait_for()
    assert captions(train)[2:] == ["", "a mug, 4"]


def test_a_used_name_is_told_before_train_is_pressed_and_the_next_one_is_given(train):
    add(train, 1, 2)
    fill_in(train, "Twice")
    train.click(".mq-train-folds >> text=All settings")
    train.fill("#setting-steps", str(STEPS))
    train.locator(".mq-train-sum", has_text=f"in {STEPS} steps").wait_for()
    train.click("#train-start")
    train.locator("#train-run .mq-verdict[data-verdict=learning]").wait_for()
    train.click("#train-stop")
    train.wait_for_selector("#train-try")
    train.click("#train-new-open")
    assert train.input_value("#train-name") == "Twice-2"
    train.fill("#train-name", "Twice")
    train.locator(".mq-train-subject [role=alert]", has_text="Call this one Twice-2").wait_for()
    train.click(".mq-run-open:has-text('Twice')")
    train.click("#train-run >> text=Use these settings again")
    train.wait_for_selector("#train-section[data-view=new]")
    assert train.input_value("#train-name") == "Twice-2"
    train.wait_for_function("() => document.querySelector('#train-plan .mq-notice').hidden")


def test_another_set_shows_nothing_of_the_one_before(train):
    add(train, 1, 2)
    first = train.input_value("#train-sets")
    train.set_input_files("#train-files", [{"name": "no.pdf", "mimeType": "application/pdf", "buffer": b"%PDF"}])
    train.locator(ALERT, has_text="no.pdf").wait_for()
    train.select_option("#train-sets", "")
    train.wait_for_selector("#train-choose")
    assert not train.locator(ALERT).is_visible()
    held = []
    train.route("**/api/v1/datasets/*", lambda route: held.append(route))
    train.select_option("#train-sets", first)
    train.get_by_text("Looking through the pictures").wait_for()
    assert not train.is_visible("#train-choose")
    assert not train.locator(CARD).count()
    held[0].continue_()
    train.wait_for_selector(f"{CARD} >> nth=1")
    train.unroute("**/api/v1/datasets/*")


def test_a_guest_reads_whose_section_it_is_and_nothing_else(browser, served):
    if served.studio is None:
        pytest.skip("that is somebody else's server")
    accounts = served.studio.accounts
    accounts.put(Account("ann", PASSWORD))
    with serving(served.studio, Policy(accounts=accounts)) as url:
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        refused = []
        page.on("response", lambda r: refused.append(r.url) if r.status >= 400 else None)
        page.goto(url)
        page.get_by_label("Name").fill("ann")
        page.get_by_label("Password").fill(PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_selector(READY, state="attached")
        opened(page)
        page.get_by_text("Training is for the person whose studio this is.").wait_for()
        assert not page.is_visible("#train-start")
        assert not page.is_visible("#train-new-open")
        assert not refused
        page.close()


def test_many_pictures_do_not_push_the_button_out_of_reach_where_it_is_narrow(visit, served):
    if served.studio is None:
        pytest.skip("that is somebody else's server")
    page = opened(visit(width=400, height=860))
    add(page, *range(1, 13))
    assert page.locator(".mq-train-grid").bounding_box()["height"] < 860 * 0.71
    page.locator(f"{CARD} textarea").last.focus()
    assert page.locator(f"{CARD} textarea").last.bounding_box()["y"] < 860


def test_a_run_in_the_middle_of_scores_is_not_getting_ready(train, served):
    add(train, 1, 2)
    fill_in(train, "Scored")
    train.click(".mq-train-folds >> text=All settings")
    train.fill("#setting-steps", str(STEPS))
    train.locator(".mq-train-sum", has_text=f"in {STEPS} steps").wait_for()
    train.click("#train-start")
    train.wait_for_selector("#train-pause")
    train.locator("#train-run .mq-verdict").wait_for()
    run = next(run for run in served.studio.trainings.list(LOCAL_USER) if run["name"] == "Scored")
    now = run | {"phase": "scoring", "step": 5, "steps": STEPS}
    served.studio.events.publish({"type": "training", "run": now, "event": None}, LOCAL_USER.name)
    train.locator(".mq-run[data-state=running] small", has_text="learning · 25 %").wait_for()
    train.locator(".mq-run-phase", has_text="Scoring what it learned so far").wait_for()
    train.click("#train-stop")
    train.wait_for_selector("#train-resume")

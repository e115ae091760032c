"""The Train section in a browser: pictures and captions, the plan, and a run from Train to the picture in Create."""

import io
import sys
import zipfile

import pytest
from PIL import Image, ImageDraw

from studio.access import LOCAL_USER
from tests.ui.hands import PROMPT, drop

CARD = "#train-pictures .mq-train-card"
STEPS = 20


def mug(number: int) -> bytes:
    """A picture of a mug before stripes; each number has others."""
    size = 160
    made = Image.new("RGB", (size, size), (40 * number % 256, 200, 120))
    pen = ImageDraw.Draw(made)
    for x in range(0, size, 11 + 3 * number):
        pen.line((x, 0, size - x, size), fill=(250, 60 * number % 256, 20), width=3)
    pen.rectangle((50, 60, 110, 130), fill=(30, 90, 60))
    data = io.BytesIO()
    made.save(data, "PNG")
    return data.getvalue()


def files(*numbers: int) -> list[dict]:
    return [{"name": f"mug-{n}.png", "mimeType": "image/png", "buffer": mug(n)} for n in numbers]


@pytest.fixture
def train(page, served):
    if served.studio is None:
        pytest.skip("that is somebody else's server")
    served.studio.trainings.command = (sys.executable, "-m", "tests.ui.fake_child")
    return opened(page)


def opened(page):
    page.get_by_role("tab", name="Train").click()
    page.wait_for_selector("#train-section[data-view]")
    return page


def reloaded(page):
    page.reload()
    page.wait_for_selector("#sketch-pad[data-ready]", state="attached")
    return opened(page)


def add(page, *numbers: int) -> None:
    page.set_input_files("#train-files", files(*numbers))
    page.wait_for_selector(f"{CARD} >> nth={len(numbers) - 1}")


def captions(page) -> list[str]:
    return page.eval_on_selector_all(f"{CARD} textarea", "boxes => boxes.map(box => box.value)")


def fill_in(page, name: str, subject: str = "object") -> None:
    page.fill("#train-name", name)
    page.click(f"[data-subject={subject}]")
    page.fill("#train-class", "mug")
    page.wait_for_selector("#train-start:not([disabled])")


def test_what_is_missing_is_said_beside_the_button(train):
    why = train.locator("#train-why")
    assert train.is_disabled("#train-start")
    why.get_by_text("Add pictures, give it a name and say what it is first.").wait_for()
    train.fill("#train-name", "Moki")
    why.get_by_text("Add pictures and say what it is first.").wait_for()
    add(train, 1, 2)
    why.get_by_text("Say what it is first.").wait_for()
    train.locator("[data-subject=person]").focus()
    train.keyboard.press("ArrowRight")
    assert train.get_attribute("[data-subject=animal]", "aria-checked") == "true"
    train.wait_for_selector("#train-start:not([disabled])")
    train.locator("#train-plan .mq-train-reasons dt", has_text="Method").wait_for()
    train.locator("#train-plan .mq-train-source").first.wait_for()


def test_dropped_pictures_and_their_captions_are_kept_over_a_reload(train, served):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        for number in (1, 2, 3):
            made.writestr(f"mug-{number}.png", mug(number))
        made.writestr("mug-2.txt", "a mug in the sun")
        made.writestr("notes.png", b"no picture")
    train.set_input_files(
        "#train-files", [{"name": "teapots.zip", "mimeType": "application/zip", "buffer": archive.getvalue()}]
    )
    train.wait_for_selector(f"{CARD} >> nth=2")
    train.locator("#train-pictures [role=alert]", has_text="notes.png").wait_for()
    assert captions(train) == ["", "a mug in the sun", ""]
    with train.expect_response(lambda r: r.request.method == "PUT" and r.url.endswith("/captions")):
        train.locator(f"{CARD} textarea").first.fill("a green mug, café <b>")
    train.fill("#train-name", "Grandma's teapot")
    train.click("[data-subject=object]")
    with train.expect_response(lambda r: r.request.method == "PUT" and "/drafts/" in r.url):
        train.fill("#train-trigger", "grmtea")
    train = reloaded(train)
    train.wait_for_selector(f"{CARD} >> nth=2")
    assert captions(train) == ["a green mug, café <b>", "a mug in the sun", ""]
    assert train.input_value("#train-name") == "Grandma's teapot"
    assert train.input_value("#train-trigger") == "grmtea"
    assert train.input_value("#train-sets") == "teapots"
    assert "teapots" in served.studio.datasets.names()


def test_a_picture_is_dropped_and_a_name_that_cannot_be_is_refused_beside_it(train):
    drop(train, ".mq-train-drop", mug(4), "dropped.png")
    train.wait_for_selector(f"{CARD}[data-file='dropped.png']")
    train.fill("#train-name", "no/name")
    train.click("[data-subject=style]")
    train.locator(".mq-train-subject [role=alert]", has_text="no/name").wait_for()
    train.fill("#train-name", "a name")
    train.wait_for_function("() => document.querySelector('#train-plan .mq-notice').hidden")


def test_captions_change_all_at_once_and_come_back(train):
    add(train, 1, 2, 3)
    train.click(".mq-train-bulk > summary")
    bulk = train.get_by_label("What to do with all captions")
    bulk.select_option("fill")
    train.fill("#train-bulk-text", "a mug")
    train.keyboard.press("Enter")
    train.wait_for_function(f"() => [...document.querySelectorAll('{CARD} textarea')].every(b => b.value === 'a mug')")
    bulk.select_option("replace")
    train.fill("#train-bulk-text", "mug")
    train.fill("#train-bulk-with", "cup")
    train.keyboard.press("Enter")
    train.wait_for_function(f"() => [...document.querySelectorAll('{CARD} textarea')].every(b => b.value === 'a cup')")
    train.click(".mq-toast >> text=Undo")
    train.wait_for_function(f"() => [...document.querySelectorAll('{CARD} textarea')].every(b => b.value === 'a mug')")


def test_the_doctor_speaks_beside_the_pictures_and_what_is_taken_out_comes_back(train):
    data = io.BytesIO()
    with Image.open(io.BytesIO(mug(1))) as first:
        first.resize((150, 150)).save(data, "PNG")
    train.set_input_files(
        "#train-files", [*files(1, 2, 3), {**files(1)[0], "name": "same.png", "buffer": data.getvalue()}]
    )
    train.wait_for_selector(f"{CARD} >> nth=3")
    train.locator("#train-pictures .mq-train-remarks").get_by_text("nearly the same").wait_for()
    train.locator(f"{CARD}[data-file='same.png'] .mq-train-trouble", has_text="Nearly the same").wait_for()
    train.locator(f"{CARD}[data-file='same.png']").hover()
    train.get_by_label("Take same.png out").click()
    train.wait_for_selector(f"{CARD}[data-file='same.png']", state="detached")
    train.click(".mq-toast >> text=Undo")
    train.wait_for_selector(f"{CARD}[data-file='same.png']")


def test_a_mask_is_painted_and_taken_off(train, served):
    add(train, 1)
    card = train.locator(CARD).first
    paint(train, card)
    train.click("#mask-save")
    card.get_by_text("masked").wait_for()
    (picture,) = served.studio.datasets.pictures(train.input_value("#train-sets"))
    with Image.open(picture.mask) as mask:
        assert mask.size == (160, 160)
        assert (mask.getpixel((80, 80)), mask.getpixel((5, 5))) == (255, 0)
    card.hover()
    card.get_by_role("button").first.click()
    train.wait_for_selector("dialog.mq-mask[open]")
    train.locator(".mq-mask [aria-label='Take all paint off']").click()
    train.click("#mask-save")
    card.get_by_text("masked").wait_for(state="hidden")


def paint(page, card) -> None:
    card.hover()
    card.get_by_role("button").first.click()
    canvas = page.locator("dialog.mq-mask[data-ready] canvas")
    canvas.wait_for()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.5)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.5, steps=5)
    page.mouse.up()
    page.wait_for_selector(".mq-mask canvas[data-strokes='1']")


def test_settings_are_changed_taken_back_and_refused_beside_themselves(train):
    add(train, 1, 2, 3)
    fill_in(train, "Settled")
    train.click(".mq-train-folds >> text=All settings")
    train.wait_for_selector("#setting-rank")
    assert not train.locator("#setting-vectors").is_visible()
    train.fill("#setting-steps", "123")
    train.locator(".mq-train-sum", has_text="in 123 steps").wait_for()
    train.fill("#setting-ema", "3")
    train.locator("[data-setting=ema] [role=alert]", has_text="ema").wait_for()
    train.locator("#train-why", has_text="see above").wait_for()
    train.get_by_label("Take Averaged weights back").click()
    train.get_by_label("Take Steps back").click()
    train.wait_for_selector("#train-start:not([disabled])")
    train.wait_for_function("() => document.querySelector('#setting-steps').value !== '123'")
    train.click(".mq-train-folds >> text=Compare the methods")
    train.get_by_label("Use Textual inversion").click()
    train.wait_for_selector("#setting-vectors")
    train.locator(".mq-train-sum", has_text="Textual inversion").wait_for()


def test_letters_for_a_number_are_kept_said_beside_it_and_start_nothing(train, served):
    add(train, 1, 2, 3)
    fill_in(train, "Lettered")
    train.click(".mq-train-folds >> text=All settings")
    train.fill("#setting-learning_rate", "3e-4x")
    said = train.locator("[data-setting=learning_rate] [role=alert]", has_text="“3e-4x” is not a number")
    said.wait_for()
    train.fill("#setting-rank", "8.5")
    train.locator("[data-setting=rank] [role=alert]", has_text="“8.5” is not a whole number").wait_for()
    train.locator("#train-plan .mq-notice", has_text="is not").wait_for()
    train.click("#train-start")
    train.locator("#train-why", has_text="see above").wait_for()
    assert not [run for run in served.studio.trainings.list(LOCAL_USER) if run["name"] == "Lettered"]
    train = reloaded(train)
    said.wait_for()
    assert train.input_value("#setting-learning_rate") == "3e-4x"
    assert train.get_attribute("#setting-learning_rate", "aria-invalid") == "true"
    train.fill("#setting-rank", "")
    train.fill("#setting-learning_rate", "3e-4")
    said.wait_for(state="hidden")
    train.wait_for_function("() => document.querySelector('#train-plan .mq-notice').hidden")
    train.locator("[data-setting=learning_rate] .mq-train-reason", has_text="0.002 was advised").wait_for()


def test_a_run_is_followed_paused_kept_and_tried(train, served):
    add(train, 1, 2, 3)
    fill_in(train, "Moki one")
    train.click(".mq-train-folds >> text=All settings")
    train.fill("#setting-steps", str(STEPS))
    train.locator(".mq-train-sum", has_text=f"in {STEPS} steps").wait_for()
    train.click("#train-start")
    train.locator("#train-run .mq-verdict[data-verdict=learning]").wait_for()
    assert train.locator("#train-run .mq-chart-line").count() >= 2
    train.wait_for_selector(".mq-film-step[data-step=base] img")
    train = reloaded(train)
    train.locator("#train-run h2", has_text="Moki one").wait_for()
    train.locator("#train-run .mq-verdict[data-verdict=learning]").wait_for()
    train.wait_for_selector(".mq-film-step[data-step=base] img")
    train.click("#train-sample")
    train.wait_for_selector(f".mq-film-step[data-step='{STEPS // 2}'] img")
    train.click("#train-pause")
    train.click("#train-go")
    train.wait_for_selector("#train-try")
    train.locator(f".mq-save[data-step='{STEPS}'][data-kept] .mq-score").first.wait_for()
    train.get_by_label("Keep the one of step 10").click()
    train.wait_for_selector(".mq-save[data-step='10'][data-kept]")
    train.click("#train-layout >> text=Write it, too")
    train.locator(
        "#train-layout [role=status]", has_text="Moki one-peft.safetensors is written, with 2 tensors"
    ).wait_for()
    train.click("#train-header > summary")
    train.locator("#train-header dd", has_text="Moki one").wait_for()
    train.click("#train-try")
    train.wait_for_selector("#adapters li[data-adapter='lora:Moki one']")
    run = next(run for run in served.studio.trainings.list(LOCAL_USER) if run["name"] == "Moki one")
    assert run["params"]["trigger"] in train.input_value(PROMPT)
    assert not train.locator("#control-stack .mq-follow input:checked").count()
    train.click(".mq-toast >> text=Undo")
    train.wait_for_selector("#adapters li[data-adapter]", state="detached")
    assert train.locator("#control-stack .mq-follow input:checked").count()


def test_a_controlnet_is_seen_to_follow_maps_and_tried_on_its_tab(train, served):
    add(train, 1, 2, 3)
    fill_in(train, "Follows", "style")
    train.click(".mq-train-folds >> text=Compare the methods")
    train.get_by_label("Use ControlNet").click()
    train.click(".mq-train-folds >> text=All settings")
    train.fill("#setting-steps", str(STEPS))
    train.locator(".mq-train-sum", has_text=f"in {STEPS} steps").wait_for()
    train.click("#train-start")
    train.wait_for_selector(".mq-film-step[data-step=base] img")
    train.click("#train-pause")
    train.click("#train-go")
    train.wait_for_selector("#train-try")
    columns = train.eval_on_selector_all(".mq-film-step", "all => all.map(one => one.firstChild.textContent)")
    assert columns == ["the map", "before", "step 10", "step 20"]
    train.click(".mq-film-step[data-step='20'] button >> nth=1")
    assert train.locator(".mq-film-pair figcaption").all_inner_texts() == ["the map", "before", "step 20"]
    assert "a mug at sea" in train.inner_text(".mq-film-large p")
    train.click(".mq-film-large >> text=Close")
    assert train.locator(".mq-chart-box:visible figcaption > span").all_inner_texts() == [
        "Error at fixed noise",
        "How well pictures follow what it never learned",
    ]
    assert "maps that it never learned" in train.get_attribute(".mq-save[data-step='20'] .mq-score", "title")
    words = train.input_value(PROMPT)
    train.click("#train-try")
    train.wait_for_selector("#sketch-pad:visible")
    assert train.input_value(PROMPT) == words
    job = sent(train, served)
    assert [(unit["kind"], unit["model"]) for unit in job.params["controls"]] == [("scribble", "Follows")]


def sent(page, served):
    """The job of Generate."""
    before = {job.id for job in served.studio.list_jobs(LOCAL_USER)}
    page.click("#generate")
    while not (new := [job for job in served.studio.list_jobs(LOCAL_USER) if job.id not in before]):
        page.wait_for_timeout(50)
    return new[0]


def test_words_charts_pictures_and_saves_agree_on_the_best_step(train):
    add(train, 1, 2, 3)
    fill_in(train, "Agreed")
    train.fill("#train-trigger", "early")
    train.click(".mq-train-folds >> text=All settings")
    train.fill("#setting-steps", str(STEPS))
    train.locator(".mq-train-sum", has_text=f"in {STEPS} steps").wait_for()
    train.click("#train-start")
    train.locator("#train-run .mq-verdict[data-verdict=learning]").wait_for()
    train.click("#train-pause")
    train.click("#train-go")
    train.wait_for_selector("#train-try")
    assert "Step 10 is best." in train.inner_text("#train-run .mq-verdict")
    assert best_marks(train) == {"charts": ["10", "10"], "film": ["10"], "saves": ["10"], "kept": ["10"]}
    assert best_marks(reloaded(train)) == {"charts": ["10", "10"], "film": ["10"], "saves": ["10"], "kept": ["10"]}


def best_marks(page) -> dict[str, list[str]]:
    """Every place that shows the best step, and what it shows."""
    page.wait_for_selector(".mq-save[data-kept]")
    page.wait_for_selector(".mq-chart-best >> nth=1", state="attached")
    found = {
        "charts": (".mq-chart-best", "node => node.dataset.step"),
        "film": (".mq-film-step[data-best]", "node => node.dataset.step"),
        "saves": (".mq-save .mq-train-badge", "node => node.closest('.mq-save').dataset.step"),
        "kept": (".mq-save[data-kept]", "node => node.dataset.step"),
    }
    return {name: page.eval_on_selector_all(where, f"all => all.map({what})") for name, (where, what) in found.items()}


def test_runs_wait_stop_and_go_with_a_way_back(train, served):
    add(train, 1, 2)
    fill_in(train, "Short one", "animal")
    train.fill("#train-trigger", "shrtn")
    train.click("#train-start")
    train.locator("#train-run .mq-verdict").wait_for()
    train.click("#train-stop")
    train.locator("#train-run .mq-run-phase", has_text="Stopped and saved").wait_for()
    train.wait_for_selector("#train-resume")
    train.get_by_label("Delete this training").click()
    train.wait_for_selector("#train-section[data-view=new]")
    card = ".mq-run:has-text('Short one')"
    train.wait_for_selector(card, state="detached")
    train.click(".mq-toast >> text=Undo")
    train.click(f"{card} .mq-run-open")
    train.locator("#train-run h2", has_text="Short one").wait_for()
    train.click("#train-run >> text=Use these settings again")
    train.wait_for_selector("#train-section[data-view=new]")
    assert train.input_value("#train-name") == "Short one-2"
    train.wait_for_function("() => !document.querySelector('#train-all-settings summary .mq-mono').textContent")


def test_a_narrow_page_has_one_column_and_nothing_beside_it(visit, served):
    if served.studio is None:
        pytest.skip("that is somebody else's server")
    page = opened(visit(width=400, height=860, scheme="dark"))
    add(page, 1, 2)
    fill_in(page, "Narrow", "style")
    page.click(".mq-train-folds >> text=Compare the methods")
    page.click(".mq-train-folds >> text=All settings")
    boxes = "() => ['pictures', 'plan'].map(part => document.getElementById(`train-${part}`).getBoundingClientRect())"
    pictures, plan = page.evaluate(f"({boxes})().map(box => box.toJSON())")  # at one moment: the page still scrolls
    assert abs(pictures["x"] - plan["x"]) < 1
    assert plan["y"] > pictures["y"] + pictures["height"]
    assert page.evaluate("document.documentElement.scrollWidth") <= 400

"""The stack of adapters and their shelf in a browser: add, weigh, order, alone, keep, and restore from a picture."""

import io
import json

import pytest
from PIL import Image

from studio.access import LOCAL_USER
from tests.library.headers import lora, write
from tests.ui.hands import PROMPT, drop, make

ROW = "#adapters li[data-adapter]"
BASE = {"maquette.base": "starter-0ff5dfae"}
TINY = {
    f"lora_unet_down_blocks_{block}_attentions_0_transformer_blocks_0_attn2_to_{part}.{role}": shape
    for block, width in ((1, 128), (2, 192))
    for part in ("k", "v")
    for role, shape in {"lora_down.weight": (4, 192), "lora_up.weight": (width, 4), "alpha": ()}.items()
}


@pytest.fixture(scope="module")
def collection(served):
    """Two LoRAs and an embedding for the starter, and a LoRA for another base model."""
    if served.studio is None:
        pytest.skip("that is somebody else's server")
    models = served.studio.settings.paths.models
    for place in ("loras", "embeddings"):
        (models / place).mkdir(parents=True, exist_ok=True)
    words = {"modelspec.trigger_phrase": "inked lines, sks"}
    write(models / "loras" / "ink.safetensors", TINY, metadata=BASE | words)
    (models / "loras" / "ink.json").write_text(json.dumps({"notes": "Best at half weight, with few words."}))
    Image.linear_gradient("L").rotate(30).save(models / "loras" / "ink.preview.png")
    write(models / "loras" / "oil.safetensors", TINY, metadata=BASE)
    write(models / "loras" / "huge.safetensors", lora("sdxl", only="attn2"))
    write(models / "embeddings" / "bad-hands.safetensors", {"emb_params": (2, 192)}, metadata=BASE)
    served.studio.library.refresh()


@pytest.fixture
def shelf(page, collection):
    return page


def rows(page) -> list[str]:
    return page.evaluate(f"[...document.querySelectorAll('{ROW}')].map(row => row.dataset.adapter)")


def pick(page, *names: str) -> None:
    """Take adapters from the shelf, as a person does."""
    page.click("#adapter-add")
    for name in names:
        page.click(f".mq-shelf [data-name='{name}'] .mq-card-open")
    page.click(".mq-shelf-done")


def adapters(served, job: str) -> list[dict]:
    return served.studio.jobs.required(job).params["adapters"]


def test_an_adapter_is_picked_weighed_and_asked_for(shelf, served):
    pick(shelf, "ink")
    shelf.locator(f"{ROW} .mq-adapter-about", has_text="Starter").wait_for()
    shelf.locator(f"{ROW} .mq-scale").click(position={"x": 4, "y": 8})
    weight = float(shelf.input_value(f"{ROW} input[type=number]"))
    assert weight < 0
    (made,) = adapters(served, make(shelf, "a red house"))
    assert (made["name"], made["weight"], len(made["id"])) == ("ink", weight, 64)


def test_the_shelf_offers_what_fits_and_says_why_the_rest_does_not(shelf):
    shelf.click("#adapter-add")
    shelf.wait_for_selector(".mq-shelf [data-name=oil]")
    assert not shelf.locator(".mq-shelf [data-name=huge]").count()
    shelf.click(".mq-shelf-rest button")
    shelf.locator(".mq-shelf [data-name=huge] .mq-card-why", has_text="made for SDXL").wait_for()
    assert shelf.locator(".mq-shelf [data-name=huge] .mq-card-open").is_disabled()
    shelf.fill("#shelf-search", "inked")
    shelf.wait_for_function("() => document.querySelectorAll('.mq-shelf .mq-card').length === 1")


def test_words_and_embeddings_go_into_the_prompt_with_a_click(shelf):
    shelf.fill(PROMPT, "a red house")
    shelf.click("#adapter-add")
    shelf.locator(".mq-shelf [data-name=ink] .mq-trigger", has_text="inked lines").click()
    shelf.click(".mq-shelf [data-name=bad-hands] .mq-card-open")
    shelf.wait_for_selector(".mq-shelf [data-name=bad-hands][data-picked]")
    shelf.keyboard.press("Escape")
    assert shelf.input_value(PROMPT) == "a red house, inked lines, bad-hands"
    assert rows(shelf) == []


def test_rows_are_ordered_left_out_heard_alone_and_taken_off(shelf, served):
    pick(shelf, "ink", "oil")
    assert rows(shelf) == ["lora:ink", "lora:oil"]
    grip = shelf.locator(f"{ROW} .mq-grip").first.bounding_box()
    shelf.mouse.move(grip["x"] + 8, grip["y"] + 10)
    shelf.mouse.down()
    shelf.mouse.move(grip["x"] + 8, grip["y"] + 120, steps=8)
    shelf.mouse.up()
    assert rows(shelf) == ["lora:oil", "lora:ink"]
    assert [ref["name"] for ref in adapters(served, make(shelf, "a red house"))] == ["oil", "ink"]
    shelf.click(f"{ROW}[data-adapter='lora:ink'] [aria-label^='Only ink']")
    assert [ref["name"] for ref in adapters(served, make(shelf))] == ["ink"]
    shelf.click(f"{ROW}[data-adapter='lora:ink'] [aria-label^='Only ink']")
    shelf.uncheck(f"{ROW}[data-adapter='lora:ink'] .mq-follow input")
    assert [ref["name"] for ref in adapters(served, make(shelf))] == ["oil"]
    shelf.click(f"{ROW}[data-adapter='lora:oil'] [aria-label^='Take oil']")
    assert rows(shelf) == ["lora:ink"]
    shelf.click(".mq-toast >> text=Undo")
    assert rows(shelf) == ["lora:oil", "lora:ink"]


def test_where_and_when_it_counts_is_set_in_its_row(shelf, served):
    pick(shelf, "ink")
    shelf.click(f"{ROW} [aria-label^='Words, where']")
    shelf.locator(".mq-adapter-more", has_text="Best at half weight").wait_for()
    more = shelf.locator(".mq-adapter-more")
    more.get_by_label("Subject").fill("0.5")
    more.get_by_label("Counts until").fill("0.6")
    more.get_by_label("How it counts over the steps").select_option("fall")
    more.locator(".mq-check input").uncheck()
    more.get_by_label("Weight for words").fill("0.25")
    (made,) = adapters(served, make(shelf, "a red house"))
    assert made["blocks"] == [["unet.mid_block", 0.5]]
    assert (made["end"], made["curve"], made["text_weight"]) == (0.6, "fall", 0.25)


def test_a_stack_is_kept_under_a_name_and_used_again(shelf):
    pick(shelf, "ink", "oil")
    shelf.locator(f"{ROW} input[type=number]").first.fill("0.4")
    shelf.click("#adapter-stacks")
    shelf.fill(".mq-stack-keep input", "Wash")
    shelf.keyboard.press("Enter")
    shelf.wait_for_selector(".mq-stack-use >> text=Wash")
    shelf.keyboard.press("Escape")
    for name in ("ink", "oil"):
        shelf.click(f"{ROW}[data-adapter='lora:{name}'] [aria-label^='Take']")
    shelf.click("#adapter-stacks")
    shelf.click(".mq-stack-use >> text=Wash")
    shelf.wait_for_selector(f"{ROW}[data-adapter='lora:oil']")
    assert shelf.locator(f"{ROW} input[type=number]").first.input_value() == "0.4"


def test_a_picture_brings_its_stack_back(shelf, served, visit):
    pick(shelf, "oil", "ink")
    shelf.locator(f"{ROW} input[type=number]").first.fill("0.35")
    job = make(shelf, "a red house")
    (item,) = served.studio.jobs.required(job).results
    data = served.studio.gallery.get(item).path.read_bytes()
    other = visit()
    drop(other, "#result .mq-frame", data)
    other.wait_for_selector(f"{ROW}[data-adapter='lora:ink']")
    assert rows(other) == ["lora:oil", "lora:ink"]
    assert other.locator(f"{ROW} input[type=number]").first.input_value() == "0.35"


def test_a_stack_stays_over_a_reload(shelf):
    pick(shelf, "oil")
    shelf.locator(f"{ROW} input[type=number]").fill("0.7")
    with shelf.expect_response(lambda r: '"weight":0.7' in (r.request.post_data or "")):
        shelf.locator(f"{ROW} input[type=number]").blur()
    shelf.reload()
    shelf.wait_for_selector(f"{ROW}[data-adapter='lora:oil']")
    assert shelf.locator(f"{ROW} input[type=number]").input_value() == "0.7"


def test_an_adapter_is_tried_at_five_weights_and_one_of_them_taken(shelf, served):
    pick(shelf, "ink")
    shelf.click(f"{ROW} [aria-label^='Words, where']")
    shelf.click(".mq-try")
    shelf.wait_for_function("() => document.querySelectorAll('#grid button.mq-grid-cell').length === 5")
    jobs = served.studio.list_jobs(LOCAL_USER, limit=5)
    assert len({job.params["seed"] for job in jobs}) == 1
    weights = [[ref["weight"] for ref in job.params["adapters"]] for job in reversed(jobs)]
    assert weights == [[], [0.4], [0.7], [1.0], [1.3]]
    shelf.locator("#grid button.mq-grid-cell").nth(2).click()
    shelf.wait_for_function(f"() => document.querySelector('{ROW} input[type=number]').value === '0.7'")


def test_fields_are_compared_in_a_grid_with_a_sheet(shelf):
    shelf.click("#compare button")
    shelf.get_by_label("To the right: what changes").select_option("guidance_scale")
    shelf.get_by_label("To the right: values").fill("3, 5")
    shelf.get_by_label("Down: what changes").select_option("seed")
    shelf.get_by_label("Down: values").fill("1, 2")
    shelf.click("#grid-make")
    shelf.wait_for_function("() => document.querySelectorAll('#grid button.mq-grid-cell').length === 4")
    sheet = shelf.request.get(shelf.url + shelf.get_attribute("#grid a[download]", "href")[2:])
    assert Image.open(io.BytesIO(sheet.body())).width > 256
    shelf.click("#grid [aria-label='Close the grid']")
    shelf.wait_for_selector("#grid .mq-grid-view", state="hidden")


def test_a_grid_is_stopped_and_a_wrong_one_is_refused_beside_the_button(shelf, served):
    shelf.fill(PROMPT, "a slow house")
    shelf.click("#compare button")
    shelf.get_by_label("To the right: what changes").select_option("seed")
    shelf.get_by_label("To the right: values").fill("1, two")
    shelf.click("#grid-make")
    shelf.locator("#notice", has_text="is no number").wait_for()
    shelf.get_by_label("To the right: values").fill("1, 2, 3")
    shelf.click("#grid-make")
    shelf.click("#grid [aria-label^='Stop']")
    shelf.wait_for_function("() => !document.querySelector('#grid [aria-label^=Stop]')")
    assert {job.state for job in served.studio.list_jobs(LOCAL_USER, limit=3)} == {"cancelled"}

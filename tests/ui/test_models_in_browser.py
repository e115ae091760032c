"""The Models section and the top bar in a browser: finding, choosing, correcting, and saying why not."""

import json
import shutil
import struct

import pytest

from studio.settings import BUILTIN
from tests.library.headers import UPSCALERS, write

LORAS, STEPS = 130, 9
BROKEN = "cut-short"


def write_lora(file, words):
    """A file with the names and the header of a small LoRA."""
    shapes = {"lora_down": (4, 320), "lora_up": (320, 4)}
    block = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    tensors, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * shape[0] * shape[1]
        entry = {"dtype": "F16", "shape": shape, "data_offsets": [begin, end]}
        tensors[f"{block}.{name}.weight"] = entry
    header = json.dumps({"__metadata__": {"modelspec.trigger_phrase": words}, **tensors}).encode()
    file.write_bytes(struct.pack("<Q", len(header)) + header + bytes(end))


@pytest.fixture(scope="module", autouse=True)
def models(served):
    """A second checkpoint that takes STEPS steps, many LoRAs, and a checkpoint that ends too early."""
    if served.studio is None:
        pytest.skip("needs a studio of its own")
    folder = served.studio.settings.paths.models
    ink = folder / "checkpoints" / "ink"
    shutil.copytree(BUILTIN / "assets" / "starter" / "desk", ink)
    card = json.loads((ink / "card.json").read_text()) | {"name": "ink", "num_inference_steps": STEPS}
    (ink / "card.json").write_text(json.dumps(card))
    (folder / "checkpoints" / f"{BROKEN}.safetensors").write_bytes(struct.pack("<Q", 900) + b"{}")
    (folder / "loras").mkdir(exist_ok=True)
    for number in range(LORAS):
        name = "comet" if number % 40 == 0 else "style"
        write_lora(folder / "loras" / f"{name}-{number:03}.safetensors", f"{name} {number}")
    served.studio.library.refresh()


@pytest.fixture
def library(page):
    return open_models(page)


def open_models(page):
    page.get_by_role("tab", name="Models").click()
    page.wait_for_selector("#models .mq-model-open")
    return page


def search(page, words: str, found: int) -> None:
    page.fill("#models-search", words)
    page.wait_for_selector(f"#models [data-count='{found}'][data-cards='{found}']")
    page.wait_for_selector("#models .mq-models:not([data-stale])")


def show(page, name: str):
    """Open that model's panel and wait until it is complete; the panel."""
    page.fill("#models-search", name)
    page.locator("#models .mq-model-open", has_text=name).first.click()
    page.wait_for_selector("#model-details [data-full='1'] h2, #model-details[data-full='1'] h2")
    return page.locator(".mq-details")


def chosen(page, name: str) -> None:
    page.wait_for_function(
        "name => document.querySelector('#checkpoint .mq-chooser-name').textContent === name", arg=name
    )


def test_typing_narrows_the_list_and_nothing_found_has_a_way_out(library):
    search(library, "comet", 4)
    library.fill("#models-search", "no such thing")
    library.wait_for_selector("#models >> text=Nothing found")
    library.click("#models >> text=Show all")
    library.wait_for_selector("#models .mq-model-open")
    assert library.input_value("#models-search") == ""


def test_filters_say_how_many_there_are(library):
    kind = library.locator("#models .mq-kind[data-kind=checkpoint]")
    count = int(kind.locator(".mq-mono").inner_text())
    kind.click()
    library.wait_for_selector(f"#models [data-count='{count}']")
    library.locator("#models .mq-kind[data-kind='']").click()
    search(library, BROKEN, 1)
    library.click("#models-usable")
    library.wait_for_selector("#models >> text=Nothing found")


def test_pages_come_with_the_scroll_and_the_page_stays_small(library):
    held = "+document.querySelector('#models [data-cards]').dataset.cards"
    total = library.evaluate("+document.querySelector('#models [data-count]').dataset.count")
    assert total > LORAS
    library.wait_for_function(
        "() => { scrollTo(0, document.body.scrollHeight); return [...document.querySelectorAll("
        f"'#models .mq-model-name')].some(n => n.textContent === 'style-{LORAS - 1}'); }}"
    )
    assert library.evaluate(held) < 90


def test_choosing_in_models_changes_create_and_is_remembered(library):
    panel = show(library, "ink")
    library.click("#model-use")
    chosen(library, "ink")
    panel.get_by_text("In use").wait_for()
    library.click("#model-use")
    library.click("#more > button")
    library.wait_for_function(f"document.querySelector('#steps input[type=number]')?.value === '{STEPS}'")
    library.reload()
    library.wait_for_selector("#sketch-pad[data-ready]")
    chosen(library, "ink")


def test_a_star_survives_a_reload(library):
    search(library, "comet", 4)
    card = library.locator("#models .mq-model").nth(1)
    name = card.locator(".mq-model-name").inner_text()
    card.hover()
    card.get_by_role("button", name="Star", exact=True).click()
    library.wait_for_selector("#models .mq-tile-star[aria-pressed=true]")
    library.reload()
    library.wait_for_selector("#sketch-pad[data-ready]")
    open_models(library).click("#models-favourite")
    library.wait_for_selector("#models [data-count='1']")
    assert library.inner_text("#models .mq-model-name") == name


def test_what_was_guessed_can_be_corrected_and_taken_back(library):
    panel = show(library, "style-007")
    before = panel.locator(".mq-details-what").inner_text()
    library.click("#model-correct")
    library.select_option("#correct-kind", "upscaler")
    library.click("#correct-save")
    panel.get_by_text("Upscaler").first.wait_for()
    library.wait_for_selector("#models .mq-model-facts >> text=Upscaler")
    panel.get_by_text("You corrected the kind").wait_for()
    library.click("#model-correct")
    library.click("#correct-undo")
    library.wait_for_function("text => document.querySelector('.mq-details-what').textContent === text", arg=before)


def test_a_model_that_cannot_be_used_says_why_and_is_never_chosen(library):
    panel = show(library, BROKEN)
    why = panel.locator(".mq-why")
    assert "Why can't I use this?" in why.inner_text()
    assert len(why.locator("p").first.inner_text()) > 10
    assert library.locator("#model-use").count() == 0


def test_a_refused_choice_is_said_beside_the_chooser(page, served):
    before = page.inner_text("#checkpoint .mq-chooser-name")
    page.evaluate("window.maquette.emit('choose', {name: 'gone'})")
    refusal = page.wait_for_selector("#checkpoint .mq-refusal:not([hidden])")
    assert "gone" in refusal.inner_text()
    assert page.inner_text("#checkpoint .mq-chooser-name") == before
    page.click("#checkpoint-button")
    assert not refusal.is_visible()


def test_the_chooser_works_with_the_keyboard_alone(page):
    page.focus("#checkpoint-button")
    page.keyboard.press("Enter")
    page.wait_for_selector("#checkpoint-list [role=option]")
    page.keyboard.type("ink")
    page.wait_for_function("document.querySelectorAll('#checkpoint-list [role=option]').length === 1")
    page.keyboard.press("Enter")
    chosen(page, "ink")
    assert page.evaluate("document.activeElement.id") == "checkpoint-button"
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    assert not page.is_visible("#checkpoint-list")


def test_the_wall_works_with_the_keyboard_alone(library):
    search(library, "comet", 4)
    for _ in range(60):
        library.keyboard.press("Tab")
        if library.evaluate("document.activeElement.classList.contains('mq-model-open')"):
            break
    library.keyboard.press("ArrowRight")
    name = library.evaluate("document.activeElement.querySelector('.mq-model-name').textContent")
    assert name == library.locator("#models .mq-model-name").nth(1).inner_text()
    library.keyboard.press("Enter")
    library.wait_for_function("name => document.querySelector('.mq-details h2')?.textContent === name", arg=name)
    library.focus("#model-close")
    library.keyboard.press("Escape")
    library.wait_for_selector(".mq-details", state="detached")
    assert library.evaluate("document.activeElement.querySelector('.mq-model-name')?.textContent") == name


def test_a_card_that_is_drawn_anew_while_it_is_pressed_opens(library):
    search(library, "style-014", 1)
    box = library.locator("#models .mq-model-open").bounding_box()
    library.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    library.mouse.down()
    with library.expect_response("**/api/v1/models?*"):
        library.evaluate("() => window.maquette.emit('checkpoint')")
    library.wait_for_timeout(300)  # the answer would be shown by now
    library.mouse.up()
    library.wait_for_selector(".mq-details h2:has-text('style-014')")


def test_notes_and_tags_save_themselves(library, served):
    show(library, "style-011")
    library.fill("#model-tags", "ink, night")
    library.fill("#model-notes", "Best at 0.6.")
    library.wait_for_selector("#model-saved >> text=Saved.")
    (entry,) = [e for e in served.studio.library.entries() if e.name == "style-011"]
    assert (list(entry.tags), entry.notes) == (["ink", "night"], "Best at 0.6.")
    search(library, "night", 1)


def test_trigger_words_go_into_the_prompt(library):
    show(library, "style-012")
    library.fill("#model-trigger_words", "wet ink")
    library.focus("#models-search")
    library.wait_for_selector("#model-saved >> text=Saved.")
    show(library, "style-013")
    show(library, "style-012").get_by_role("button", name="wet ink", exact=True).click()
    assert library.input_value("#prompt textarea").endswith("wet ink")


def test_a_scan_says_how_far_it_is(library, served):
    scan = {"type": "scan", "found": 1, "total": 10_000}
    served.studio.events.publish({**scan, "state": "running", "done": 2310})
    library.wait_for_selector("#models >> text=Looking through your folders: 2,310 of 10,000")
    assert library.is_disabled("#models-scan")
    served.studio.events.publish({**scan, "state": "done", "done": 10_000})
    library.wait_for_selector("#models-scan:not([disabled])")


def test_look_again_finds_a_new_file(library, served):
    write_lora(served.studio.settings.paths.models / "loras" / "fresh.safetensors", "fresh")
    library.fill("#models-search", "fresh")
    library.wait_for_selector("#models >> text=Nothing found")
    library.click("#models-scan")
    library.wait_for_selector("#models .mq-model-name >> text=fresh")


def test_details_of_an_upscaler_come_from_the_worker_while_they_are_open(library, served):
    write(served.studio.settings.paths.models / "upscalers" / "enlarger.safetensors", UPSCALERS["Real-ESRGAN"])
    served.studio.library.refresh()
    panel = show(library, "enlarger")
    panel.locator("dd", has_text="4 times").wait_for()
    assert "3 in, 3 out" in panel.inner_text()
    assert "spandrel" in panel.inner_text()


def test_an_embedding_that_does_not_fit_says_so(library, served):
    write(served.studio.settings.paths.models / "embeddings" / "wide.safetensors", {"emb_params": (2, 1024)})
    served.studio.library.refresh()
    show(library, "wide").locator("#model-misfit", has_text="was made for").wait_for()


def test_the_meter_shows_what_is_loaded(page, served):
    memory = {"process": 2**30, "host_total": 16 * 10**9, "host_available": 12 * 10**9}
    models = [{"name": "ink", "kind": "checkpoint", "bytes": 19_000_000}]
    served.studio.events.publish({"type": "resident", "models": models, "memory": memory}, "local")
    page.wait_for_selector("#memory-meter >> text=4.0 GB / 16 GB")
    page.click("#memory-meter")
    page.wait_for_selector("#memory-list >> text=Free memory")
    page.keyboard.press("Escape")
    assert not page.is_visible("#memory-list")


def test_a_download_that_cannot_be_is_refused_beside_the_form(library):
    library.click("#models-get summary")
    library.click("#download-start")
    library.wait_for_selector("#downloads [role=alert] >> text=Say where the model is")
    library.fill("#download-source", "ftp://example.org/model.safetensors")
    library.click("#download-start")
    library.wait_for_function(
        "() => !/Say where/.test(document.querySelector('#downloads [role=alert]').textContent)"
        " && !document.querySelector('#downloads [role=alert]').hidden"
    )
    assert library.input_value("#download-source") == "ftp://example.org/model.safetensors"

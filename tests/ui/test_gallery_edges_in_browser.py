"""The gallery in a browser at its edges: empty, with words that look like code, with a file from outside."""

import pytest

from studio.messages import RawImage
from studio.params import GenerationRequest
from studio.services import Studio

HOSTILE = "<b onclick=alert(1)>not markup</b> ${document.title} {{value}}"
DROP = """async ([selector, url]) => {
    const data = new DataTransfer();
    data.items.add(new File([await (await fetch(url)).blob()], 'made.png', {type: 'image/png'}));
    document.querySelector(selector).dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true}));
}"""


@pytest.fixture
def studio(served) -> Studio:
    """The studio of the server, without any picture."""
    if served.studio is None:
        pytest.skip("needs a studio whose pictures may be deleted")
    for item in served.studio.gallery.page("local", limit=200):
        served.studio.gallery.delete(item.id)
    return served.studio


def add_picture(studio: Studio, prompt: str) -> int:
    """Put a finished picture into the gallery; its id."""
    params, _ = studio.resolve(GenerationRequest(prompt=prompt, seed=7))
    (item,) = studio.gallery.add(
        "made", "local", params, (RawImage(width=8, height=8, rgb=bytes(192), seed=7),), seconds={}, warnings=()
    )
    return item.id


def test_an_empty_gallery_says_what_will_be_here(studio, page):
    page.get_by_role("tab", name="Gallery").click()
    assert "No pictures yet" in page.wait_for_selector("#gallery .mq-none:not([hidden])").inner_text()


def test_a_dropped_png_gives_its_settings_back(studio, page):
    number = add_picture(studio, "a red tree")
    page.get_by_role("tab", name="Gallery").click()
    page.wait_for_selector("#gallery [data-ready]")
    page.evaluate(DROP, [".mq-gallery-grid", f"./api/v1/gallery/{number}/file"])
    page.wait_for_function("() => document.querySelector('#prompt textarea')?.value === 'a red tree'")


def test_words_of_others_stay_text(studio, visit):
    add_picture(studio, HOSTILE)
    page = visit()
    page.get_by_role("tab", name="Gallery").click()
    page.locator("#gallery .mq-tile-open").first.click()
    page.wait_for_selector(".mq-large[open] dd")
    assert page.inner_text(".mq-large-prompt") == HOSTILE
    page.locator(".mq-large").get_by_role("button", name="Open the settings that made this").click()
    page.wait_for_function("words => document.querySelector('#prompt textarea')?.value === words", arg=HOSTILE)

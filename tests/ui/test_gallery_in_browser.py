"""The gallery in a browser: search, stars, delete with undo, and many pictures."""

import pytest

from studio.access import LOCAL_USER
from studio.messages import RawImage

MANY = 400


@pytest.fixture(scope="module", autouse=True)
def pictures(served):
    """A shelf of small pictures, every tenth of a boat."""
    if served.studio is None:
        pytest.skip("needs a studio of its own")
    studio = served.studio
    from studio.params import GenerationRequest

    for name, count in (("house", MANY), ("boat", 12)):
        params, _ = studio.resolve(GenerationRequest(prompt=f"a red {name}", seed=1))
        images = (RawImage(width=8, height=8, rgb=bytes([i % 256, 80, 60] * 64), seed=i) for i in range(count))
        studio.gallery.add(f"shelf-{name}", LOCAL_USER.name, params, images)


@pytest.fixture
def gallery(page):
    page.get_by_role("tab", name="Gallery").click()
    page.wait_for_selector("#gallery .mq-tile")
    return page


def tiles(page) -> int:
    return page.locator("#gallery .mq-tile").count()


def test_pages_come_with_the_scroll_and_the_page_stays_small(gallery):
    held = "+document.querySelector('#gallery [data-count]').dataset.count"
    assert gallery.evaluate(held) < MANY
    gallery.wait_for_function(f"() => {{ scrollTo(0, document.body.scrollHeight); return {held} === {MANY + 12}; }}")
    assert tiles(gallery) < 150


def test_search_and_stars(gallery):
    gallery.fill("#gallery-search", "boat")
    gallery.wait_for_function("document.querySelectorAll('#gallery .mq-tile').length === 12")
    gallery.locator("#gallery .mq-tile").first.hover()
    gallery.locator("#gallery .mq-tile-star").first.click()
    gallery.wait_for_selector("#gallery .mq-tile-star[aria-pressed=true]")
    gallery.fill("#gallery-search", "")
    gallery.click("#gallery-starred")
    gallery.wait_for_function("document.querySelectorAll('#gallery .mq-tile').length === 1")
    gallery.fill("#gallery-search", "no such thing")
    gallery.wait_for_selector("#gallery >> text=Nothing found")


def test_delete_can_be_undone(gallery, served):
    first = gallery.locator("#gallery .mq-tile").first
    number = first.get_attribute("data-id")
    first.hover()
    first.get_by_label("Delete").click()
    gallery.wait_for_selector(f"#gallery .mq-tile[data-id='{number}']", state="detached")
    assert served.studio.gallery.get(int(number)) is None
    gallery.click(".mq-toast >> text=Undo")
    gallery.wait_for_selector(f"#gallery .mq-tile[data-id='{number}']")
    assert served.studio.gallery.get(int(number)) is not None


def test_a_picture_opens_large_and_gives_its_settings(gallery):
    gallery.fill("#gallery-search", "boat")
    gallery.wait_for_function("document.querySelectorAll('#gallery .mq-tile').length === 12")
    gallery.locator("#gallery .mq-tile-open").first.click()
    gallery.wait_for_selector("dialog[open] >> text=Checkpoint")
    gallery.keyboard.press("ArrowRight")
    gallery.click("dialog >> text=Open the settings that made this")
    gallery.wait_for_function("document.querySelector('#prompt textarea')?.value === 'a red boat'")
    assert gallery.locator("#prompt textarea").is_visible()


def test_the_settings_of_a_picture_come_with_the_picture(gallery):
    tile = gallery.locator("#gallery .mq-tile").nth(2)
    number = tile.get_attribute("data-id")
    tile.locator(".mq-tile-open").click()
    gallery.click("dialog >> text=Open the settings that made this")
    gallery.wait_for_selector(f"#result img[data-item='{number}']")


def test_a_file_is_opened_by_the_keyboard_too(gallery, tmp_path, served):
    item = served.studio.gallery.page("local", limit=1)[0]
    gallery.on("filechooser", lambda _: None)  # from here on the browser hands choosers over, which takes a moment
    gallery.locator("#gallery-search").focus()
    names = []
    while "Open a PNG" not in names and len(names) < 5:
        gallery.keyboard.press("Tab")
        names.append(gallery.evaluate("document.activeElement.textContent"))
    assert "Open a PNG" in names
    with gallery.expect_file_chooser() as chooser:
        gallery.keyboard.press("Enter")
    chooser.value.set_files(item.path)
    gallery.wait_for_function("p => document.querySelector('#prompt textarea')?.value === p", arg=item.prompt)

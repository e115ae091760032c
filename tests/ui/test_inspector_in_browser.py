"""The prompt inspector in a browser: tokens, weights, windows, steps, and what was not understood."""

import pytest

from tests.ui.hands import PROMPT
from tests.ui.test_paint_in_browser import drag, on_tab, pick
from tests.ui.test_regions_in_browser import PAD, words

BODY = "#inspect .mq-inspect-body"


@pytest.fixture
def opened(page):
    """The page with the inspector's fold open."""
    page.wait_for_selector("#inspect [data-ready]")
    page.fill(PROMPT, "")
    page.click("#inspect summary")
    return page


def read(page, prompt):
    """Type a prompt and wait until it is read."""
    page.fill(PROMPT, prompt)
    word = prompt.split()[-1].strip("()[]").split(":")[0]
    page.locator(f"{BODY} .mq-token", has_text=word).first.wait_for()


def texts(page, selector):
    return [node.strip() for node in page.locator(f"{BODY} {selector}").all_inner_texts()]


def test_tokens_show_their_weights(opened):
    read(opened, "a (red:1.5) [grey] house")
    assert texts(opened, ".mq-token > span") == ["a", "red", "grey", "house"]
    assert texts(opened, ".mq-token small") == ["1.5", "0.91"]
    assert texts(opened, ".mq-token[data-more] > span") == ["red"]
    assert texts(opened, ".mq-token[data-less] > span") == ["grey"]
    assert opened.locator("#inspect .mq-inspect-count").inner_text() == "4 of 4 tokens"


def test_how_weights_count_is_told_where_there_are_any(opened):
    read(opened, "a (red:1.5) house")
    assert texts(opened, ".mq-read-weighting") == ["Weights count as A1111."]
    read(opened, "a red tree")
    assert texts(opened, ".mq-read-weighting") == []


def test_windows_and_steps_are_told_apart(opened):
    read(opened, "one BREAK [two:three:0.5]")
    assert texts(opened, ".mq-window-name") == ["Window 1", "Window 2"] * 2
    steps = texts(opened, ".mq-span-steps .mq-hint")
    assert steps[0].startswith("Steps 1 to ")
    assert len(steps) == 2


def test_regions_are_read_with_their_colours(opened):
    read(opened, "a park")
    on_tab(opened, "regions")
    pick(opened, PAD, "Rectangle")
    drag(opened, PAD, (0.05, 0.3), (0.45, 0.9))
    opened.fill(words("coral"), "a (red:1.5) boat")
    opened.locator(f"{BODY} [data-region] .mq-token", has_text="boat").wait_for()
    assert texts(opened, "[data-region] h4") == ["Region"]
    assert texts(opened, "[data-region] .mq-token > span") == ["a", "red", "boat"]
    assert texts(opened, ".mq-read-weighting") == ["Weights count as A1111."]


def test_it_follows_what_is_typed_and_joined_prompts_have_their_weights(opened):
    read(opened, "first")
    read(opened, "sun :0.5 AND moon")
    assert texts(opened, "h4") == ["Prompt 1, counting 0.5 times", "Prompt 2"]


def test_mistakes_and_missing_things_are_told_while_one_types(opened):
    read(opened, "(open <lora:nowhere:0.5> __none__ end")
    warnings = " ".join(texts(opened, ".mq-read-warning"))
    assert "never closed" in warnings
    assert "There is no wildcard file none" in warnings
    assert "nowhere" in " ".join(texts(opened, ".mq-network[data-missing]"))
    assert opened.input_value(PROMPT) == "(open <lora:nowhere:0.5> __none__ end"


def test_a_closed_fold_asks_nothing(page):
    page.wait_for_selector("#inspect [data-ready]")
    page.fill(PROMPT, "quiet")
    page.wait_for_function("() => document.querySelector('#words')")
    assert page.evaluate(f"document.querySelector('{BODY}').childElementCount") == 0

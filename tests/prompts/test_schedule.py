from itertools import pairwise

import pytest

from studio.prompts.schedule import schedule

CASES = {  # of ten steps, as AUTOMATIC1111's own tests have them
    "test": [(10, "test")],
    "a [b:3]": [(3, "a "), (10, "a b")],
    "a [b: 3]": [(3, "a "), (10, "a b")],
    "a [[[b]]:2]": [(2, "a "), (10, "a [[b]]")],
    "[(a:2):3]": [(3, ""), (10, "(a:2)")],
    "a [b : c : 1] d": [(1, "a b  d"), (10, "a  c  d")],
    "a[b:[c:d:2]:1]e": [(1, "abe"), (2, "ace"), (10, "ade")],
    "a [unbalanced": [(10, "a [unbalanced")],
    "a [b:.5] c": [(5, "a  c"), (10, "a b c")],
    "((a][:b:c [d:3]": [(3, "((a][:b:c "), (10, "((a][:b:c d")],
    "[a::4] b": [(4, "a b"), (10, " b")],
    "[:b:4]": [(4, ""), (10, "b")],
    "[a:b:0]": [(10, "b")],
    "[a:b:-3]": [(10, "b")],
    "[a:b:1.0]": [(10, "a")],
    "[a:b:99]": [(10, "a")],
    "[a:b:1e999]": [(10, "a")],
    "[a:b]": [(10, "[a:b]")],
    "[x [a:b] y:3]": [(10, "[x [a:b] y:3]")],
    r"\[a:b:3\]": [(10, r"\[a:b:3\]")],
    "(a|b) [c:3]": [(3, "(a|b) "), (10, "(a|b) c")],
}


def by_step(text, steps):
    """What is said at each step."""
    spans, said = schedule(text, steps), []
    for last, words in spans:
        said += [words] * (last - len(said))
    return said


@pytest.mark.parametrize("text", CASES)
def test_words_change_after_the_step_that_a1111_changes_them_after(text):
    assert schedule(text, 10) == CASES[text]


def test_turns_are_taken_from_the_first_option_on():
    assert by_step("[a|(b:1.1)]", 10) == ["a", "(b:1.1)"] * 5
    assert by_step("[fe|]male", 5) == ["female", "male", "female", "male", "female"]
    assert by_step("[fe|||]male", 5) == ["female", "male", "male", "male", "female"]


def test_steps_of_a_second_pass_are_counted_on():
    assert schedule("a [b:.5] c", 10, earlier=10) == [(10, "a b c")]
    assert schedule("a [b:1.5] c", 10, earlier=10) == [(5, "a  c"), (10, "a b c")]
    assert schedule("a [b:13] c", 10, earlier=10) == [(3, "a  c"), (10, "a b c")]


def test_the_last_span_ends_with_the_last_step_and_none_repeats():
    spans = schedule("[a|a] [b:c:.2] [d::7]", 20)
    assert spans[-1][0] == 20
    assert all(one[1] != other[1] and one[0] < other[0] for one, other in pairwise(spans))


@pytest.mark.parametrize(
    "text",
    [
        "[" * 1000 + "a" + ":3]" * 1000,
        "[a|" * 20_000,
        "([" * 20_000 + ")]" * 20_000,
        "(a [b:" * 9000 + ":3])" * 9000,
        "cat, " * 20_000,
        "[a:b:" + "1" * 100_000,
    ],
)
def test_what_is_deep_or_long_is_read_without_trouble(text):
    assert schedule(text, 30)[-1][0] == 30


def test_words_without_edits_stay_as_typed():
    text = r"a (house:1.2), [sky], \(x\) :) {a} <b> a|b c:d"
    assert schedule(text, 7) == [(7, text)]

import pytest

from studio.prompts.attention import BREAK, parse_attention

CASES = {  # as AUTOMATIC1111's parser reads them, v1.10.1
    "normal text": [("normal text", 1.0)],
    "an (important) word": [("an ", 1.0), ("important", 1.1), (" word", 1.0)],
    "(unbalanced": [("unbalanced", 1.1)],
    r"\(literal\]": [("(literal]", 1.0)],
    "(unnecessary)(parens)": [("unnecessaryparens", 1.1)],
    "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).": [
        ("a ", 1.0),
        ("house", 1.573),
        (" ", 1.1),
        ("on", 1.0),
        (" a ", 1.1),
        ("hill", 0.55),
        (", sun, ", 1.1),
        ("sky", 1.4641),
        (".", 1.1),
    ],
    "": [("", 1.0)],
    "()": [("", 1.0)],
    "(a:1.2)": [("a", 1.2)],
    "(a: 1.2 )": [("a", 1.2)],
    "(a:1.2": [("a:1.2", 1.1)],
    "a:1.2)": [("a:1.2)", 1.0)],
    "(a:-0.5)": [("a", -0.5)],
    "(a:0)": [("a", 0.0)],
    "(a:.5)": [("a", 0.5)],
    "(x:+1.5)": [("x", 1.5)],
    "[a:1.2]": [("a:1.2", 1 / 1.1)],
    "[[a]]": [("a", 1 / 1.21)],
    "((a))": [("a", 1.21)],
    "(a, (b:1.5), c:0.8)": [("a, ", 0.8), ("b", 1.2), (", c", 0.8)],
    "(a:b:1.3)": [("a:b", 1.3)],
    "(a::1.2)": [("a:", 1.2)],
    "(a:1.1:1.2)": [("a:1.1", 1.2)],
    "(a:1.2)(b:1.2)": [("ab", 1.2)],
    ")a(": [(")a", 1.0)],
    r"a\b": [("ab", 1.0)],
    "a BREAK b": [("a", 1.0), BREAK, ("b", 1.0)],
    "a BREAK (b:1.2)": [("a", 1.0), BREAK, ("", 1.0), ("b", 1.2)],
    "BREAK a": [("", 1.0), BREAK, ("a", 1.0)],
    "aBREAKb": [("aBREAKb", 1.0)],
    "[a|b]": [("a|b", 1 / 1.1)],
    "[a:b:0.5]": [("a:b:0.5", 1 / 1.1)],
    "<lora:x:0.8> (a:1.1)": [("<lora:x:0.8> ", 1.0), ("a", 1.1)],
    "(日本:1.2)": [("日本", 1.2)],
    "(a [b) c]": [("a ", 1.1), ("b", 1.0), (" c", 1 / 1.1)],
}


def same(fragments, expected):
    return [words for words, _ in fragments] == [words for words, _ in expected] and [
        weight for _, weight in fragments
    ] == pytest.approx([weight for _, weight in expected])


@pytest.mark.parametrize("prompt", CASES)
def test_prompts_are_read_as_a1111_reads_them(prompt):
    assert same(parse_attention(prompt), CASES[prompt])


def test_a_break_in_brackets_is_a_break():
    fragments = parse_attention("(a BREAK b:1.3)")
    assert fragments[1] is BREAK
    assert fragments == [("a", 1.3), BREAK, ("b", 1.3)]


def test_a_word_that_only_spells_break_is_a_word():
    fragments = parse_attention(r"(BRE\AK:-1)")
    assert fragments == [("BREAK", -1.0)]
    assert fragments[0] is not BREAK


@pytest.mark.parametrize("prompt", ["(a:1.2.3)", "(a:.)", "(a:...)"])
def test_a_number_that_is_none_is_text(prompt):
    ((words, weight),) = parse_attention(prompt)
    assert words == prompt[1:-1]
    assert weight == pytest.approx(1.1)


@pytest.mark.parametrize(
    "prompt",
    [
        "(" * 1000 + "deep" + ")" * 1000,
        "[" * 50_000 + "deep" + "]" * 50_000,
        "([" * 20_000 + "crossed" + ")]" * 20_000,
        "(a:" * 30_000,
        "(a:" + "1" * 200_000,
        ": " * 50_000 + " " * 100_000,
        "word, " * 20_000,
    ],
)
def test_what_is_deep_or_long_is_read_without_trouble(prompt):
    fragments = parse_attention(prompt)
    assert sum(len(words) for words, _ in fragments) <= len(prompt)


def test_the_words_come_out_in_their_order():
    fragments = parse_attention("one (two [three:1.5) four] five (six:0.5)")
    assert "".join(words for words, _ in fragments) == "one two three four five six"

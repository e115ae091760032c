import pytest

from studio.prompts.attention import parse_attention
from studio.prompts.chunks import Cutter
from studio.prompts.script import read_script

COMMA = 0


def tokenize(text):
    """A word a token, its id its length; a comma is 0."""
    return [COMMA if word == "," else len(word) for word in text.replace(",", " , ").split()]


def cut(prompt, size=30, **embeddings):
    windows = Cutter(tokenize, size, 99, embeddings).cut(parse_attention(prompt))
    return [[token.id for token in window] for window in windows]


def test_a_short_prompt_is_one_window():
    assert cut("one three") == [[3, 5]]
    assert cut("") == [[]]


def test_a_full_window_is_followed_by_another():
    assert [len(window) for window in cut("word " * 70)] == [30, 30, 10]
    assert [len(window) for window in cut("word " * 30)] == [30]


def test_what_follows_a_near_comma_moves_with_the_word_that_does_not_fit():
    windows = cut("a " * 20 + ", " + "bb " * 10)
    assert windows == [[1] * 20 + [COMMA], [2] * 10]


@pytest.mark.parametrize(("before", "moved"), [(10, True), (9, False)])
def test_a_comma_is_near_within_twenty_tokens(before, moved):
    windows = cut("a " * before + ", " + "bb " * 40)
    assert len(windows[0]) == (before + 1 if moved else 30)


def test_a_comma_that_does_not_fit_begins_the_next_window():
    assert cut("a " * 30 + ", b") == [[1] * 30, [COMMA, 1]]


def test_break_ends_a_window():
    assert cut("one BREAK three") == [[3], [5]]
    assert cut("one BREAK BREAK three") == [[3], [], [5]]
    assert cut("one BREAK") == [[3]]


def test_weights_go_with_the_tokens():
    (window,) = Cutter(tokenize, 30, 99).cut(parse_attention("a (bb:1.5) [ccc]"))
    assert [token.weight for token in window] == pytest.approx([1, 1.5, 1 / 1.1])
    (window,) = Cutter(tokenize, 30, 99).cut(parse_attention("(" * 1000 + "a" + ")" * 1000))
    assert window[0].weight == 100


def test_an_embedding_takes_as_many_places_as_it_has_vectors():
    (window,) = Cutter(tokenize, 30, 99, {"my style": 3}).cut(parse_attention("a (My Style:0.5), b"))
    assert [(token.id, token.embedding, token.row) for token in window] == [
        (1, "", 0),
        (99, "my style", 0),
        (99, "my style", 1),
        (99, "my style", 2),
        (COMMA, "", 0),
        (1, "", 0),
    ]
    assert window[2].weight == 0.5


def test_an_embedding_is_not_parted():
    assert [len(window) for window in cut("a " * 28 + "many b", many=5)] == [28, 6]
    assert [len(window) for window in cut("a many", many=70)] == [1, 30, 30, 10]


def test_a_prompt_of_twenty_thousand_words_is_cut():
    assert sum(map(len, cut("word, " * 20_000))) == 40_000


def test_a_script_has_a_line_for_each_part_and_its_changes():
    script = read_script("a [b:c:2] AND d :0.5", "[x|y]", 4)
    assert [(line.weight, list(line.spans)) for line in script.told] == [
        (1.0, [(2, "a b "), (4, "a c ")]),
        (0.5, [(4, " d")]),
    ]
    assert [last for last, _ in script.untold.spans] == [1, 2, 3, 4]
    assert set(script.texts()) == {"a b ", "a c ", " d", "x", "y"}

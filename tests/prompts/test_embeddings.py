import pytest

from studio.prompts.embeddings import find_embeddings, near_misses

NAMES = ("bad-hands", "bad-hands-5", "bad", "EasyNegative", "oil paint", "x", "style_v2", "日本", "c++")


def found(text, names=NAMES):
    return [named.name for named in find_embeddings(text, names)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("a plain prompt", []),
        ("bad-hands", ["bad-hands"]),
        ("a bad-hands-5, cat", ["bad-hands-5"]),
        ("a bad-hands-55", ["bad-hands"]),
        ("bad bad-hands", ["bad", "bad-hands"]),
        ("easynegative EASYNEGATIVE", ["EasyNegative", "EasyNegative"]),
        ("easynegatives easynegative2", []),
        ("(easynegative:1.2)", ["EasyNegative"]),
        ("[bad-hands|x]", ["bad-hands", "x"]),
        ("oil\n  paint", ["oil paint"]),
        ("oil, paint", []),
        ("style_v2,style_v22 my_style_v2", ["style_v2"]),
        ("日本,", ["日本"]),
        ("c++ c+", ["c++"]),
        ("embedding:bad-hands", ["bad-hands"]),
        ("(embedding:bad-hands.pt:1.2)", ["bad-hands"]),
        ("Embedding:easynegative.safetensors,", ["EasyNegative"]),
        ("embedding:bad-handsome", []),
        ("embedding: x", ["x"]),
    ],
)
def test_names_are_found_as_words_of_their_own_the_longest_first(text, expected):
    assert found(text) == expected


def test_places_are_those_in_the_text():
    text = "(embedding:bad-hands.pt:1.2), EASYnegative."
    assert [text[n.start : n.end] for n in find_embeddings(text, NAMES)] == ["embedding:bad-hands.pt", "EASYnegative"]


def test_without_names_nothing_is_found():
    assert found("bad-hands", ()) == []
    assert near_misses("bad-hand", ()) == []


def said(text, names=NAMES):
    return [miss.sentence for miss in near_misses(text, names)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bad-hand", ["No embedding is called bad-hand; did you mean bad-hands?"]),
        ("bda-hands-5", ["No embedding is called bda-hands-5; did you mean bad-hands-5?"]),
        ("style_v3", ["No embedding is called style_v3; did you mean style_v2?"]),
        ("(easy-negative:1.1)", ["No embedding is called easy-negative; did you mean EasyNegative?"]),
        ("embedding:easynegativ.pt", ["No embedding is called easynegativ; did you mean EasyNegative?"]),
        ("bad-hands-55", ["No embedding is called bad-hands-55; did you mean bad-hands-5?"]),
        ("embedding:nothing", ["No embedding is called nothing."]),
        ("bad-hands, style_v2", []),
        ("hands bands easynegativ styles x-ray 1970s 4k close-up", []),
        ("<lora:style_v3:1> cat", []),
        ("style_v3 style_v3", ["No embedding is called style_v3; did you mean style_v2?"]),
    ],
)
def test_only_what_looks_like_a_name_is_asked_about(text, expected):
    assert said(text) == expected


def test_a_long_prompt_and_thousands_of_names_are_quick():
    names = [f"embedding-{i:05}" for i in range(5000)]
    text = "a cat, " * 20_000 + "embedding-04321 embedding-0432x"
    assert found(text, names) == ["embedding-04321"]
    assert len(near_misses(text, names)) == 1

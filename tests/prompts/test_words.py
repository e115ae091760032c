import pytest

from studio.prompts.words import unknown_words

KNOWN = ("a", "house", "red", "under", "night", "sky", "light blue", "t-shirt")


def words(prompt, known=KNOWN):
    return [word for word, _, _ in unknown_words(prompt, known)]


def test_a_prompt_of_known_words_has_none():
    assert words("A red house, under a NIGHT sky.") == []


def test_unknown_words_come_in_order_with_their_places():
    prompt = "a castle, (dragons:1.2)"
    found = unknown_words(prompt, KNOWN)
    assert [word for word, _, _ in found] == ["castle", "dragons"]
    assert all(prompt[start:end] == word for word, start, end in found)


@pytest.mark.parametrize(
    "prompt",
    [
        "(red:1.2) [house] ((sky:0.5))",
        r"\(red\) house",
        "red house BREAK night AND sky",
        "3 house 4k 3d 1.5",
        "red-night house's sky",
        "light t-shirt blue",
        "<lora:some_style:0.8> red house",
        "",
        "!!! ,,, \n ... 😀",
        "red,house;sky/night",
        "[red:house:0.5] [sky::3] [night|sky|]",
        "{red|2::house} {2$$ and $$red|sky} __colours/deep sea__",
        "red # a comment\nhouse /* another */ <style:film>",
    ],
)
def test_weights_numbers_punctuation_and_case_are_passed_over(prompt):
    assert words(prompt) == []


def test_other_alphabets_are_words_too():
    assert words("ein rotes Häuschen, дом, 家") == ["ein", "rotes", "Häuschen", "дом", "家"]


def test_the_names_of_embeddings_are_no_unknown_words():
    assert words("bad-hands house") == ["bad-hands"]
    assert unknown_words("bad-hands house castle", KNOWN, ["bad-hands"]) == [("castle", 16, 22)]


def test_each_place_of_a_word_is_found():
    assert [start for _, start, _ in unknown_words("cat cat", KNOWN)] == [0, 4]


def test_with_nothing_known_every_word_is_unknown():
    assert words("a b", ()) == ["a", "b"]

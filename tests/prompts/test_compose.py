import pytest

from studio.prompts.compose import split_and


def test_parts_are_weighed_as_a1111_weighs_them():
    parts = split_and("cat :1.2 AND dog AND bird :-0.5")
    assert [(words.strip(), weight) for words, weight in parts] == [("cat", 1.2), ("dog", 1.0), ("bird", -0.5)]


@pytest.mark.parametrize("prompt", ["a photo", "16:9", "SAND and LAND", "(cat:1.2)", "", "a and b"])
def test_a_prompt_without_and_is_one_part_as_typed(prompt):
    assert split_and(prompt) == [(prompt, 1.0)]


def test_a_weight_in_brackets_is_of_the_words_not_of_the_part():
    assert split_and("(cat:1.2) AND dog")[0] == ("(cat:1.2) ", 1.0)


def test_a_part_may_be_empty():
    assert [weight for _, weight in split_and("AND cat :.5")] == [1.0, 0.5]


def test_long_prompts_are_split_without_trouble():
    assert len(split_and("a: 1 AND " * 20_000)) == 20_001
    assert split_and("AND" + ":" * 100_000 + " " * 100_000)[-1][1] == 1.0

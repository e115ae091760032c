from collections import Counter

import pytest

from studio.prompts.expand import expand
from studio.prompts.wildcards import wildcard_files

FILES = {"animals": ["cat", "dog", "{red|blue} bird"], "nested": ["__animals__!"], "loop": ["a __loop__"], "none": []}


def drawn(template, times=200):
    return Counter(expand(template, seed, FILES.get)[0] for seed in range(times))


def test_one_option_is_drawn_and_each_comes_up():
    assert set(drawn("a {red|blue|} house")) == {"a red house", "a blue house", "a  house"}


def test_the_same_seed_draws_the_same():
    template = "{a|b|c|d} __animals__ {2$$x|y|z}"
    assert expand(template, 5, FILES.get) == expand(template, 5, FILES.get)
    assert expand("{a|b|c|d}" * 12, 1)[0] == "baadbaaadccc"


def test_several_options_differ():
    found = set(drawn("{2$$a|b|c}"))
    assert found == {f"{one}, {other}" for one in "abc" for other in "abc" if one != other}
    assert set(drawn("{1-2$$ and $$a|b}")) == {"a", "b", "a and b", "b and a"}
    assert set(drawn("{5$$$$a|b}")) == {"ab", "ba"}
    assert set(drawn("{-1$$a}")) == {"", "a"}
    assert set(drawn("{1-$$a|b}")) == {"a", "b", "a, b", "b, a"}


def test_a_weight_makes_an_option_come_up_more_often():
    found = drawn("{9::a|b}", 500)
    assert 400 < found["a"] < 490
    assert set(drawn("{0::a|b}")) == {"b"}


def test_braces_nest():
    assert set(drawn("{{a|b}|c {d|e}}")) == {"a", "b", "c d", "c e"}


@pytest.mark.parametrize("template", ["", "{a}", "{}", "a {b", "b} a", r"\{a|b\}", "a|b", "a_b __", "__ a __", "_a_"])
def test_what_is_no_template_stays_as_typed(template):
    assert expand(template, 0) == (template, [])


def test_a_line_of_a_file_is_drawn_and_expanded():
    assert set(drawn("a __animals__")) == {"a cat", "a dog", "a red bird", "a blue bird"}
    assert set(drawn("__nested__")) == {"cat!", "dog!", "red bird!", "blue bird!"}
    assert drawn("__none__") == {"": 200}


def test_several_lines_of_a_file_differ():
    assert all(len(set(text.split(" & "))) == 2 for text in drawn("{2$$ & $$__animals__}"))


def test_a_missing_file_is_told_once_and_its_name_stays():
    text, notes = expand("__nothing__ {__nothing__|__nothing__}", 0)
    assert text == "__nothing__ __nothing__"
    assert len(notes) == 1
    assert "nothing" in notes[0]


def test_a_file_that_holds_itself_ends():
    text, notes = expand("__loop__", 0, FILES.get)
    assert text == "a "
    assert "itself" in notes[0]


def test_files_that_multiply_end():
    files = {str(i): [" ".join([f"__{i + 1}__"] * 50)] for i in range(10)}
    text, notes = expand("__0__", 0, files.get)
    assert len(text) < 1_000_000
    assert "too much" in notes[-1]


@pytest.mark.parametrize(
    "template",
    ["{" * 1000 + "a" + "}" * 1000, "{a|" * 50_000 + "}" * 50_000, "{2$$" * 30_000, "__a" * 50_000, "word, " * 20_000],
)
def test_what_is_deep_or_long_is_expanded_without_trouble(template):
    assert isinstance(expand(template, 0, FILES.get)[0], str)


@pytest.fixture
def lookup(tmp_path):
    folder = tmp_path / "wildcards"
    (folder / "colours").mkdir(parents=True)
    (folder / "Animals.txt").write_text("\ufeffcat\n\n# not this\n  dog  \n", encoding="utf-8")
    (folder / "colours" / "warm.txt").write_text("red", encoding="utf-8")
    (folder / "colours" / "cold.txt").write_bytes(b"bl\xfcue")
    (tmp_path / "secret.txt").write_text("x", encoding="utf-8")
    return wildcard_files(folder)


def test_files_are_found_by_name_folder_and_star(lookup):
    assert lookup("animals") == ["cat", "dog"]
    assert lookup("colours/warm") == lookup(r"colours\WARM") == ["red"]
    assert len(lookup("colours/*")) == 2
    assert len(lookup("*")) == 4


@pytest.mark.parametrize("name", ["../secret", "secret", "/etc/passwd", "c:/x", "colours"])
def test_other_files_are_not(lookup, name):
    assert lookup(name) is None


def test_a_folder_that_is_not_there_has_no_files(tmp_path):
    assert wildcard_files(tmp_path / "none")("a") is None

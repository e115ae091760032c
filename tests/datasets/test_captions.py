import pytest

from studio.datasets.captions import edited
from studio.errors import InvalidRequestError

CAPTIONS = {"a": "a cup, blue", "b": "a bowl", "c": None}


@pytest.mark.parametrize(
    ("do", "text", "replacement", "wanted"),
    [
        ("prefix", "sks", "", {"a": "sks a cup, blue", "b": "sks a bowl"}),
        ("prefix", "sks, ", "", {"a": "sks, a cup, blue", "b": "sks, a bowl"}),
        ("suffix", ", in ink", "", {"a": "a cup, blue, in ink", "b": "a bowl, in ink"}),
        ("replace", "a ", "the ", {"a": "the cup, blue", "b": "the bowl"}),
        ("remove", "blue", "", {"a": "a cup"}),
        ("remove", "cup, ", "", {"a": "a blue"}),
        ("fill", "a sks thing", "", {"c": "a sks thing"}),
        ("replace", "nothing", "x", {}),
    ],
)
def test_bulk_edits_change_what_they_say_and_no_more(do, text, replacement, wanted):
    assert edited(CAPTIONS, do, text, replacement) == wanted


@pytest.mark.parametrize(("do", "text", "field"), [("shout", "x", "do"), ("prefix", "  ", "text")])
def test_an_edit_that_is_none_is_refused(do, text, field):
    with pytest.raises(InvalidRequestError) as refused:
        edited(CAPTIONS, do, text, "")
    assert refused.value.field == field

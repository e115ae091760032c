"""The form's stack of adapters and requests say the same."""

import pytest

from studio.library.card import Card
from studio.params import AdapterRef
from studio.ui.adapters import clean_stack, counted, empty_stack, stack_of
from studio.ui.form import defaults, from_request, to_request

CARD = Card(name="starter", native_size=128)
INK = AdapterRef(name="ink", weight=0.5, text_weight=0.0, blocks=(("unet.mid_block", 0.5),), end=0.6, curve="fall")
MOOD = AdapterRef(name="mood", kind="hypernetwork")


def test_a_stack_read_into_a_request_and_back_is_the_same():
    stack = stack_of([INK, MOOD])
    request = to_request(defaults(CARD) | {"adapters": stack})
    assert request.adapters == (INK, MOOD)
    assert from_request(request, CARD)["adapters"] == clean_stack(stack) == stack


def test_rows_that_are_off_are_not_asked_for_and_one_may_be_heard_alone():
    stack = stack_of([INK, MOOD])
    stack["rows"][0]["on"] = False
    assert [row["name"] for row in counted(stack)] == ["mood"]
    stack["solo"] = "lora:ink"
    assert [row["name"] for row in counted(stack)] == ["ink"]


def test_what_stands_twice_in_a_request_has_the_sum_of_its_weights():
    (row,) = stack_of([INK, INK])["rows"]
    assert row["weight"] == 1.0


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {"rows": 3},
        {"rows": [3, {"name": 4}, {"name": "x", "weight": 9}, {"weight": 1}]},
        {"rows": [{"name": "x", "weight": float("nan")}]},
        {"solo": "lora:gone", "rows": []},
    ],
)
def test_what_cannot_be_read_is_passed_over(value):
    assert clean_stack(value) == empty_stack()


def test_a_row_without_settings_counts_as_trained():
    (row,) = clean_stack({"rows": [{"name": "ink"}, {"name": "ink", "weight": 2}]})["rows"]
    assert (row["on"], row["weight"], row["kind"]) == (True, 1.0, "lora")

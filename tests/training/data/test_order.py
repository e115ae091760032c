"""Processes that share a run see together what one with a larger batch sees."""

import pytest

from studio.training.data.order import Order
from tests.training.data.kit import params

CHANCE = {"flip": True, "crop": "random", "caption_dropout": 0.3, "seed": 4}


@pytest.mark.parametrize("counts", [[7], [4, 1, 3]])
@pytest.mark.parametrize("processes", [2, 3])
def test_batches_of_processes_make_one_that_is_as_large_as_all(counts, processes):
    whole = Order(params(batch=2 * processes, **CHANCE), counts)
    parts = Order(params(batch=2, processes=processes, **CHANCE), counts)
    for index in range(3 * sum(counts)):
        numbers = range(index * processes, (index + 1) * processes)
        batches = [parts.batch(number) for number in numbers]
        assert {bucket for bucket, _ in batches} == {whole.batch(index)[0]}
        assert [row for _, rows in batches for row in rows] == whole.batch(index)[1]
        assert [chance for number in numbers for chance in parts.chances(number)] == whole.chances(index)
        assert [row for number in numbers for row in parts.class_rows(number, 5)] == whole.class_rows(index, 5)

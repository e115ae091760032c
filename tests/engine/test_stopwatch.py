"""Spans are measured where they run, and told as means."""

import time

import torch

from studio.engine.stopwatch import Stopwatch


def test_what_was_not_done_cost_nothing():
    assert Stopwatch(torch.device("cpu")).means() == {}


def test_a_name_has_the_mean_of_its_spans():
    watch = Stopwatch(torch.device("cpu"))
    begun = time.perf_counter()
    for _ in range(3):
        with watch("depth"):
            sum(range(1000))
    with watch("pose"):
        pass
    whole, means = time.perf_counter() - begun, watch.means()
    assert set(means) == {"depth", "pose"}
    assert 0 < 3 * means["depth"] + means["pose"] <= whole
    assert watch.means() == means

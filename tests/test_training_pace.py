import pytest

from studio.training_pace import LATE_SAVE, MEASURE, SAMPLE, SAVE, STEP, Pace, due
from studio.training_params import TrainingParams


def params(**given):
    return TrainingParams(**{"name": "cup", "steps": 20} | given)


@pytest.mark.parametrize("every", [(0, 0, 0), (5, 4, 3), (2, 2, 2), (30, 20, 7), (7, 0, 1)])
@pytest.mark.parametrize("step", [0, 1, 6, 19, 20])
def test_what_is_due_is_what_a_run_comes_to(every, step):
    names = dict(zip(("save_every", "measure_every", "sample_every"), every, strict=True))
    run = params(**names)

    def at(name, first):
        return {n for n in range(max(step, first), 21) if n == 20 or (names[name] and n % names[name] == 0)}

    saves, measures = at("save_every", 1), at("measure_every", 0)
    assert due(run, step) == {
        STEP: 20 - step,
        MEASURE: len(measures),
        SAMPLE: len(at("sample_every", 1)),
        SAVE: len(saves & measures),
        LATE_SAVE: len(saves - measures),
    }


def test_what_happens_counts_more_than_what_was_expected():
    pace = Pace()
    pace.expect(SAMPLE, 8.0)
    assert pace.costs[SAMPLE] == 8.0
    pace.took(SAMPLE, 4.0)
    pace.expect(SAMPLE, 100.0)
    assert (pace.costs[SAMPLE], pace.spent[SAMPLE]) == (6.0, 4.0)
    pace.took(STEP, 1.0)
    assert pace.costs[STEP] == 1.0


def test_the_time_left_counts_every_part_and_comes_to_none():
    pace = Pace({STEP: 1.0, MEASURE: 10.0, SAMPLE: 5.0, SAVE: 2.0})
    run = params(save_every=5, measure_every=10, sample_every=20)
    assert pace.left(run, 0) == 20 + 3 * 10 + 5 + 2 * 2 + 2 * (2 + 10)
    assert pace.left(run, 0, marked=True) == pace.left(run, 0) - 10
    assert pace.left(run, 20) == 10 + 5 + 2
    assert pace.left(run, 20, marked=True) == 0

from dataclasses import replace

import numpy as np
import pytest

from studio.training.evaluation.scores import Scale, Scores
from studio.training.evaluation.verdict import (
    BEST,
    LEARNING,
    MEMORISING,
    TIE,
    Change,
    Measured,
    best_step,
    change,
    smoothed,
    verdict,
)
from tests.training.evaluation.series import BEST_LENGTHS, SERIES, scale_of

BASE = Scores(similarity=0.0, nearest=0.1, obedience=0.5, drift=0.0)
SCALE = Scale(BASE, among=0.5, twins=0.6)
FALLING = [0.6, 0.5, 0.42, 0.37]
TURNED = [*FALLING, 0.36, 0.37, 0.39, 0.42]
CLIMBED = [*TURNED, 0.6, 0.79, 0.82]


def history(similarities, held=None, **scores):
    """Measurements every ten steps; without `held` nothing is held out."""
    held = held or [None] * len(similarities)
    rows = zip(similarities, held, strict=True)
    made = {"nearest": 0.5, "obedience": 0.5, "drift": 0.0} | scores
    return [Measured(10 * i, Scores(similarity=s, **made), 0.1, h) for i, (s, h) in enumerate(rows)]


def level(held):
    return history([0.4] * len(held), held)


def noisy(held, spread, seed=0):
    """The same with sixteen parts each, of which every measurement shakes its own by that share."""
    rng = np.random.default_rng(seed)
    made = []
    for one in level(held):
        parts = one.held_loss * np.exp(spread * rng.standard_normal(16))
        made.append(Measured(one.step, one.scores, 0.1, float(parts.mean()), tuple(parts)))
    return made


@pytest.mark.parametrize(("held", "said"), [(FALLING, LEARNING), (TURNED, BEST), (CLIMBED, MEMORISING)])
def test_a_held_out_loss_falls_turns_and_climbs(held, said):
    assert verdict(level(held), SCALE).verdict == said
    assert verdict([Measured(one.step, None, 0.1, one.held_loss) for one in level(held)], None).verdict == said


def test_of_twelve_measured_runs_eleven_are_told_right():
    """A quarter of the best length, that length, and five times as much, of each subject; the bar of the bench."""
    right = 0
    for name, best in BEST_LENGTHS.items():
        for share, wanted in {0.25: LEARNING, 1: BEST, 5: MEMORISING}.items():
            rows = [one for one in SERIES[name] if one.step <= share * best]
            right += verdict(rows, scale_of(name)).verdict == wanted
    assert right >= 11


@pytest.mark.parametrize("name", SERIES)
def test_a_measured_run_is_never_said_to_memorise_before_its_best_length_and_always_long_after(name):
    rows, said = SERIES[name], []
    for end in range(1, len(rows) + 1):
        said.append((rows[end - 1].step, verdict(rows[:end], scale_of(name)).verdict))
    assert all(word != MEMORISING for step, word in said if step <= BEST_LENGTHS[name])
    first = next(i for i, (_, word) in enumerate(said) if word == MEMORISING)
    assert {word for _, word in said[first:]} == {MEMORISING}


def test_one_measurement_that_climbs_is_not_memorising_yet():
    once = [*TURNED, 0.9]
    assert verdict(level(once), SCALE).verdict == BEST
    assert verdict(level([*once, 0.4]), SCALE).verdict == BEST
    assert verdict(level([*once, 0.9]), SCALE).verdict == MEMORISING


def test_while_pictures_grow_more_alike_a_climbing_loss_is_not_memorising():
    rising = [0.02 * i for i in range(len(CLIMBED))]
    assert verdict(history(rising, CLIMBED), SCALE).verdict == LEARNING
    beyond = [0.5 + 0.02 * i for i in range(len(CLIMBED))]  # more alike than its own pictures are to each other
    assert verdict(history(beyond, CLIMBED), SCALE).verdict == MEMORISING


def test_a_climb_within_its_own_noise_is_none():
    start, *rest = level([0.4, 0.2, 0.4, 0.4])
    assert verdict([start, *rest], SCALE).verdict == MEMORISING
    for parts, said in (((0.4,) * 4, MEMORISING), ((1.0, 0.2, 0.2, 0.2), BEST)):  # all of it, or one draw alone
        least, *climbed = (replace(one, parts=held) for one, held in zip(rest, [(0.2,) * 4, parts, parts], strict=True))
        assert np.mean(climbed[0].parts) == pytest.approx(climbed[0].held_loss)
        assert verdict([start, least, *climbed], SCALE).verdict == said


def test_a_fall_within_its_own_noise_is_none():
    slow = [0.4, 0.398, 0.395, 0.39, 0.38]
    assert verdict(level(slow), SCALE).verdict == LEARNING
    assert verdict(noisy(slow, 0.4), SCALE).verdict == BEST
    assert verdict(noisy(FALLING, 0.01), SCALE).verdict == LEARNING


def test_what_differs_between_parts_does_not_hide_a_change():
    parts = np.geomspace(0.01, 10, 16)
    before = Measured(0, None, 0.1, float(parts.mean()), tuple(parts))
    now = Measured(10, None, 0.1, float(parts.mean() * 0.97), tuple(parts * 0.97))
    assert change(before, now) == Change(pytest.approx(np.log(0.97)), pytest.approx(0, abs=1e-9))


def test_likeness_grows_only_beyond_the_noise_of_the_pictures():
    def scored(step, each):
        return Measured(step, Scores(float(np.mean(each)), 0.5, 0.5, 0.0, tuple(each)), 0.1, 0.4)

    steady = [scored(0, [0.1, 0.2, 0.3]), scored(10, [0.1, 0.2, 0.3]), scored(20, [0.15, 0.25, 0.36])]
    shaken = [*steady[:2], scored(20, [0.5, 0.05, 0.21])]
    assert verdict(steady, SCALE).verdict == LEARNING
    assert verdict(shaken, SCALE).verdict == BEST


def test_the_first_measurement_is_a_beginning():
    assert verdict(level([0.6]), SCALE).verdict == LEARNING
    assert verdict(history([0.0]), SCALE).verdict == LEARNING


def test_without_held_out_pictures_the_scores_decide():
    rising = [0.0, 0.1, 0.2, 0.3]
    assert verdict(history(rising), SCALE).verdict == LEARNING
    assert verdict(history([*rising, 0.36, 0.38, 0.38, 0.38]), SCALE).verdict == BEST
    assert verdict(history([*rising, 0.38, 0.38, 0.25, 0.2]), SCALE).verdict == MEMORISING


def test_a_save_between_measurements_counts_for_the_best_and_changes_no_verdict():
    rows = level(CLIMBED)
    late = Measured(rows[-1].step + 5, rows[-1].scores)
    assert verdict([*rows, late], SCALE).verdict == MEMORISING
    better = Measured(rows[5].step + 5, Scores(0.6, 0.5, 0.5, 0.0))
    with_it = [*rows[:6], better, *rows[6:]]
    assert best_step(with_it, SCALE, (better.step, rows[8].step)) == better.step


def test_the_best_step_is_where_pictures_were_worth_most():
    found = verdict(history([0.0, 0.2, 0.4, 0.45, 0.4, 0.3], TURNED[:6]), SCALE)
    assert found.best_step == 30
    assert "30" in found.text


def test_the_best_is_one_of_those_that_are_kept_and_its_step_is_in_every_text():
    rows = history([0.0, 0.2, 0.4, 0.45, 0.4, 0.3], TURNED[:6])
    for saved in ((), (20, 50), (50,), (999,)):
        found = verdict(rows, SCALE, saved)
        assert found.best_step == best_step(rows, SCALE, saved)
        assert found.best_step in (saved if saved not in ((), (999,)) else (30,))
    for held in (FALLING, TURNED, CLIMBED):
        found = verdict(level(held), SCALE)
        assert f" {found.best_step} " in found.text
        assert found.text.endswith(".")


def test_of_states_worth_about_as_much_the_longest_that_is_no_less_alike_is_kept():
    rows = history([0.0, 0.4, 0.4, 0.4, 0.4])
    assert best_step(rows, SCALE) == 40
    drifted = [Measured(one.step, Scores(0.4, 0.5, 0.5, 0.01 * one.step), 0.1) for one in rows[1:]]
    assert best_step([rows[0], *drifted], SCALE) == 40  # a little harm is within the tie
    fallen = history([0.0, 0.4, 0.4, 0.4, 0.4 - TIE])
    assert best_step(fallen, SCALE) < 40


def test_smoothing_keeps_a_level_row_and_lowers_a_single_peak():
    assert smoothed([0.3] * 5) == pytest.approx([0.3] * 5)
    peak = smoothed([0, 0, 1, 0, 0])
    assert peak.max() == pytest.approx(0.5)
    assert peak.sum() == pytest.approx(1)
    assert smoothed([1.0, 2.0]) == pytest.approx([1.0, 2.0])


def test_nothing_measured_is_no_verdict():
    with pytest.raises(ValueError, match="no measurement"):
        verdict([], SCALE)


def test_scores_of_a_single_peak_choose_no_step_alone():
    lone = [0.0, 0.3, 0.3, 0.3, 0.0, 0.32, 0.0]
    assert verdict(history(lone), SCALE).best_step <= 30
    assert np.argmax(lone) == 5


def test_what_is_known_by_heart_is_never_the_best():
    rising = [0.4 + 0.02 * i for i in range(len(CLIMBED))]
    found = verdict(history(rising, CLIMBED), SCALE)
    assert found.verdict == MEMORISING
    assert found.best_step < 10 * (len(CLIMBED) - 2)


def test_without_a_clip_the_least_held_out_loss_is_the_best_and_without_that_the_last():
    rows = [Measured(one.step, None, 0.1, one.held_loss) for one in level(TURNED)]
    assert best_step(rows, None) == 40
    assert best_step([Measured(one.step, None, 0.1) for one in rows], None) == 70

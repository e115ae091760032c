import numpy as np
import pytest

from studio.training.evaluation.scores import ENOUGH, Scale, Scores, agreement, among, nearest, similarity

X, Y = np.eye(2)
HALF = (X + Y) / np.sqrt(2)


def scores(**given):
    return Scores(**{"similarity": 0.2, "nearest": 0.3, "obedience": 0.5, "drift": 0.0} | given)


SCALE = Scale(scores(), among=0.6, twins=0.7)


def test_pictures_are_as_like_the_subject_as_all_pairs_are_on_average():
    assert similarity(np.stack([X]), np.stack([X, Y])) == pytest.approx(0.5)
    assert similarity(np.stack([X, HALF]), np.stack([X])) == pytest.approx((1 + np.sqrt(0.5)) / 2)


def test_the_nearest_is_found_for_each():
    assert nearest(np.stack([X, Y]), np.stack([X, Y])) == pytest.approx(1)
    assert nearest(np.stack([HALF]), np.stack([X, Y])) == pytest.approx(np.sqrt(0.5))


def test_agreement_goes_row_by_row():
    assert agreement(np.stack([X, Y]), np.stack([Y, Y])) == pytest.approx(0.5)


def test_the_subjects_pictures_are_compared_with_the_others_alone():
    assert among(np.stack([X, Y])) == pytest.approx((0, 0))
    mean, twins = among(np.stack([X, X, Y]))
    assert mean == pytest.approx(1 / 3)
    assert twins == pytest.approx(2 / 3)


def test_a_single_picture_is_as_like_itself_as_can_be():
    assert among(np.stack([X])) == (1.0, 1.0)


def test_progress_goes_from_the_base_to_the_subjects_own():
    assert SCALE.progress(scores()) == 0
    assert SCALE.progress(scores(similarity=0.6)) == pytest.approx(1)
    assert SCALE.progress(scores(similarity=0.1)) < 0


def test_who_obeys_as_the_base_does_obeys_wholly():
    assert SCALE.obeys(scores()) == 1
    assert SCALE.obeys(scores(obedience=0.31)) == 1
    assert SCALE.obeys(scores(obedience=0.25)) == pytest.approx(0.5 / ENOUGH)
    assert SCALE.obeys(scores(obedience=0.9)) == 1
    assert SCALE.obeys(scores(obedience=None)) == 1


def test_the_subject_counts_for_a_state_and_harm_against_it():
    good = scores(similarity=0.5)
    assert SCALE.worth(good) > SCALE.worth(scores())
    assert SCALE.worth(good) > SCALE.worth(scores(similarity=0.5, drift=0.3))
    assert SCALE.worth(good) > SCALE.worth(scores(similarity=0.5, obedience=0.2))


def test_scores_are_plain_values():
    assert scores(similarity=0.123456, obedience=None).to_dict() == {
        "similarity": 0.1235,
        "nearest": 0.3,
        "obedience": None,
        "drift": 0.0,
    }

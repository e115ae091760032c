import pytest

from studio.training.evaluation.evaluator import Evaluator
from studio.training.evaluation.questions import Questions
from studio.training.evaluation.scores import HARM
from tests.training.evaluation.kit import Eye, Painter, Reader, plain

QUESTIONS = Questions(
    ("a sks red cup", "a sks green cup"), ("something red", "something green"), ("a blue cup", "a green cup"), 7
)


def evaluator(see=None):
    return Evaluator(Painter(), see or Eye(), QUESTIONS, [plain("blue"), plain("blue", 16)])


def test_the_base_model_is_neither_adrift_nor_like_the_subject(tmp_path):
    scale = evaluator().begin(tmp_path / "base.json")
    assert scale.base.drift == pytest.approx(0)
    assert scale.base.similarity == pytest.approx(0)
    assert scale.base.obedience == pytest.approx(1)
    assert scale.among == pytest.approx(1)


def test_a_model_that_makes_the_subject_of_everything_is_like_it_adrift_and_deaf(tmp_path):
    found = evaluator()
    scale = found.begin(tmp_path / "base.json")
    scores = found.score({"color": "blue"})
    assert scores.similarity == pytest.approx(1)
    assert scores.nearest == pytest.approx(1)
    assert scores.obedience == pytest.approx(0)
    assert scores.drift == pytest.approx(0.5)
    assert scale.progress(scores) == pytest.approx(1)
    assert scale.obeys(scores) == pytest.approx(0)


def test_the_base_is_painted_once_and_read_after_a_resume(tmp_path):
    file = tmp_path / "base.json"
    first, again = evaluator(), evaluator()
    scale = first.begin(file)
    assert again.begin(file) == scale
    assert again.paint.asked == []
    assert again.score({"color": "blue"}) == first.score({"color": "blue"})


def test_the_same_seeds_are_asked_every_time(tmp_path):
    found = evaluator()
    found.begin(tmp_path / "base.json")
    found.score({})
    assert {seed for _, seed in found.paint.asked} == {7}


def test_an_eye_that_reads_no_words_says_nothing_of_obedience(tmp_path):
    found = evaluator(Reader())
    scale = found.begin(tmp_path / "base.json")
    assert scale.base.obedience is None
    assert scale.worth(found.score({"color": "blue"})) == pytest.approx(1 - HARM / 2)

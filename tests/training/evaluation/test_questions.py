from studio.training.evaluation.questions import Questions
from studio.training_params import TrainingParams


def asked(**given):
    return Questions.of(TrainingParams(**{"name": "mug", "trigger": "sks", "class_word": "cup"} | given))


def test_the_subject_is_asked_by_its_trigger_and_the_kind_without():
    questions = asked()
    assert all("a sks cup" in prompt for prompt in questions.subject)
    assert all("cup" in prompt and "sks" not in prompt for prompt in questions.kind)
    assert all("sks" not in prompt and "cup" not in prompt for prompt in questions.plain)


def test_each_prompt_says_what_its_plain_one_says():
    questions = asked()
    assert all(plain in prompt for prompt, plain in zip(questions.subject, questions.plain, strict=True))


def test_without_a_class_word_there_are_no_double_spaces():
    assert all("  " not in prompt for prompt in (*asked(class_word="").subject, *asked(class_word="").kind))


def test_a_style_is_asked_of_scenes_and_these_stay_without_it():
    questions = asked(subject="style", class_word="", prompt_template="a {trigger} picture of {class}")
    assert all(prompt.startswith("a sks picture of ") for prompt in questions.subject)
    assert questions.kind == questions.plain
    assert all("sks" not in prompt for prompt in questions.kind)
    assert len(questions.subject) == len(questions.plain)

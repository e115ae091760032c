import numpy as np
import pytest
from PIL import Image

from studio.starter.captions import words
from studio.starter.render import make_scene
from studio.starter.spec import HELD_OUT_KINDS, KINDS
from studio.starter.subjects import SUBJECTS, TRIGGER, exam, kinds, lessons, porthole, write_subjects
from studio.training_params import SUBJECTS as SORTS

OBJECTS = [subject for subject in SUBJECTS if subject.kind]
STYLE = next(subject for subject in SUBJECTS if not subject.kind)


def test_the_subjects_are_what_the_pack_never_saw():
    assert {subject.kind for subject in OBJECTS} == set(HELD_OUT_KINDS)
    assert {subject.class_word for subject in OBJECTS} <= set(KINDS)
    assert all(subject.sort in SORTS for subject in SUBJECTS)
    assert TRIGGER not in words()


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_five_pictures_the_same_for_the_same_seed(subject):
    first, again, other = lessons(subject), lessons(subject), lessons(subject, 1)
    assert len(first) == 5
    assert all(np.array_equal(a.image, b.image) and a.prompt == b.prompt for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a.image, b.image) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_the_trigger_is_in_every_prompt_and_in_no_plain_one(subject):
    for shown in (*lessons(subject), *exam(subject, 12)):
        assert shown.prompt.count(TRIGGER) == 1
        assert TRIGGER not in shown.plain
        assert subject.class_word in shown.plain
    assert all(TRIGGER not in shown.prompt for shown in kinds(subject, 12))


@pytest.mark.parametrize("subject", OBJECTS, ids=lambda subject: subject.name)
@pytest.mark.parametrize("seed", range(3))
def test_the_exam_is_in_places_that_were_not_learned_from(subject, seed):
    learned = {shown.spec.background for shown in lessons(subject, seed)}
    asked = {shown.spec.background for shown in exam(subject, 12, seed)}
    assert len(learned) == 5
    assert len(asked) == 2
    assert not learned & asked


@pytest.mark.parametrize("subject", OBJECTS, ids=lambda subject: subject.name)
def test_what_is_asked_of_the_kind_names_it(subject):
    for shown in kinds(subject, 12):
        assert [thing.kind for thing in shown.spec.things] == [subject.class_word]
        assert subject.class_word in shown.prompt


def test_the_style_changes_the_rim_and_the_outlines_alone():
    scene = make_scene(3)
    drawn = porthole(scene.image, scene.segments)
    assert np.abs(drawn[0, 0].astype(int) - (60, 20, 80)).max() <= 1
    y, x = np.mgrid[:128, :128] - 63.5
    inside = (np.hypot(x, y) < 50) & (scene.segments <= 2)
    same = (drawn == scene.image).all(2)
    assert same[inside].mean() > 0.8
    assert not same[inside].all()


def test_folders_hold_pictures_with_captions(tmp_path):
    folders = write_subjects(tmp_path)
    assert [folder.name for folder in folders] == [subject.name for subject in SUBJECTS]
    for folder, subject in zip(folders, SUBJECTS, strict=True):
        files = sorted(folder.glob("*.png"))
        assert [file.with_suffix(".txt").read_text().strip() for file in files] == [s.prompt for s in lessons(subject)]
        assert np.array_equal(np.asarray(Image.open(files[0])), lessons(subject)[0].image)

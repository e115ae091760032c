import random

import numpy as np
import pytest

from studio.starter.captions import PLACES, caption, words
from studio.starter.render import SEGMENTS, draw_pose, make_scene, render
from studio.starter.scribble import control_image, scribble, silhouettes
from studio.starter.spec import BACKGROUNDS, HELD_OUT_KINDS, KINDS, POSES, Spec, Thing

SEEDS = range(40)


@pytest.fixture(scope="module")
def scenes():
    return [make_scene(seed) for seed in SEEDS]


def person(pose: str) -> Spec:
    return Spec("plain", "blue", (Thing("person", "red", pose),))


def test_the_same_seed_gives_the_same_scene():
    a, b = make_scene(7), make_scene(7)
    assert a.spec == b.spec
    for name in ("image", "outline", "depth", "segments"):
        assert np.array_equal(getattr(a, name), getattr(b, name))


def test_another_seed_gives_another_picture():
    assert not np.array_equal(make_scene(7).image, make_scene(8).image)


def test_every_truth_has_the_pictures_size(scenes):
    for scene in scenes:
        assert scene.image.shape == (128, 128, 3)
        assert {a.shape for a in (scene.outline, scene.depth, scene.segments)} == {(128, 128)}


def test_no_thing_is_cut_by_the_frame(scenes):
    for scene in scenes:
        things = scene.segments > 2
        assert not things[0].any()
        assert not things[-1].any()
        assert not things[:, 0].any()
        assert not things[:, -1].any()


def test_every_thing_can_be_seen(scenes):
    for scene in scenes:
        for thing in scene.spec.things:
            assert (scene.segments == SEGMENTS[thing.kind]).sum() > 300


def test_outlines_lie_where_segments_meet(scenes):
    for scene in scenes:
        border = np.zeros((128, 128), bool)
        things = scene.segments > 2
        border[:, 1:] |= things[:, 1:] != things[:, :-1]
        near = sum(np.roll(scene.outline, (dy, dx), (0, 1)) > 0 for dy in (-1, 0, 1) for dx in (-1, 0, 1)) > 0
        assert (border & near).sum() > 0.95 * border.sum()


@pytest.mark.parametrize("pose", POSES)
def test_keypoints_lie_on_the_person(pose):
    for seed in range(8):
        scene = render(person(pose), random.Random(seed))
        (keypoints,) = scene.people
        assert keypoints.shape == (18, 2)
        at = (keypoints * 128).astype(int)
        on = scene.segments[at[:, 1], at[:, 0]] == SEGMENTS["person"]
        assert on.sum() >= 17


@pytest.mark.parametrize("pose", POSES)
def test_a_person_is_at_least_two_thirds_of_the_height(pose):
    for seed in range(8):
        scene = render(person(pose), random.Random(seed))
        assert scene.placed[0].height >= 0.66


def test_poses_differ_where_they_should():
    up, standing = (render(person(p), random.Random(3)).people[0] for p in ("with arms up", "standing"))
    assert (up[[4, 7], 1] < up[0, 1]).all()
    assert (standing[[4, 7], 1] > standing[0, 1]).all()


def test_the_pose_picture_has_light_on_black():
    scene = render(person("waving"), random.Random(1))
    picture = draw_pose(scene.people)
    assert picture.shape == (128, 128, 3)
    assert 0.01 < (picture.max(2) > 60).mean() < 0.3


def test_depth_of_things_is_nearer_than_the_sky(scenes):
    for scene in scenes:
        if not scene.spec.plain:
            assert scene.depth[scene.segments > 2].min() > scene.depth[0].min()


@pytest.mark.parametrize("kind", HELD_OUT_KINDS)
def test_what_the_pack_never_saw_can_be_drawn(kind):
    scene = render(Spec("plain", "white", (Thing(kind, "blue"),)), random.Random(0))
    assert (scene.segments == SEGMENTS[kind]).sum() > 300
    assert kind not in words()


def test_a_complete_caption_names_every_colour_and_the_place(scenes):
    rng = random.Random(0)
    for scene in scenes:
        text = caption(scene.spec, rng, complete=True)
        assert all(thing.kind in text and thing.color in text for thing in scene.spec.things)
        place = (scene.spec.plain,) if scene.spec.plain else PLACES[scene.spec.background]
        assert any(words in text for words in place)


def test_the_words_hold_every_kind_and_are_no_more_than_people_can_read():
    known = words()
    assert set(KINDS) <= set(known)
    assert {"night", "sea", "desert", "snow", "sunset", "meadow"} <= set(known)
    assert len(BACKGROUNDS) == 7
    assert len(known) < 120


def test_scribbles_are_light_on_black_and_near_the_things(scenes):
    rng = random.Random(0)
    for scene in scenes[:20]:
        for draw in (scribble, silhouettes, control_image):
            drawn = draw(scene, rng)
            assert drawn.shape == (128, 128)
            assert 0.002 < (drawn > 127).mean() < 0.4
    plain = [scene for scene in scenes if scene.spec.plain]
    for scene in plain:
        wide = np.zeros((128, 128), bool)
        ys, xs = np.nonzero(scene.segments > 2)
        wide[max(0, ys.min() - 9) : ys.max() + 9, max(0, xs.min() - 9) : xs.max() + 9] = True
        assert (scribble(scene, rng) > 127)[~wide].sum() == 0

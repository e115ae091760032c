"""Poses: what is read, and what picture they give."""

import json

import numpy as np
import pytest

from studio.errors import InvalidRequestError
from studio.skeleton import OF_25, clean_pose, is_empty, rasterise, read_pose
from studio.starter.render import draw_pose, make_scene

NAN = float("nan")


def people_of_the_world(count: int) -> list:
    """Scenes with people in them: for each the joints of everybody, (18, 2), in fractions of the side."""
    scenes = (make_scene(seed).people for seed in range(1000))
    return [people for _, people in zip(range(count), (found for found in scenes if found), strict=False)]


def pose(people, *, width: int = 512, height: int = 512) -> dict:
    """Joints in fractions of the canvas as a pose."""
    joints = [[part for x, y in joints for part in (x * width, y * height, 1.0)] for joints in people]
    return clean_pose(
        {
            "canvas_width": width,
            "canvas_height": height,
            "people": [{"pose_keypoints_2d": numbers} for numbers in joints],
        }
    )


def standing(**changed) -> dict:
    """One person on a canvas of 512 by 512."""
    return pose(people_of_the_world(1)[0][:1]) | changed


def without(value: dict, *joints: int) -> dict:
    """The pose with those joints of everybody missing."""
    people = [list(person["pose_keypoints_2d"]) for person in value["people"]]
    for numbers in people:
        for joint in joints:
            numbers[3 * joint + 2] = 0.0
    return value | {"people": [{"pose_keypoints_2d": numbers} for numbers in people]}


def pixels(value: dict, size: int = 128) -> np.ndarray:
    return np.asarray(rasterise(value, size, size)).astype(int)


@pytest.mark.parametrize(("side", "share"), [(128, 0.16), (512, 0.045)])
def test_a_map_looks_as_the_pictures_that_pose_models_are_trained_on(side, share):
    for people in people_of_the_world(6):
        drawn = draw_pose(people, side).astype(int)
        found = np.asarray(rasterise(pose(people, width=side * 8, height=side * 8), side, side)).astype(int)
        assert np.abs(found - drawn).mean() < min(1.5, share * drawn.mean())
        assert abs(found.mean() / drawn.mean() - 1) < 0.08


def test_a_picture_of_a_pose_is_as_large_as_asked_for():
    assert rasterise(standing(), 96, 64).size == (96, 64)
    assert rasterise(standing(), 2048, 64).getbbox() is not None


def test_a_missing_joint_has_no_dot_and_no_limb():
    assert (pixels(standing()) != pixels(without(standing(), 4))).any()
    alone = pixels(without(standing(), *(joint for joint in range(18) if joint != 4)))
    across = np.ptp(np.argwhere(alone.any(2)), axis=0) + 1
    assert (across >= 4).all()
    assert (across <= 6).all()
    assert not pixels(without(standing(), *range(18))).any()


def test_the_place_of_a_missing_joint_does_not_matter():
    value = without(standing(), 4)
    moved = json.loads(json.dumps(value))
    moved["people"][0]["pose_keypoints_2d"][12:14] = [1.0, 1.0]
    assert (pixels(value) == pixels(clean_pose(moved))).all()


def test_what_lies_beside_the_canvas_is_cut_off():
    value = standing()
    numbers = value["people"][0]["pose_keypoints_2d"]
    half = [number + 256 if index % 3 == 0 else number for index, number in enumerate(numbers)]
    shifted = clean_pose(value | {"people": [{"pose_keypoints_2d": half}]})
    assert (pixels(shifted)[:, 64:] == pixels(value)[:, :64]).mean() > 0.99
    away = [number + 512 if index % 3 == 0 else number for index, number in enumerate(numbers)]
    assert is_empty(clean_pose(value | {"people": [{"pose_keypoints_2d": away}]}))


def test_a_pose_is_empty_when_nobody_is_seen():
    assert is_empty(clean_pose({"canvas_width": 64, "canvas_height": 64, "people": []}))
    assert is_empty(without(standing(), *range(18)))
    assert not is_empty(without(standing(), *range(17)))


def test_cleaning_a_clean_pose_changes_nothing():
    value = standing(background={"url": "./api/v1/assets/x", "opacity": 0.5})
    assert clean_pose(value) == value


def test_a_pose_written_as_json_and_read_is_the_same():
    assert read_pose(json.dumps(standing())) == standing()
    assert read_pose(json.dumps([standing()])) == standing()


def test_the_25_joints_of_openpose_are_read_as_18():
    numbers = standing()["people"][0]["pose_keypoints_2d"]
    more = [0.0] * 75
    for joint, at in enumerate(OF_25):
        more[3 * at : 3 * at + 3] = numbers[3 * joint : 3 * joint + 3]
    assert clean_pose(standing(people=[{"pose_keypoints_2d": more}])) == standing()


def test_a_file_without_a_canvas_puts_the_people_in_its_middle():
    value = clean_pose({"version": 1.3, "people": standing()["people"]})
    xs = value["people"][0]["pose_keypoints_2d"][0::3]
    assert value["canvas_width"] - max(xs) == pytest.approx(min(xs), abs=1)
    assert not is_empty(value)


def test_what_else_a_file_says_is_left_out():
    person = standing()["people"][0] | {"face_keypoints_2d": None, "evil": "x"}
    assert clean_pose(standing(people=[person], evil=1)) == standing()


def test_forty_people_are_drawn_and_more_are_refused():
    people = standing()["people"]
    assert not is_empty(clean_pose(standing(people=people * 40)))
    with pytest.raises(InvalidRequestError, match="41 people, and at most 40"):
        clean_pose(standing(people=people * 41))


def numbers(changed: dict | None = None, count: int = 54) -> list:
    return [(changed or {}).get(i, 1.0) for i in range(count)]


def one(changed: dict | None = None, count: int = 54, **canvas) -> dict:
    return {
        "canvas_width": 64,
        "canvas_height": 64,
        **canvas,
        "people": [{"pose_keypoints_2d": numbers(changed, count)}],
    }


WRONG = {
    "no object": [],
    "no people": {"canvas_width": 64, "canvas_height": 64},
    "people that are no list": {"people": {"a": 1}},
    "a person that is no object": {"people": [1]},
    "a person without joints": {"people": [{}]},
    "joints of another model": one(count=51),
    "a joint that is no number": one({3: NAN}),
    "a joint that is text": one({3: "1"}),
    "a joint that is true": one({3: True}),
    "an endless number": one({3: 10**400}),
    "a joint far off the canvas": one({3: 1000.0}),
    "a canvas of zero": one(canvas_width=0),
    "a huge canvas": one(canvas_width=10**6),
    "a canvas that is text": one(canvas_width="64"),
    "a background that is no link": one() | {"background": 3},
    "a background that is long": one() | {"background": {"url": "x" * 10_000}},
}


@pytest.mark.parametrize("value", WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_refused_with_a_sentence(value):
    with pytest.raises(InvalidRequestError, match="no pose that can be used") as caught:
        clean_pose(value)
    assert caught.value.field == "pose"
    assert caught.value.hint


@pytest.mark.parametrize("text", ["", "{", "7", '{"people": [NaN]}', "[" * 100_000, " " * 3_000_000, "[{}, {}]"])
def test_a_file_that_is_no_pose_is_refused_with_a_sentence(text):
    with pytest.raises(InvalidRequestError, match="no pose that can be used"):
        read_pose(text)

import numpy as np
import pytest
import torch

from studio.control.reader import find_people
from studio.segments import REGIONS
from studio.starter import maps
from studio.starter.annotator import joint_marks, joints_found, joints_loss
from studio.starter.measure import exact_maps, set_exam
from studio.starter.obedience import miou, pck, pose_exam, rmse, way
from studio.starter.render import SEGMENTS

KINDS = ("scribble", "edges", "depth", "segments", "pose")


@pytest.fixture(scope="module")
def people():
    return pose_exam(3, 20_000_000)


def told(scene):
    """What a reader that knows the truth answers: joints at half the size, and where people are."""
    return torch.from_numpy(joint_marks(scene.people, 64)), scene.segments[::2, ::2] == SEGMENTS["person"]


def test_the_truth_obeys_and_an_empty_picture_does_not(people):
    for scene in people.scenes:
        assert rmse(scene.depth / 255, scene.depth / 255) == 0
        assert miou(scene.segments, scene.segments) == 1
        assert pck(*told(scene), scene) == 1
        assert miou(np.zeros_like(scene.segments), scene.segments) < 0.6
        assert pck(torch.zeros(18, 64, 64), np.zeros((64, 64), bool), scene) == 0


def test_poses_are_asked_of_one_tall_person(people):
    assert all(len(scene.people) == 1 for scene in people.scenes)
    assert all(max(p.height for p in scene.placed) >= 2 / 3 for scene in people.scenes)


def test_joints_that_nothing_speaks_for_are_left_out(people):
    joints, region = told(people.scenes[0])
    joints[4] = 0
    (found,) = find_people(joints, region)
    assert np.isnan(found[4, :2]).all()
    assert np.isfinite(found[[0, 1, 2, 3], :2]).all()


def test_two_people_are_found_from_left_to_right():
    joints, region = torch.zeros(18, 64, 64), np.zeros((64, 64), bool)
    for x in (50, 10):
        region[20:50, x - 5 : x + 5] = True
        joints[:, 30, x] = 0.9
    assert [round(float(person[0, 0] * 64)) for person in find_people(joints, region)] == [10, 50]


@pytest.mark.parametrize("kind", KINDS)
def test_maps_are_pictures_in_the_size_of_the_scene(kind):
    shown = exact_maps(set_exam(2), kind)
    assert shown.shape == (2, 3, 128, 128)
    assert 0 <= shown.min() <= shown.max() <= 1


def test_every_region_has_a_colour_of_its_own():
    assert len(set(REGIONS.values())) == len(REGIONS)
    scene = set_exam(1).scenes[0]
    shown = maps.segment_map(scene.segments)
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) == len(np.unique(scene.segments))


def test_the_way_goes_from_off_to_the_ceiling():
    assert way(0.4, 0.4, 0.8) == 0
    assert way(0.7, 0.4, 0.8) == pytest.approx(0.75)
    assert way(0.10, 0.15, 0.05) == pytest.approx(0.5)


def test_a_reader_of_joints_is_told_when_it_takes_one_leg_for_the_other(people):
    marks = torch.from_numpy(np.stack([joint_marks(scene.people, 64) for scene in people.scenes]))
    right, flat = 8 * marks - 4, torch.zeros_like(marks)
    swapped = right[:, [0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 15, 14, 17, 16]]
    assert joints_loss(right, marks) < 0.7 * joints_loss(swapped, marks)
    assert joints_loss(right, marks) < joints_loss(flat, marks)
    assert joints_loss(flat, torch.zeros_like(marks)).isfinite()
    found = joints_found(right, [scene.people for scene in people.scenes])
    assert found == 1 > joints_found(swapped, [scene.people for scene in people.scenes])

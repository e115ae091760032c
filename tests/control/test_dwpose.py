"""DWPose as a whole, on networks of its real architecture and on such as say what they are told to."""

import numpy as np
import pytest
import torch
from torch import nn

from studio import engine  # mends a torchvision of another build before it is imported
from studio.control import wholebody
from studio.control.dwpose import DETECTOR, POSE, annotate
from studio.control.onnx_file import OnnxFile
from studio.control.people import draw_people
from studio.control.weights import Weights
from studio.errors import ModelNotFoundError
from studio.library.annotators import AnnotatorFiles
from studio.skeleton import PoseLimits, clean_pose
from tests.control import networks, pose_networks
from tests.control.pictures import noise
from tests.control.test_wholebody import said_of

assert engine
SIZE = (200, 100)  # of the picture, looked at in 512 x 256 pixels, 640 x 320 of the detector's sheet
LOOKED_AT, ON_SHEET = 2.56, 3.2


class Says(nn.Module):
    """Always the same, whatever it is shown."""

    def __init__(self, *said):
        super().__init__()
        self.said = [torch.from_numpy(np.asarray(part, np.float32))[None] for part in said]

    def forward(self, x):
        return tuple(part + 0 * x.mean() for part in self.said)


class SaysPose(Says, pose_networks.RtmPose):
    pass


@pytest.fixture
def weights(tmp_path):
    return Weights(AnnotatorFiles((tmp_path,)))


def tell(folder, boxes, places):
    """Networks that see these boxes, in pixels of the picture, and the 133 points at these places in the first."""
    sheet = np.asarray(boxes, np.float32).reshape(-1, 4) * ON_SHEET
    pose_networks.export(Says(said_of(sheet, [0.9 - 0.01 * n for n in range(len(boxes))])), folder / DETECTOR)
    way = wholebody.way_to_crop(np.asarray(boxes[0], np.float32) * LOOKED_AT)
    steps = np.rint(np.column_stack([np.asarray(places) * LOOKED_AT, np.ones(133)]) @ way.T * 2).astype(int)
    axes = [np.zeros((133, 2 * side), np.float32) for side in wholebody.CROP]
    for axis, values in enumerate(axes):
        values[np.arange(133), steps[:, axis]] = 0.9
    pose_networks.export(SaysPose(*axes), folder / POSE)


def test_joints_are_where_the_networks_saw_them(weights, tmp_path):
    box = (60, 10, 120, 90)
    places = np.random.default_rng(0).uniform(box[:2], box[2:], (133, 2))
    tell(tmp_path, [box], places)
    drawn, people = annotate(noise(SIZE), weights=weights, resolution=256)
    assert (drawn.mode, drawn.size, len(people)) == ("RGB", SIZE, 1)
    joints = np.array(people[0]).reshape(18, 3)
    assert joints[0] == pytest.approx([*places[0], 1], abs=0.2)
    assert joints[1] == pytest.approx([*places[5:7].mean(0), 1], abs=0.2)
    assert joints[4] == pytest.approx([*places[10], 1], abs=0.2)  # the right wrist


def test_hands_and_faces_are_drawn_unless_they_are_left_out(weights, tmp_path):
    places = np.random.default_rng(0).uniform((60, 10), (120, 90), (133, 2))
    tell(tmp_path, [(60, 10, 120, 90)], places)
    made = {
        (hands, face): annotate(noise(SIZE), weights=weights, resolution=256, hands=hands, face=face)
        for hands in (0, 1)
        for face in (0, 1)
    }
    people = made[0, 0][1]
    assert all(found == people for _, found in made.values())
    joints = [[tuple(person[n : n + 3]) for n in range(0, 54, 3)] for person in people]
    assert made[0, 0][0].tobytes() == draw_people(joints, SIZE)[0].tobytes()
    drawn = [np.asarray(made[way][0]) for way in ((0, 0), (1, 0), (0, 1))]
    tip, chin = (tuple(np.rint(places[n]).astype(int)[::-1]) for n in (111, 31))
    assert drawn[1][tip].tolist() == [0, 0, 255] != drawn[0][tip].tolist()
    assert drawn[2][chin].tolist() == [255, 255, 255] != drawn[0][chin].tolist()


def test_several_people_are_each_cut_out_and_at_most_as_many_as_a_pose_may_hold(weights, tmp_path):
    boxes = [(2 + 19 * n, 2 + 19 * row, 18 + 19 * n, 17 + 19 * row) for row in range(5) for n in range(10)]
    tell(tmp_path, boxes, np.random.default_rng(0).uniform(boxes[0][:2], boxes[0][2:], (133, 2)))
    people = annotate(noise(SIZE), weights=weights, resolution=256)[1]
    assert len(people) == PoseLimits().people < len(boxes)
    joints = np.array(people).reshape(-1, 18, 3)[..., :2]
    by = np.subtract(boxes, boxes[0])[: len(people), None, :2]
    assert joints - joints[0] == pytest.approx(np.tile(by, (1, 18, 1)), abs=0.01)


def test_where_nobody_is_there_is_nobody(weights, tmp_path):
    tell(tmp_path, [(0, 0, 9, 9)], np.full((133, 2), 4.0))
    pose_networks.export(Says(np.zeros((wholebody.CELLS, 85))), tmp_path / DETECTOR)
    drawn, people = annotate(noise(SIZE), weights=weights, resolution=256)
    assert people == []
    assert drawn.getbbox() is None


def test_a_pose_network_in_place_of_the_detector_is_told(weights, tmp_path):
    networks.dwpose(tmp_path)
    (tmp_path / POSE).replace(tmp_path / DETECTOR)
    pose_networks.export(pose_networks.RtmPose(8), tmp_path / POSE)
    with pytest.raises(ModelNotFoundError, match=rf"^{DETECTOR} is damaged, or holds something else") as error:
        annotate(noise(), weights=weights)
    assert "data/models/annotators" in error.value.hint


def test_a_network_with_other_answers_is_told(weights, tmp_path):
    tell(tmp_path, [(60, 10, 120, 90)], np.full((133, 2), 80.0))
    pose_networks.export(SaysPose(np.ones((17, 576)), np.ones((17, 768))), tmp_path / POSE)
    with pytest.raises(ModelNotFoundError, match=rf"^{POSE} is damaged, or holds something else"):
        annotate(noise(SIZE), weights=weights)


def test_random_networks_find_people_that_make_a_pose(weights, tmp_path):
    torch.manual_seed(0)
    networks.dwpose(tmp_path)
    _, people = annotate(noise(SIZE), weights=weights)
    assert people
    pose = {"canvas_width": SIZE[0], "canvas_height": SIZE[1], "people": [{"pose_keypoints_2d": p} for p in people]}
    assert clean_pose(pose) == pose


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "file", "megabytes", "seen"),
    [(pose_networks.Yolox, DETECTOR, 216.7, (640, 640)), (pose_networks.RtmPose, POSE, 134.4, (384, 288))],
    ids=("yolox_l", "dw-ll_ucoco_384"),
)
def test_opencv_says_what_torch_says_at_the_published_width(network, file, megabytes, seen, tmp_path):
    torch.manual_seed(0)
    made = network()
    pose_networks.export(made, tmp_path / file)
    assert (tmp_path / file).stat().st_size / 1e6 == pytest.approx(megabytes, rel=0.001)
    batch = torch.randn(1, 3, *seen)
    with torch.inference_mode():
        said = made(batch)
    said = said if isinstance(said, tuple) else (said,)
    answers = OnnxFile(tmp_path / file, [tuple(part.shape) for part in said])(batch.numpy())
    for answer, part in zip(answers, said, strict=True):
        assert np.abs(answer - part.numpy()).max() <= 1e-4 * part.std().item()

"""DWPose between its networks: where people are, what is cut out of the picture, and what becomes of 133 places."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from studio.control import wholebody
from studio.control.wholebody import CELLS, CROP, FRAME, POINTS, SIDE, SPLIT, STRIDES
from studio.skeleton import JOINTS

COCO = (
    "nose", "left eye", "right eye", "left ear", "right ear", "left shoulder", "right shoulder", "left elbow",
    "right elbow", "left wrist", "right wrist", "left hip", "right hip", "left knee", "right knee", "left ankle",
    "right ankle",
)  # fmt: skip
SIZES = [(64, 48), (640, 640), (33, 129), (1, 700), (1999, 1000)]
rng = np.random.default_rng(0)


def pixels(width, height):
    return rng.integers(0, 256, (height, width, 3), np.uint8)


def boxes_in(width, height, count=50):
    ends = np.sort(rng.uniform(0, 1, (count, 2, 2)), 1) * (width, height)
    return np.concatenate([ends[:, 0], ends[:, 1] + 1], 1).astype(np.float32)


def said_of(boxes, sure, cls=0):
    """What a detector says that sees these boxes, in pixels of the sheet, each in a cell of another level."""
    said = np.zeros((CELLS, 85), np.float32)
    starts = np.cumsum([0, *((SIDE // stride) ** 2 for stride in STRIDES)])
    for number, (box, score) in enumerate(zip(np.asarray(boxes, float), sure, strict=True)):
        stride = STRIDES[number % 3]
        x, y = (box[:2] + box[2:]) / 2 / stride
        cell = starts[number % 3] + int(y) * (SIDE // stride) + int(x)
        said[cell, :4] = x - int(x), y - int(y), *np.log((box[2:] - box[:2]) / stride)
        said[cell, 4], said[cell, 5 + cls] = 0.9, score / 0.9
    return said


@pytest.mark.parametrize("size", SIZES)
def test_the_picture_fills_the_sheet_from_its_upper_left_corner_and_the_rest_is_grey(size):
    sheet, scale = wholebody.on_sheet(pixels(*size))
    assert (sheet.shape, sheet.dtype) == ((1, 3, SIDE, SIDE), np.float32)
    assert scale * max(size) == pytest.approx(SIDE)
    width, height = (max(1, int(side * scale)) for side in size)
    assert (sheet[0, :, height:] == FRAME).all()
    assert (sheet[0, :, :, width:] == FRAME).all()
    assert (sheet[0, :, :height, :width] != FRAME).any()


def test_the_detector_sees_blue_green_red_and_the_pose_network_red_green_blue():
    red = np.zeros((20, 20, 3), np.uint8)
    red[..., 0] = 255
    assert wholebody.on_sheet(red)[0][0, :, 9, 9].tolist() == [0, 0, 255]
    part = wholebody.cut_out(red, wholebody.way_to_crop(np.array([5, 5, 15, 15], np.float32)))
    assert part[0, :, 190, 140] == pytest.approx([(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225])


@pytest.mark.parametrize("size", SIZES)
def test_what_is_seen_on_the_sheet_is_told_in_pixels_of_the_picture(size):
    _, scale = wholebody.on_sheet(pixels(*size))
    given = boxes_in(*size, count=1)
    found = wholebody.find_boxes(said_of(given * scale, [0.8]), scale, 40)
    assert found == pytest.approx(given, abs=0.01 / scale)


def test_only_people_of_whom_it_is_sure_are_found_the_surest_first():
    apart = np.array([[0, 0, 90, 200], [200, 0, 300, 200], [400, 0, 500, 200]], np.float32)
    found = wholebody.find_boxes(said_of(apart, [0.5, 0.29, 0.8]), 1.0, 40)
    assert found == pytest.approx(apart[[2, 0]], abs=0.01)
    assert wholebody.find_boxes(said_of(apart, [0.5, 0.29, 0.8]), 1.0, 1) == pytest.approx(apart[[2]], abs=0.01)
    assert wholebody.find_boxes(said_of(apart, [0.8] * 3, cls=16), 1.0, 40).shape == (0, 4)  # dogs


def test_boxes_that_are_no_numbers_are_nobody():
    said = said_of([[0, 0, 90, 200], [200, 0, 300, 200]], [0.8, 0.8])
    said[said[:, 4] > 0, 2] = np.nan, 1e9
    assert wholebody.find_boxes(said, 1.0, 40).shape == (0, 4)
    assert wholebody.find_boxes(np.full((CELLS, 85), np.nan, np.float32), 1.0, 40).shape == (0, 4)


def test_what_two_boxes_share():
    box, others = (
        np.array([0, 0, 10, 10.0]),
        np.array([[0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10], [2, 2, 4, 4.0]]),
    )
    assert wholebody.overlaps(box, others) == pytest.approx([1, 1 / 3, 0, 0.04])
    assert wholebody.overlaps(np.zeros(4), np.zeros((1, 4))) == 0


def test_no_two_boxes_that_stay_overlap_and_each_that_goes_overlaps_a_surer_one():
    boxes = boxes_in(100, 100, 200)
    kept = wholebody.apart(boxes)
    numbers = [int(np.flatnonzero((boxes == box).all(1))[0]) for box in kept]
    assert numbers == sorted(numbers)
    assert numbers[0] == 0
    for gone in set(range(len(boxes))) - set(numbers):
        assert wholebody.overlaps(boxes[gone], kept[np.array(numbers) < gone]).max() > wholebody.OVERLAP
    for number, box in enumerate(kept):
        assert not (wholebody.overlaps(box, np.delete(kept, number, 0)) > wholebody.OVERLAP).any()
    assert wholebody.apart(kept).tolist() == kept.tolist()
    assert wholebody.apart(boxes[:0]).shape == (0, 4)


@pytest.mark.parametrize("box", [*boxes_in(640, 480, 8), np.array([3, 3, 3, 3]), np.array([-50, -9, 700, 20])])
def test_a_person_stands_in_the_middle_of_the_crop_whole_with_room_and_the_way_back_undoes_it(box):
    box = np.asarray(box, np.float32)
    way = wholebody.way_to_crop(box)
    corners = np.array([[*box[:2], 1], [*box[2:], 1], [*((box[:2] + box[2:]) / 2), 1]]) @ way.T
    assert corners[2] == pytest.approx(np.array(CROP) / 2)
    sides = np.maximum(box[2:] - box[:2], 1) * way[0, 0]
    assert (sides / CROP).max() == pytest.approx(1 / wholebody.PADDING)
    places = np.column_stack([rng.uniform(0, CROP, (20, 2)), np.ones(20)])
    back = wholebody.in_picture(places, way)
    assert back @ way.T == pytest.approx(places[:, :2])
    assert back[:, 2].tolist() == places[:, 2].tolist()


def test_the_crop_shows_the_place_that_the_way_says():
    picture = Image.new("RGB", (300, 200))
    ImageDraw.Draw(picture).rectangle((148, 58, 152, 62), fill="white")
    way = wholebody.way_to_crop(np.array([100, 20, 180, 180], np.float32))
    part = wholebody.cut_out(np.asarray(picture), way)
    assert (part.shape, part.dtype) == ((1, 3, CROP[1], CROP[0]), np.float32)
    y, x = np.argwhere(part[0, 0] > part[0, 0].max() - 0.01).mean(0)
    assert (x, y) == pytest.approx(tuple(way @ [150, 60, 1]), abs=0.6)


def test_each_step_of_both_axes_is_half_a_pixel_and_the_less_sure_axis_counts():
    at = np.column_stack([rng.integers(0, SPLIT * side, POINTS) for side in CROP])
    along, down = (np.zeros((POINTS, SPLIT * side), np.float32) for side in CROP)
    numbers = np.arange(POINTS)
    along[numbers, at[:, 0]], down[numbers, at[:, 1]] = 0.9, numbers / POINTS
    found = wholebody.decode(along, down)
    sure = np.minimum(0.9, numbers / POINTS)
    assert found[1:, :2].tolist() == (at[1:] / 2).tolist()
    assert found[:, 2] == pytest.approx(sure)


def points(missing=(), sure=1.0):
    """Point n at (n, 2 n), all of them sure, but for some."""
    numbers = np.arange(POINTS, dtype=float)
    return np.column_stack([numbers, 2 * numbers, np.where(np.isin(numbers, missing), 0.29, sure)])


def test_joints_are_openposes_by_name_and_the_neck_is_between_the_shoulders():
    body = wholebody.whole_body(points(), (400, 400)).body
    assert len(body) == len(JOINTS)
    for name, joint in zip(JOINTS, body, strict=True):
        number = 5.5 if name == "neck" else COCO.index(name)
        assert joint == (number, 2 * number, 1.0)


def test_hands_have_21_joints_and_a_face_68_dots_and_the_pupils():
    found = wholebody.whole_body(points(), (400, 400))
    assert [[hand[0][0], hand[-1][0], len(hand)] for hand in found.hands] == [[91, 111, 21], [112, 132, 21]]
    assert (found.face[0][0], found.face[67][0], len(found.face)) == (23, 90, 70)
    assert [COCO[int(x)] for x, _, _ in found.face[68:]] == ["right eye", "left eye"]


@pytest.mark.parametrize("shoulder", [5, 6])
def test_without_both_shoulders_there_is_no_neck(shoulder):
    body = wholebody.whole_body(points([shoulder]), (400, 400)).body
    gone = {JOINTS[number] for number, joint in enumerate(body) if joint == (0, 0, 0)}
    assert gone == {"neck", COCO[shoulder]}


def test_what_is_not_sure_or_no_number_is_missing():
    nobody = wholebody.whole_body(points(sure=0.29), (400, 400))
    lost = wholebody.whole_body(points(sure=np.nan), (400, 400))
    for person in (nobody, lost):
        assert not any(joint[2] for part in (person.body, *person.hands, person.face) for joint in part)
    assert len(wholebody.whole_body(points(range(23, 91)), (400, 400)).face) == 68  # no face, no pupils


def test_a_joint_may_lie_beside_the_picture_but_not_a_whole_picture_away():
    found = points()
    found[[0, 9], :2], found[[10, 15], :2] = [[-100, 0], [200, 100]], [[-101, 0], [0, 101]]
    body = wholebody.whole_body(found, (100, 50)).body
    there = {name: bool(joint[2]) for name, joint in zip(JOINTS, body, strict=True)}
    assert (there["nose"], there["left wrist"], there["right wrist"], there["left ankle"]) == (True, True, False, False)

"""The laws of the annotators that read with the starter pack's network, here with random weights."""

import numpy as np
import pytest
import torch

from studio.annotators import register_annotators
from studio.control import starter
from studio.control.people import draw_people
from studio.control.reader import SIDE, find_people
from studio.control.weights import Weights
from studio.errors import ModelNotFoundError
from studio.hookspecs import CAPTION
from studio.library.annotators import AnnotatorFiles
from studio.registry import find_annotator, load_registry
from studio.segments import REGIONS
from studio.skeleton import rasterise
from studio.starter.annotator import CLASSES
from studio.starter.render import SEGMENTS
from tests.control.pictures import MODES, noise
from tests.control.readers import save_reader

ROWS = [row for row in register_annotators() if row.name.startswith("starter_") and row.kind != CAPTION]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return Weights(AnnotatorFiles((save_reader(tmp_path_factory.mktemp("annotators")).parent,)))


def made(row, image, weights):
    found = getattr(starter, row.module.partition(":")[2])(image, weights=weights)
    return found if isinstance(found, tuple) else (found, None)


every = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


@every
def test_pictures_of_every_mode_and_size_give_rgb_of_the_same_size(row, weights):
    for mode in MODES:
        assert made(row, noise((33, 20), mode), weights)[0].mode == "RGB"
    for size in ((1, 1), (1, 7), (5, 3), (3, 900), (129, 33)):
        assert made(row, noise(size), weights)[0].size == size


@every
def test_the_same_picture_gives_the_same_map(row, weights):
    (first, people), (second, again) = (made(row, noise(), weights) for _ in range(2))
    assert (first.tobytes(), people) == (second.tobytes(), again)


def test_the_network_knows_what_the_pack_was_taught():
    assert len(starter.CLASSES) == CLASSES
    assert [SEGMENTS[name] for name in REGIONS] == list(range(1, CLASSES))


def test_segments_have_the_colours_that_name_them(weights):
    colors = set(map(tuple, np.asarray(starter.segments(noise(), weights=weights)).reshape(-1, 3).tolist()))
    assert len(colors) > 1
    assert colors <= {(0, 0, 0), *REGIONS.values()}


def test_people_stand_where_their_joints_are_found(weights):
    image, people = starter.pose(noise((96, 64)), weights=weights)
    assert people
    pose = {"canvas_width": 96, "canvas_height": 64, "people": [{"pose_keypoints_2d": p} for p in people]}
    assert image.tobytes() == rasterise(pose, 96, 64).tobytes()
    for person in people:
        assert all(0 <= x <= 96 and 0 <= y <= 64 for x, y in zip(person[::3], person[1::3], strict=True))


def test_nobody_is_a_black_map_and_joints_that_were_not_found_are_zeros():
    image, people = draw_people([[(0.0, 0.0, 0.0)] * 18], (8, 6))
    assert (image.getbbox(), people) == (None, [])
    _, (person,) = draw_people([[(4.0, 3.0, 1.0)] + [(0.0, 0.0, 0.0)] * 17], (8, 6))
    assert person == [4.0, 3.0, 1.0] + [0.0] * 51


def marks(*places):
    """Maps of 18 joints, (18, 12, 12), with (joint, x, y, how likely) in turn; one region that holds them all."""
    maps = torch.zeros(18, 12, 12)
    for joint, x, y, likely in places:
        maps[joint, y, x] = likely
    (person,) = find_people(maps, np.ones((12, 12), bool))
    return {joint: tuple(np.round(at[:2] * 12 - 0.5).astype(int)) for joint, at in enumerate(person) if at[2] >= 0.15}


def test_a_joint_that_is_taken_for_the_one_opposite_goes_where_it_is_seen_too():
    ankles = [(10, 8, 9, 0.8), (13, 8, 10, 0.9), (10, 2, 9, 0.5)]
    assert marks(*ankles) == {10: (2, 9), 13: (8, 10)}
    assert marks(*ankles[:2]) == {10: (8, 9), 13: (8, 10)}  # seen nowhere else
    assert marks(*ankles[:2], (10, 2, 9, 0.1)) == {10: (8, 9), 13: (8, 10)}


def test_joints_that_stand_apart_stay_where_they_are_most_likely():
    assert marks((10, 2, 9, 0.8), (13, 8, 9, 0.9), (10, 9, 9, 0.7)) == {10: (2, 9), 13: (8, 9)}


def test_at_most_as_many_people_are_kept_as_a_pose_may_hold():
    assert len(draw_people([[(4.0, 3.0, 1.0)] * 18] * 50, (8, 6))[1]) == 40


def test_a_long_picture_is_read_at_a_size_that_fits(weights, monkeypatch):
    sizes, run = [], torch.nn.Module.__call__

    def noted(self, *inputs):
        if type(self).__name__ == "Reader":
            sizes.append(tuple(inputs[0].shape[2:]))
        return run(self, *inputs)

    monkeypatch.setattr(torch.nn.Module, "__call__", noted)
    starter.depth(noise((8000, 8)), weights=weights)
    starter.depth(noise((256, 128)), weights=weights)
    assert sizes == [(16, 1024), (SIDE, 2 * SIDE)]


@every
def test_without_the_packs_file_it_says_what_is_missing(row, tmp_path):
    files = AnnotatorFiles((tmp_path,))
    assert files.needs(row) == "annotator.safetensors of the starter pack, which is not here"
    assert files.downloads(row) == []
    with pytest.raises(Exception, match=r"needs annotator\.safetensors") as error:
        files.check(row, ROWS)
    assert "assets/starter" in error.value.hint
    save_reader(tmp_path)
    assert (files.needs(row), files.ready(row)) == ("", True)


@every
def test_it_is_the_default_of_its_kind_when_it_is_all_there_is(row, weights):
    assert find_annotator(load_registry(), row.kind, weights.files.ready).name == row.name


def test_a_file_that_is_cut_short_or_another_is_told(tmp_path, weights):
    for content in (b"", weights.file(starter.FILE).read_bytes()[:9000]):
        (tmp_path / starter.FILE).write_bytes(content)
        with pytest.raises(ModelNotFoundError, match="is damaged, or holds something else"):
            starter.depth(noise(), weights=Weights(AnnotatorFiles((tmp_path,))))
    torch.save({"a": torch.ones(1)}, tmp_path / starter.FILE)
    with pytest.raises(ModelNotFoundError, match="is damaged, or holds something else"):
        starter.depth(noise(), weights=Weights(AnnotatorFiles((tmp_path,))))


def test_a_network_is_held_until_its_file_changes(tmp_path):
    weights = Weights(AnnotatorFiles((save_reader(tmp_path).parent,)))
    made, build = [], lambda file: made.append(torch.nn.Linear(1, 1)) or made[-1]
    for _ in range(2):
        with weights.network([starter.FILE], build) as network:
            assert network is made[0]
    (tmp_path / starter.FILE).write_bytes(b"another")
    with weights.network([starter.FILE], build) as network:
        assert network is made[1]
    weights.forget()
    with weights.network([starter.FILE], build) as network:
        assert network is made[2]

"""Each annotator with a network, run on random weights of its real architecture in the layout that is published."""

import importlib
import importlib.util
import inspect
import sys
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from studio import engine  # mends a torchvision of another build before it is imported
from studio.annotators import register_annotators
from studio.control import networks
from studio.control.openpose import joints_of
from studio.control.people import BONES, draw_details
from studio.control.weights import Weights, read_state
from studio.errors import InvalidRequestError, ModelNotFoundError
from studio.hookspecs import CAPTION
from studio.library.annotators import AnnotatorFiles
from studio.registry import find_annotator, load_registry
from studio.skeleton import JOINTS
from tests.control.pictures import noise

assert engine
ROWS = {
    row.name: row
    for row in register_annotators()
    if row.kind != CAPTION and any(weights.repo for weights in row.weights)
}
LARGE = ("depth_midas", "normal_bae", "openpose_full")  # files of 300 MB and more, written and read
WITHOUT_AUX = ("depth_anything", "depth_zoe", "dwpose")
MAKERS = {
    "softedge_hed": "hed",
    "softedge_pidinet": "pidinet",
    "scribble_hed": "hed",
    "scribble_pidinet": "pidinet",
    "lineart_realistic": "lineart",
    "lineart_anime": "lineart_anime",
    "mlsd": "mlsd",
    "depth_anything": "depth_anything",
    "depth_midas": "midas",
    "depth_zoe": "zoe",
    "normal_bae": "normal_bae",
    "segments_ade20k": "upernet",
    "dwpose": "dwpose",
    "openpose": "openpose",
    "openpose_full": "openpose",
}
with_aux = pytest.mark.skipif(importlib.util.find_spec("controlnet_aux") is None, reason="controlnet-aux is not here")


def param(row):
    marks = [*([] if row.name in WITHOUT_AUX else [with_aux]), *([pytest.mark.slow] if row.name in LARGE else [])]
    return pytest.param(row, id=row.name, marks=marks)


every = pytest.mark.parametrize("row", [param(row) for row in ROWS.values()])


def function(row):
    module, _, name = row.module.partition(":")
    return getattr(importlib.import_module(module), name or "annotate")


def made(row, image, weights, **options):
    found = function(row)(image, weights=weights, **options)
    return found if isinstance(found, tuple) else (found, None)


@pytest.fixture
def weights(tmp_path):
    return Weights(AnnotatorFiles((tmp_path,)))


def fill(row, folder):
    from tests.control import networks as makers

    torch.manual_seed(zlib.crc32(row.name.encode()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        getattr(makers, MAKERS[row.name])(folder)


def test_every_row_is_tried():
    assert ROWS.keys() == MAKERS.keys()


@every
def test_names_and_defaults_are_the_functions(row):
    parameters = list(inspect.signature(function(row)).parameters.values())[1:]
    assert {p.name: p.default for p in parameters if p.name != "weights"} == row.complete({})


@every
def test_random_weights_give_a_map_of_the_pictures_size_always_the_same(row, weights, tmp_path):
    fill(row, tmp_path)
    assert weights.files.ready(row)
    image = noise((70, 45))
    first, people = made(row, image, weights, resolution=256)
    assert (first.mode, first.size) == ("RGB", image.size)
    second, again = made(row, image, Weights(weights.files), resolution=256)
    assert (second.tobytes(), again) == (first.tobytes(), people)
    assert (people is not None) == (row.kind == "pose")
    for option in row.options[1:]:
        assert made(row, image, weights, resolution=256, **{option.name: option.max})[0].size == image.size
    if row.kind not in ("pose", "lines", "scribble"):  # random weights draw no line that is sure
        assert np.asarray(first).std() > 0


@every
def test_what_is_no_size_is_refused_before_anything_is_opened(row, weights):
    for resolution in (255, 1025, float("nan")):
        with pytest.raises(ValueError, match="not between 256 and 1024"):
            function(row)(noise(), weights=weights, resolution=resolution)


@every
def test_weights_that_are_cut_short_or_of_another_network_are_told(row, weights, tmp_path):
    fill(row, tmp_path)
    name = row.weights[0].name
    file = tmp_path / name if (tmp_path / name).is_file() else tmp_path / name / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelNotFoundError, match="is damaged, or holds something else") as error:
        function(row)(noise(), weights=weights)
    assert name in str(error.value)
    assert "data/models/annotators" in error.value.hint
    if file.suffix != ".safetensors":
        torch.save({"some.weight": torch.ones(3)}, file)
        with pytest.raises(ModelNotFoundError, match="is damaged, or holds something else"):
            function(row)(noise(), weights=weights)


@every
def test_without_weights_it_says_how_to_get_them(row, weights):
    with pytest.raises(InvalidRequestError, match="needs a download of about") as error:
        weights.files.check(row, load_registry().annotators.values())
    assert f"annotate {row.name} FILE" in error.value.hint
    assert [body["kind"] for body in weights.files.downloads(row)] == ["annotator"] * len(row.weights)
    with pytest.raises(ModelNotFoundError, match="is not here any more"):
        function(row)(noise(), weights=weights)


@pytest.mark.parametrize(
    ("kind", "built_in"), [("softedge", "softedge"), ("lineart", "lineart"), ("scribble", "scribble")]
)
def test_what_works_at_once_is_named_instead(kind, built_in, weights):
    row = next(row for row in ROWS.values() if row.kind == kind)
    with pytest.raises(InvalidRequestError) as error:
        weights.files.check(row, load_registry().annotators.values())
    assert built_in in error.value.hint.partition("What works at once: ")[2]


def test_the_best_that_is_there_is_the_default_of_its_kind(weights, tmp_path):
    (tmp_path / "annotator.safetensors").touch()
    (tmp_path / "dpt_hybrid-midas-501f0c75.pt").touch()
    assert find_annotator(load_registry(), "depth", weights.files.ready).name == "depth_midas"
    assert find_annotator(load_registry(), "pose", weights.files.ready).name == "starter_pose"


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (640, 480), (5000, 3000)])
def test_pictures_are_looked_at_in_sides_that_networks_take(size):
    height, width = networks.looked_at(noise((8, 8)).resize(size), 512).shape[:2]
    assert height % 64 == width % 64 == 0
    assert min(height, width) <= 512
    assert max(height, width) <= 4 * 512


def test_a_flat_depth_is_black_and_a_slope_uses_the_whole_range():
    assert networks.depth_map(np.full((4, 4), 7.0), noise((4, 4))).getbbox() is None
    slope = np.asarray(networks.depth_map(np.arange(16.0).reshape(4, 4), noise((4, 4))))
    assert (slope.min(), slope.max(), slope[3, 3, 0]) == (0, 255, 255)


def test_a_pickle_that_names_code_is_not_run(weights, tmp_path):
    class Trap:
        def __reduce__(self):
            return pytest.fail, ("it was run",)

    torch.save({"some.weight": Trap()}, tmp_path / "a.pth")
    with pytest.raises(ModelNotFoundError, match="holds something else"), weights.network(["a.pth"], read_state):
        pytest.fail("it was opened")


def test_where_controlnet_aux_is_not_installed_it_says_so(weights, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "controlnet_aux", None)
    (tmp_path / "ControlNetHED.pth").touch()
    with pytest.raises(ModelNotFoundError, match="needs controlnet-aux") as error:
        function(ROWS["softedge_hed"])(noise(), weights=weights)
    assert "python launch.py" in error.value.hint


def point(x, y):
    return type("Keypoint", (), {"x": x, "y": y})


def test_joints_are_in_pixels_of_the_picture_and_zeros_where_none_was_found():
    found = [point(0.5, 0.25), point(-0.01, 0.5), *[None] * (len(JOINTS) - 2)]
    assert joints_of(found, (200, 100)) == [(100.0, 25.0, 1.0), *[(0.0, 0.0, 0.0)] * 17]
    assert joints_of(None, (200, 100)) == []


def test_hands_and_faces_are_drawn_over_the_skeletons():
    missing, black = (0.0, 0.0, 0.0), Image.new("RGB", (64, 48))
    assert draw_details(black.copy(), [[missing] * 21], [[]]).getbbox() is None
    hand = [(16.0, 24.0, 1.0), (32.0, 24.0, 1.0), *[missing] * 19]
    drawn = np.asarray(draw_details(black.copy(), [hand, []], []))
    assert drawn[24, 16].tolist() == [0, 0, 255]  # a joint of a finger
    assert drawn[24, 24].tolist() == [255, 0, 0]  # the first bone of the thumb
    assert draw_details(black.copy(), [], [[missing, (32.0, 24.0, 1.0)]]).getbbox() == (29, 21, 36, 28)


def test_a_hand_has_five_fingers_of_four_bones_from_the_wrist():
    assert len(BONES) == 20
    assert [bone for bone in BONES if bone[0] == 0] == [(0, 1), (0, 5), (0, 9), (0, 13), (0, 17)]
    assert (18, 19) in BONES

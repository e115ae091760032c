"""What the worker does with an annotator of an extension."""

import sys
from types import ModuleType

import numpy as np
import pytest
from PIL import Image, ImageDraw

from studio.control.weights import Weights
from studio.errors import ModelNotFoundError
from studio.hookspecs import AnnotatorSpec, WeightsSpec
from studio.library.annotators import AnnotatorFiles
from studio.messages import Annotate
from studio.worker.annotate import Tools, annotate

PHOTO = Image.new("RGB", (6, 4), "red")
NOBODY, SOMEBODY = [0.0] * 54, [3.0, 2.0, 1.0] + [0.0] * 51


def tools(module="foreign", weights=(), kind="edges", photo=PHOTO):
    row = AnnotatorSpec(name="mine", label="Mine", kind=kind, module=module, weights=weights)
    return Tools({"mine": row}, Weights(AnnotatorFiles(())), lambda _asset: photo)


def answer(monkeypatch, function, **asked):
    module = ModuleType("foreign")
    module.annotate = function
    monkeypatch.setitem(sys.modules, "foreign", module)
    return annotate(Annotate("1", "a" * 64, "mine", (("size", 2.0),), **asked), tools())


def test_its_options_arrive_and_its_map_comes_back(monkeypatch):
    said = answer(monkeypatch, lambda image, *, size: image.point(lambda value: value // size))
    assert (said.id, said.width, said.height, said.rgb[:3]) == ("1", 6, 4, bytes((127, 0, 0)))


@pytest.mark.parametrize(
    "made", [None, Image.new("L", (6, 4)), Image.new("RGB", (4, 6))], ids=("nothing", "another mode", "another size")
)
def test_what_is_no_map_is_refused(monkeypatch, made):
    said = answer(monkeypatch, lambda image, *, size: made)
    assert "something else than an RGB map" in said.message
    assert not said.rgb


def raising(error):
    def function(image, *, size):
        raise error

    return function


def test_its_own_sentence_is_kept(monkeypatch):
    said = answer(monkeypatch, raising(ModelNotFoundError("It needs a download.", hint="Download it.")))
    assert (said.message, said.hint, said.detail) == ("It needs a download.", "Download it.", "")


def test_a_bug_is_told_with_its_traceback_and_a_lack_of_memory_without(monkeypatch):
    said = answer(monkeypatch, raising(KeyError("k")))
    assert "KeyError" in said.message
    assert "Traceback" in said.detail
    assert "memory" in answer(monkeypatch, raising(MemoryError())).message


def test_a_module_that_is_not_there_is_told(monkeypatch):
    assert "ModuleNotFoundError" in annotate(Annotate("1", "", "mine"), tools("no_module_of_that_name")).message


def test_a_function_is_named_behind_its_module_and_opens_its_weights(monkeypatch):
    module = ModuleType("foreign")
    module.deep = lambda image, *, weights: image.point(lambda _value: 9 if isinstance(weights, Weights) else 0)
    monkeypatch.setitem(sys.modules, "foreign", module)
    said = annotate(Annotate("1", "", "mine"), tools("foreign:deep", (WeightsSpec(name="a.pth"),)))
    assert said.rgb[:3] == bytes((9, 9, 9))


def test_people_come_back_as_a_pose_on_a_canvas_of_the_pictures_size(monkeypatch):
    said = answer(monkeypatch, lambda image, *, size: (image, [SOMEBODY, NOBODY]))
    people = [{"pose_keypoints_2d": SOMEBODY}, {"pose_keypoints_2d": NOBODY}]
    assert said.pose == {"canvas_width": 6, "canvas_height": 4, "people": people}
    assert answer(monkeypatch, lambda image, *, size: image).pose is None


@pytest.mark.parametrize("people", [[[1.0] * 53], [[float("nan")] * 54], ["x"]], ids=("short", "nan", "text"))
def test_what_is_no_pose_is_refused(monkeypatch, people):
    assert "gave no pose" in answer(monkeypatch, lambda image, *, size: (image, people)).message


def test_people_in_a_frame_stand_where_the_picture_lies_in_it(monkeypatch):
    def pose(image, *, size):
        return image, [[image.width / 2, image.height / 2, 1.0] + [0.0] * 51]

    said = answer(monkeypatch, pose, size=(12, 24), resize_mode="fill")
    assert (said.width, said.height, said.pose["canvas_height"]) == (12, 24, 24)
    assert said.pose["people"][0]["pose_keypoints_2d"][:6] == [6.0, 12.0, 1.0, 0.0, 0.0, 0.0]
    assert answer(monkeypatch, pose, size=(4, 4)).pose["people"][0]["pose_keypoints_2d"][:2] == [2.0, 2.0]


@pytest.mark.parametrize("mode", ["crop", "fill", "stretch"])
@pytest.mark.parametrize("side", [64, 2048], ids=("a small photo", "a large one"))
def test_lines_are_one_pixel_wide_at_the_size_that_is_wanted(side, mode):
    photo = Image.new("RGB", (side, side), "white")
    ImageDraw.Draw(photo).rectangle((side // 4, side // 4, side * 3 // 4, side * 3 // 4), fill="black")
    asked = Annotate("1", "a" * 64, "mine", (), size=(512, 512), resize_mode=mode)
    said = annotate(asked, tools("studio.control.canny", photo=photo))
    drawn = np.frombuffer(said.rgb, np.uint8).reshape(512, 512, 3)[..., 0]
    assert set(np.unique(drawn)) == {0, 255}
    across = drawn[256] > 0
    assert across.sum() == 2
    assert np.abs(np.flatnonzero(across) - [128, 384]).max() <= 8  # a pixel of the small photo


def test_captions_are_words_and_nothing_else(monkeypatch):
    module = ModuleType("foreign")
    module.annotate = lambda image: " a house "
    monkeypatch.setitem(sys.modules, "foreign", module)
    said = annotate(Annotate("1", "", "mine"), tools(kind="caption"))
    assert (said.words, said.rgb) == ("a house", b"")
    module.annotate = lambda image: image
    assert "gave no words" in annotate(Annotate("1", "", "mine"), tools(kind="caption")).message

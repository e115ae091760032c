"""What the worker does with an annotator of an extension."""

import sys
from types import ModuleType

import pytest
from PIL import Image

from studio.errors import ModelNotFoundError
from studio.hookspecs import AnnotatorSpec
from studio.messages import Annotate
from studio.worker.annotate import annotate

PHOTO = Image.new("RGB", (6, 4), "red")


def answer(monkeypatch, function):
    module = ModuleType("foreign")
    module.annotate = function
    monkeypatch.setitem(sys.modules, "foreign", module)
    rows = {"mine": AnnotatorSpec(name="mine", label="Mine", kind="edges", module="foreign")}
    return annotate(Annotate("1", "a" * 64, "mine", (("size", 2.0),)), rows, lambda _asset: PHOTO)


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
    rows = {"mine": AnnotatorSpec(name="mine", label="Mine", kind="edges", module="no_module_of_that_name")}
    assert "ModuleNotFoundError" in annotate(Annotate("1", "", "mine"), rows, lambda _asset: PHOTO).message

"""The rows of the registry say what the annotators' functions do."""

import importlib
import inspect
import subprocess
import sys

import pytest

from studio.annotators import register_annotators
from tests.control.pictures import noise

ROWS = [row for row in register_annotators() if not row.weights]
OPTIONS = [pytest.param(row, option, id=f"{row.name}-{option.name}") for row in ROWS for option in row.options]


def function(row):
    return importlib.import_module(row.module).annotate


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_names_and_defaults_are_the_functions(row):
    parameters = list(inspect.signature(function(row)).parameters.values())[1:]
    assert {p.name: p.default for p in parameters} == row.complete({})
    made = function(row)(noise(), **row.complete({}))
    assert made.tobytes() == function(row)(noise()).tobytes()


@pytest.mark.parametrize(("row", "option"), OPTIONS)
def test_the_function_takes_the_whole_slider_and_no_more(row, option):
    assert option.min <= option.default <= option.max
    assert option.label
    others = {"low_threshold": 0.0, "high_threshold": 255.0} if row.name == "canny" else {}
    for value in (option.min, option.max):
        assert function(row)(noise(), **others | {option.name: value}).size == noise().size
    for value in (option.min - option.step, option.max + option.step):
        if row.name == "canny" and 0 <= value <= 255:
            continue  # its limits are each other
        with pytest.raises(ValueError, match=r"between|must satisfy"):
            function(row)(noise(), **others | {option.name: value})


def test_listing_them_imports_nothing_heavy():
    script = (
        "import sys; from studio.registry import load_registry; assert load_registry().annotators;"
        "print([m for m in ('torch', 'cv2', 'numpy', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

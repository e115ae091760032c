from pathlib import Path

import pytest

from studio.errors import InvalidRequestError
from studio.registry import find_annotator, load_registry
from studio.settings import BUILTIN

EXTENSION = """
from studio.hookspecs import AnnotatorSpec, ControlKindSpec, OptionSpec, SchedulerSpec, TabSpec, hookimpl

@hookimpl
def register_schedulers():
    return [SchedulerSpec(name="{name}", label="Mine", class_name="DDIMScheduler")]

@hookimpl
def register_control_kinds():
    return [ControlKindSpec(name="foil", label="Foil", description="Crumpled foil.")]

@hookimpl
def register_annotators():
    shine = OptionSpec(name="shine", label="Shine", default=1, min=0, max=2, step=0.5)
    module = "maquette_extensions.mine.foil"
    return [AnnotatorSpec(name="crumple", label="Crumple", kind="foil", module=module, options=(shine,))]
"""


@pytest.fixture
def folder(tmp_path):
    def write(name: str, source: str) -> Path:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(source)
        return tmp_path

    return write


def test_the_schedulers_of_the_design_are_there():
    names = {"ddim", "euler", "euler_a", "heun", "dpmpp_2m", "dpmpp_2m_sde", "unipc", "lcm"}
    assert names <= set(load_registry().schedulers)


def test_an_extension_adds_rows(folder):
    registry = load_registry([folder("mine", EXTENSION.format(name="mine"))])
    assert registry.schedulers["mine"].label == "Mine"
    assert registry.control_kinds["foil"].label == "Foil"
    assert registry.annotators["crumple"].complete({"shine": 2}) == {"shine": 2.0}
    assert (registry.extensions, registry.warnings) == (["mine"], [])


def test_a_taken_name_leaves_the_whole_extension_out(folder):
    registry = load_registry([folder("greedy", EXTENSION.format(name="ddim"))])
    assert "foil" not in registry.control_kinds
    assert "the scheduler 'ddim' exists already" in registry.warnings[0]


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import nothing_of_that_name", "ModuleNotFoundError"),
        ("def broken(:", "SyntaxError"),
        (EXTENSION.format(name="x").replace("return [Sch", "raise KeyError('k')\n    return [Sch"), "KeyError"),
        (
            EXTENSION.format(name="x").replace(
                '[ControlKindSpec(name="foil", label="Foil", description="Crumpled foil.")]', "[3]"
            ),
            "no ControlKindSpec",
        ),
    ],
)
def test_a_broken_extension_is_named_and_the_others_load(folder, source, says):
    folder("good", EXTENSION.format(name="good"))
    registry = load_registry([folder("bad", source)])
    assert registry.extensions == ["good"]
    assert says in registry.warnings[0]
    assert "bad" in registry.warnings[0]


def test_a_folder_that_is_not_there_is_no_error(tmp_path):
    assert load_registry([tmp_path / "none"]).warnings == []


def test_the_example_extension_loads_and_brings_a_scheduler_and_a_tab():
    registry = load_registry([BUILTIN / "extensions"])
    assert registry.warnings == []
    assert "deis" in registry.schedulers
    assert "ideas" in registry.tabs


def test_an_annotator_is_found_by_its_name_or_by_the_kind_of_its_maps():
    registry = load_registry()
    assert find_annotator(registry, "canny").name == find_annotator(registry, "edges").name == "canny"
    assert find_annotator(registry, "scribble").name == "scribble"
    with pytest.raises(InvalidRequestError, match="no annotator 'spell'") as error:
        find_annotator(registry, "spell")
    assert "softedge" in error.value.hint


def test_options_that_are_not_given_have_their_defaults():
    canny = load_registry().annotators["canny"]
    assert canny.complete({}) == {"low_threshold": 100, "high_threshold": 200}
    assert canny.complete({"low_threshold": 50}) == {"low_threshold": 50, "high_threshold": 200}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"depth": 3}, "has no option 'depth'"),
        ({"low_threshold": "much"}, "must be a number"),
        ({"low_threshold": True}, "must be a number"),
        ({"low_threshold": None}, "must be a number"),
        ({"low_threshold": float("nan")}, "not between"),
        ({"high_threshold": 256}, "not between 1 and 255"),
        ({"low_threshold": 200}, "not below high_threshold, 200"),
    ],
)
def test_wrong_options_are_refused_by_name(options, says):
    with pytest.raises(InvalidRequestError, match=says) as error:
        load_registry().annotators["canny"].complete(options)
    assert error.value.field in options

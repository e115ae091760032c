from pathlib import Path

import pytest

from studio.registry import load_registry
from studio.settings import BUILTIN

EXTENSION = """
from studio.hookspecs import ControlKindSpec, SchedulerSpec, TabSpec, hookimpl

@hookimpl
def register_schedulers():
    return [SchedulerSpec(name="{name}", label="Mine", class_name="DDIMScheduler")]

@hookimpl
def register_control_kinds():
    return [ControlKindSpec(name="foil", label="Foil", description="Crumpled foil.")]
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

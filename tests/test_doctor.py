import json

import pytest

from studio import doctor as module
from studio.doctor import Problem, doctor, examine, report, torch_problems
from studio.settings import load_settings

CPU = {"torchvision_mended": False, "device": "cpu", "cuda_build": "", "kernel": "sdpa", "precision": "fp32"}
NO_COMPILER = "Turbo needs a C++ compiler on a CPU, such as g++ or clang++, and there is none."


@pytest.fixture
def settings(tmp_path):
    return load_settings(tmp_path / "data")


@pytest.fixture
def probed(monkeypatch):
    """The probe's answer without its seconds of importing torch; one test below runs the real one."""
    monkeypatch.setattr(module, "probe_torch", lambda settings, problems: CPU)


def test_json_names_the_interpreter_and_what_runs(settings, capsys):
    import sys

    status = doctor(settings, as_json=True)
    said = json.loads(capsys.readouterr().out)
    assert said["python"] == sys.executable
    assert said["torch"]["kernel"] == "sdpa"
    assert said["torch"]["kernel_ms"]["sdpa"] >= 0
    assert said["torch"]["kernel_left_out"]["sliced"] == "not needed"
    assert said["torch"]["turbo"]
    kept = settings.paths.root / "cache" / "attention.json"
    assert json.loads(kept.read_text()).popitem()[1]["name"] == "sdpa"
    assert said["torch"]["precision"] in ("fp32", "fp16", "bf16")
    assert said["packages"]["torch"]
    assert status == (0 if said["ok"] else 1)


def test_a_device_that_is_not_there_is_a_problem(tmp_path):
    problems = []
    module.probe_torch(load_settings(tmp_path / "data", device="cuda:99"), problems)
    assert any("cuda:99" in problem.what for problem in problems)


def test_a_folder_that_cannot_be_written_is_a_problem(settings, probed, capsys):
    settings.paths.root.touch()
    assert doctor(settings, as_json=False) == 1
    assert "wrong: The data folder" in capsys.readouterr().out


def test_a_full_disk_is_noted(settings, probed, monkeypatch):
    monkeypatch.setattr(module, "LOW_DISK_GB", 1e9)
    _, problems = examine(settings)
    assert any("GB left" in problem.what for problem in problems)


def test_an_absent_package_is_a_problem(monkeypatch):
    monkeypatch.setattr(module, "PACKAGES", ("no-such-package", "xformers"))
    problems = []
    assert module.packages(problems)["no-such-package"] is None
    assert [problem.what for problem in problems] == ["no-such-package is not installed."]


def test_a_mended_torchvision_is_noted():
    (problem,) = torch_problems(CPU | {"torchvision_mended": True}, nvidia=False)
    assert "torchvision" in problem.what
    assert not problem.stops


@pytest.mark.parametrize(("build", "way_out"), [("", "CUDA build"), ("13.0", "driver")])
def test_an_idle_gpu_is_noted(build, way_out):
    (problem,) = torch_problems(CPU | {"cuda_build": build}, nvidia=True)
    assert way_out in problem.way_out
    assert torch_problems(CPU | {"device": "cuda"}, nvidia=True) == []


def test_turbo_without_a_compiler_is_noted_where_it_is_wanted():
    (problem,) = torch_problems(CPU | {"turbo": NO_COMPILER}, nvidia=False, turbo=True)
    assert problem.what == NO_COMPILER
    assert not problem.stops
    assert torch_problems(CPU | {"turbo": NO_COMPILER}, nvidia=False) == []
    assert torch_problems(CPU | {"turbo": "possible"}, nvidia=False, turbo=True) == []


def test_the_report_is_plain_text_with_the_way_out():
    facts = {"python": "/usr/bin/python3", "packages": {"torch": "2.13.0", "xformers": None}, "torch": {}}
    text = report(facts, [Problem("The disk is full.", "Free some space.")])
    assert "python: /usr/bin/python3" in text
    assert "  xformers: -" in text
    assert text.endswith("wrong: The disk is full.\n  do: Free some space.")
    assert report(facts, []).endswith("Nothing is wrong.")


def test_damaged_models_are_noted_and_the_others_counted(settings, probed, capsys):
    folder = settings.paths.models / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cut.safetensors").write_bytes(b"")
    assert doctor(settings, as_json=False) == 0
    said = capsys.readouterr().out
    assert "unusable: 1\n" in said
    assert "note: These models are damaged: cut." in said

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import launch

ROOT = Path(launch.__file__).parent
LOCK = "# a comment\ntorch==2.13.0\ntyping-extensions==4.16.0\ncolorama==0.4.6; sys_platform == 'win32'\n"


@pytest.fixture
def lock(tmp_path):
    path = tmp_path / "studio" / "requirements.lock"
    path.parent.mkdir()
    path.write_text(LOCK)
    return path


@pytest.fixture
def venv(tmp_path, lock):
    """A virtual environment as set-up leaves it: the interpreter, the packages and the stamp."""
    folder = tmp_path / ".venv"
    site = folder / "lib" / "python3.11" / "site-packages"
    for name in ("torch-2.13.0+cpu.dist-info", "typing_extensions-4.16.0.dist-info"):
        (site / name).mkdir(parents=True)
    python = launch.python_of(folder)
    python.parent.mkdir(parents=True, exist_ok=True)
    python.symlink_to(sys.executable)
    (folder / "maquette-stamp").write_text(launch.stamp_of([lock]))
    return folder


@pytest.mark.parametrize(
    ("version", "requirement", "fits"),
    [
        ("2.13.0+cpu", "torch>=2.11,<2.14", True),
        ("2.14.0", "torch>=2.11,<2.14", False),
        ("2.9.1", "torch>=2.11,<2.14", False),
        ("2.13", "torch==2.13.0", True),
        ("6.31.0", "gradio>=6.31,<6.32", True),
        ("10.0", "pillow>=9", True),
        ("1.0rc1", "pluggy>=1.0", True),
        (None, "pillow", False),
        ("0.1", "pillow", True),
    ],
)
def test_versions_are_compared_by_number(version, requirement, fits):
    assert launch.satisfies(version, requirement) is fits


def test_missing_names_what_is_absent_or_does_not_fit():
    versions = {"torch": "2.13.0", "opencv-python-headless": "4.0"}
    requirements = ["torch>=2.11", "opencv-python-headless>=4.12", "pillow>=12,<13"]
    assert launch.missing(requirements, versions.get) == ["opencv-python-headless>=4.12", "pillow>=12,<13"]


def test_the_locks_satisfy_pyproject():
    locked = dict(pin.partition(";")[0].strip().split("==") for pin in launch.pins(launch.LOCKS))
    assert launch.missing(launch.wanted(tests=True), locked.get) == []


@pytest.mark.parametrize("extra", ["annotators", "training", "upscalers"])
def test_the_locks_hold_what_is_optional(extra):
    """For who brings an interpreter of their own: what needs it says so, and the rest works without."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    locked = dict(pin.partition(";")[0].strip().split("==") for pin in launch.pins(launch.LOCKS))
    assert launch.missing(project["optional-dependencies"][extra], locked.get) == []
    assert {"torchvision", "einops", "timm", "scikit-image"} <= locked.keys()  # what they need and we do not


def test_the_running_interpreter_is_used_when_it_satisfies(monkeypatch):
    monkeypatch.setattr(launch, "wanted", lambda tests: ["pytest>=1"])
    assert launch.find_python(tests=True) == sys.executable


def test_a_finished_environment_is_used_as_it_is(venv, lock):
    assert launch.is_ready(venv, [lock])


def test_a_changed_lock_asks_for_set_up(venv, lock):
    lock.write_text(LOCK.replace("4.16.0", "4.17.0"))
    assert not launch.is_ready(venv, [lock])


def test_a_missing_package_asks_for_set_up(venv, lock):
    (venv / "lib/python3.11/site-packages/torch-2.13.0+cpu.dist-info").rmdir()
    assert not launch.is_ready(venv, [lock])


def test_a_lost_interpreter_asks_for_set_up(venv, lock):
    launch.python_of(venv).unlink()
    launch.python_of(venv).symlink_to(venv / "gone")
    assert not launch.is_ready(venv, [lock])


def test_an_environment_without_stamp_asks_for_set_up(venv, lock):
    (venv / "maquette-stamp").unlink()
    assert not launch.is_ready(venv, [lock])


def test_an_environment_with_the_test_extras_serves_too(venv, lock, tmp_path):
    extras = tmp_path / "tests" / "requirements.lock"
    extras.parent.mkdir()
    extras.write_text("pytest==9.0.3\n")
    assert not launch.is_ready(venv, [lock, extras])
    (venv / "lib/python3.11/site-packages/pytest-9.0.3.dist-info").mkdir()
    (venv / "maquette-stamp").write_text(launch.stamp_of([lock, extras]))
    assert launch.is_ready(venv, [lock, extras])
    assert launch.is_ready(venv, [lock])


def test_the_interpreter_lies_where_each_system_puts_it():
    assert launch.python_of(Path(".venv"), windows=True) == Path(".venv/Scripts/python.exe")
    assert launch.python_of(Path(".venv"), windows=False) == Path(".venv/bin/python")


def test_an_old_python_is_told_which_one_to_use():
    there = {"python3.12": "/usr/bin/python3.12"}.get
    assert launch.too_old((3, 9), there).endswith("this is Python 3.9. Run: python3.12 launch.py")
    assert "https://www.python.org" in launch.too_old((3, 9), lambda name: None)


def test_an_old_python_ends_with_status_2(monkeypatch, capsys):
    monkeypatch.setattr(launch, "OLDEST_PYTHON", (99, 0))
    assert launch.main([]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_failed_set_up_is_one_sentence_and_status_1(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(launch, "wanted", lambda tests: ["not-a-package>=1"])
    monkeypatch.setattr(launch, "VENV", tmp_path / "a file, not a folder" / ".venv")
    (tmp_path / "a file, not a folder").touch()
    assert launch.main([]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot be written" in line
    assert "Move the studio" in line


def test_the_studio_runs_from_any_folder(tmp_path):
    (tmp_path / "studio").mkdir()
    (tmp_path / "studio" / "__main__.py").write_text("print('the wrong one')")
    command = [sys.executable, str(ROOT / "launch.py"), "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: python launch.py")


def test_launch_py_stays_short():
    assert len((ROOT / "launch.py").read_text().splitlines()) < 200

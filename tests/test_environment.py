import shutil
import sys
from collections import namedtuple
from pathlib import Path

import pytest

import launch
from studio import environment
from studio.errors import StartError

FULL_DISK = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"
NO_NETWORK = (
    "WARNING: Retrying after connection broken by 'NewConnectionError(...: Failed to establish a new connection: "
    "[Errno -3] Temporary failure in name resolution')': /simple/torch/\n"
    "ERROR: Could not find a version that satisfies the requirement torch==2.13.0 (from versions: none)\n"
    "ERROR: No matching distribution found for torch==2.13.0"
)
NO_WHEEL = (
    "ERROR: Could not find a version that satisfies the requirement torch==2.13.0 (from versions: 2.14.0)\n"
    "ERROR: No matching distribution found for torch==2.13.0"
)


def never(index):
    raise AssertionError(f"{index} was asked")


@pytest.mark.parametrize(
    ("system", "machine", "nvidia", "index"),
    [
        ("Linux", "x86_64", True, ""),
        ("Linux", "aarch64", True, environment.CUDA_INDEX),
        ("Windows", "AMD64", True, environment.CUDA_INDEX),
        ("Windows", "AMD64", False, ""),
        ("Darwin", "arm64", False, ""),
    ],
)
def test_torch_comes_from_the_index_that_has_the_build(system, machine, nvidia, index):
    assert environment.torch_index(system, machine, nvidia=nvidia, answers=never) == index


@pytest.mark.parametrize(("up", "index"), [(True, environment.CPU_INDEX), (False, "")])
def test_linux_without_a_gpu_takes_the_cpu_index_if_it_answers(up, index):
    assert environment.torch_index("Linux", "x86_64", nvidia=False, answers=lambda _: up) == index


def test_an_index_that_is_not_there_does_not_answer():
    assert not environment.answers("http://127.0.0.1:9", seconds=2)


@pytest.mark.parametrize(
    ("output", "reason", "way_out"),
    [
        (FULL_DISK, "the disk is full", "Free some space"),
        (NO_NETWORK, "the package index did not answer", "Check the network"),
        (NO_WHEEL, "no version for Python", "https://www.python.org"),
        ("[Errno 13] Permission denied: '/opt/x'", "cannot be written", "folder of your own"),
        ("building\nerror: something new\n", "error: something new", "setup.log"),
        ("", "no output", "setup.log"),
    ],
)
def test_every_failure_is_a_sentence_with_the_way_out(output, reason, way_out):
    error = environment.explain(output, "Installing", hint="setup.log has the whole story.")
    assert reason in str(error)
    assert way_out in error.hint
    assert "\n" not in error.sentence()


def test_a_full_disk_is_found_before_anything_is_downloaded(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")(10, 9, 1_200_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(StartError, match=r"needs 3 GB of disk space and .* has 1\.2 GB"):
        environment.check_folder(tmp_path, 3)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(StartError, match="cannot be written"):
        environment.check_folder(tmp_path / "absent", 0)


def test_progress_counts_packages_and_names_the_one_at_work():
    lines = ["Requirement already satisfied: torch==2.13.0 in x\n", "Collecting numpy==2.4.6 (from -r lock (line 3))\n"]
    assert environment.progress(lines, "2/2 packages", 60) == "2/2 packages: 2 of 60, numpy"
    lines.append("  Downloading numpy-2.4.6-cp311-linux_x86_64.whl (16.2 MB)\n")
    assert environment.progress(lines, "2/2 packages", 60) == "2/2 packages: 2 of 60, numpy (16.2 MB)"
    lines.append("Installing collected packages: numpy\n")
    assert environment.progress(lines, "2/2 packages", 60) == "2/2 packages: unpacking"
    assert environment.progress([*lines, "Looking in links: /wheels\n"], "2/2 packages", 60) == ""


def test_what_pip_says_is_kept_and_its_failure_explained(tmp_path, capsys):
    log = tmp_path / "setup.log"
    words = [sys.executable, "--no-index", "--find-links", str(tmp_path), "no-such-package==1"]
    with pytest.raises(StartError, match="Installing"):
        environment.install(words, "1/2 torch", 0, log)
    assert "no-such-package" in log.read_text()
    assert "1/2 torch" in capsys.readouterr().out or "from versions: none" in log.read_text()


def test_a_broken_environment_is_told_from_a_working_one(tmp_path):
    assert environment.runs([sys.executable, "-c", ""])
    assert not environment.runs([str(tmp_path / "python"), "-c", ""])
    assert not environment.runs([sys.executable, "-c", "raise SystemExit(1)"])


@pytest.fixture
def steps(monkeypatch, tmp_path):
    """What set-up does, in order, without doing it; an environment is made as an empty folder."""
    done = []

    def make(venv):
        venv.mkdir(exist_ok=True)
        done.append("make")

    monkeypatch.setattr(environment, "check_folder", lambda folder, space: done.append(f"space {space}"))
    monkeypatch.setattr(environment, "make_venv", make)
    monkeypatch.setattr(environment, "install", lambda words, what, total, log: done.append(" ".join(words[1:])))
    monkeypatch.setattr(environment, "has_nvidia", lambda: False)
    monkeypatch.setattr(environment, "torch_index", lambda *where, nvidia, answers: "https://index")
    return done


def test_torch_comes_first_and_from_its_index(steps, tmp_path):
    environment.set_up(tmp_path / ".venv", tmp_path / "python", ["numpy==2", "torch==2.13.0"], [tmp_path / "lock"])
    assert steps == ["space 3", "make", "torch==2.13.0 --extra-index-url https://index", f"-r {tmp_path / 'lock'}"]


def test_a_broken_environment_is_made_again(steps, tmp_path):
    (tmp_path / ".venv").mkdir()
    (tmp_path / "python").write_text("no interpreter")
    environment.set_up(tmp_path / ".venv", tmp_path / "python", ["torch==2.13.0"], [])
    assert "make" in steps


def test_a_working_environment_is_kept_and_brought_up_to_date(steps, tmp_path):
    (tmp_path / ".venv").mkdir()
    environment.set_up(tmp_path / ".venv", Path(sys.executable), ["torch==2.13.0"], [])
    assert "make" not in steps
    assert len(steps) == 3


def test_an_environment_is_made_with_pip_in_it(tmp_path):
    environment.make_venv(tmp_path / ".venv")
    assert environment.runs([str(launch.python_of(tmp_path / ".venv")), "-m", "pip", "--version"])

"""Runs as processes: killed at any moment, or several that share one run."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from studio.training import ranks
from tests.training.lesson import params

ROOT = Path(__file__).parents[2]
SETTINGS = {"steps": 40, "batch": 2, "ema": 0.9, "schedule": "cosine", "warmup": 2, "dropout": 0.1}


def command(folder, given):
    folder.mkdir(exist_ok=True)
    return [sys.executable, "-m", "tests.training.runner", str(folder), json.dumps(given.to_dict())]


def finished(folder, given):
    subprocess.run(command(folder, given), cwd=ROOT, check=True, capture_output=True, timeout=120)
    return load_file(folder / "result.safetensors")


def killed(folder, given, step):
    """Start a run and kill it as it tells of `step`. Returns: the step of its last state."""
    with subprocess.Popen(command(folder, given), cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        for line in running.stdout:
            event = json.loads(line)
            if event["event"] == "step" and event["step"] == step:
                running.send_signal(signal.SIGKILL)
                break
    return int(sorted((folder / "state").glob("step-*.safetensors"))[-1].stem.removeprefix("step-"))


def test_a_run_that_is_killed_twice_ends_as_if_it_had_not_been(tmp_path):
    given = params(**SETTINGS)
    whole = finished(tmp_path / "whole", given)
    assert killed(tmp_path / "cut", given, 11) >= 11 - 3
    assert killed(tmp_path / "cut", given, 26) >= 26 - 3
    cut = finished(tmp_path / "cut", given)
    assert cut.keys() == whole.keys()
    assert all(torch.equal(value, whole[name]) for name, value in cut.items())
    assert not list((tmp_path / "cut" / "state").glob(".*"))


@pytest.mark.parametrize("changed", [{}, {"prior_preservation": True, "accumulation": 2}])
def test_two_processes_are_one_at_double_batch(tmp_path, monkeypatch, changed):
    monkeypatch.chdir(ROOT)
    settings = {"steps": 6, "ema": 0.9} | changed
    one = finished(tmp_path / "one", params(batch=4, **settings))
    (tmp_path / "two").mkdir()
    ranks.launch("tests.training.runner", command(tmp_path / "two", params(batch=2, **settings))[3:], 2)
    two = load_file(tmp_path / "two" / "result.safetensors")
    assert max((two[name] - value).abs().max() for name, value in one.items()) < 1e-5

"""The real process, several times: all of them share one run, and the first one writes and talks."""

import json
import os
import subprocess
import sys
from collections import Counter

import psutil
import pytest
import torch
from safetensors.torch import load_file

from studio.trainings.process import Child
from tests.training import workshop
from tests.training.methods import kit

pytestmark = pytest.mark.slow
SETTINGS = {"steps": 6, "learning_rate": 1e-2, "ema": 0.9, "caption_dropout": 0.2, "flip": True, "measure_every": 3}
SETTINGS |= {"sample_prompts": ("a cat",), "save_every": 3}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("several")


@pytest.fixture(scope="module")
def location(root):
    return workshop.checkpoint(root)


def order(root, name, location, **changed):
    params = kit.params(base="sd1", checkpoint_id=location.id, **SETTINGS | changed)
    return workshop.order(root, name, location, params).folder


def carried_out(folder, processes, on=lambda _child, _event: None):
    """Its events; `on` hears each as it comes."""
    child = Child(folder, device="cpu", processes=processes)
    events = []
    for event in child.events():
        events.append(event)
        on(child, event)
    child.end()
    return events


def result(folder, step=6):
    return load_file(folder / "saves" / str(step) / "thing.safetensors")


@pytest.fixture(scope="module")
def double(root, location):
    """The files of one process with a batch of two."""
    folder = order(root, "one", location, batch=2)
    assert carried_out(folder, 1)[-1]["event"] == "done"
    return folder


def equal(one, other, tolerance):
    assert one.keys() == other.keys()
    return max((other[name].double() - value.double()).abs().max() for name, value in one.items()) < tolerance


def check_written_once(folder, events, double):
    told = Counter((event["event"], event.get("step")) for event in events if event["event"] != "phase")
    assert set(told.values()) == {1}
    assert {at for name, at in told if name == "saved"} == {3, 6}
    files = [
        sorted(str(file.relative_to(one)) for file in one.rglob("*") if file.is_file()) for one in (folder, double)
    ]
    assert [file for file in files[0] if file != "child.log"] == [file for file in files[1] if file != "child.log"]
    logged = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [event for event in logged if event["event"] != "step"] == [e for e in events if e["event"] != "step"]


def test_two_processes_are_one_at_double_batch(root, location, double, tmp_path):
    folder = order(tmp_path, "two", location, batch=1, processes=2)
    events = carried_out(folder, 2)
    assert events[-1]["event"] == "done"
    for step in (3, 6):
        assert equal(result(double, step), result(folder, step), 1e-5)
    check_written_once(folder, events, double)
    assert "in each of 2 processes" in next(event["text"] for event in events if event["event"] == "estimate")


def test_accelerate_starts_them_as_well(root, location, double, tmp_path):
    folder = order(tmp_path, "two", location, batch=1)
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    command += ["-m", "studio.training.child", str(folder)]
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "HF_HOME": str(tmp_path)}
    with subprocess.Popen(command, cwd=workshop.ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as ran:
        events = [json.loads(line) for line in ran.stdout or () if line.startswith(b"{")]
    assert ran.returncode == 0
    assert equal(result(double), result(folder), 1e-5)
    check_written_once(folder, events, double)


def test_when_one_of_them_is_killed_all_end_with_a_word_and_the_run_goes_on(root, location, tmp_path):
    whole = order(tmp_path, "whole", location, batch=1, processes=2, steps=40)
    assert carried_out(whole, 2)[-1]["event"] == "done"
    cut = order(tmp_path, "cut", location, batch=1, processes=2, steps=40)

    def kill(child, event):
        if event["event"] == "step" and event["step"] == 1:
            child.tell("pause")
        elif event["event"] == "paused":
            second(child).kill()

    last = carried_out(cut, 2, kill)[-1]
    assert last["event"] == "error"
    assert last["error"] == "Another of the 2 processes of this run ended before its time."
    assert "Resume" in last["hint"]
    events = carried_out(cut, 2)
    assert events[-1]["event"] == "done"
    assert next(event["step"] for event in events if event["event"] == "step") > 1
    assert all(torch.equal(value, result(cut, 40)[name]) for name, value in result(whole, 40).items())


def second(child):
    (found,) = [one for one in psutil.Process(child._process.pid).children() if one.environ().get("RANK") == "1"]
    return found


def test_what_only_one_of_them_finds_is_told(root, location, tmp_path):
    """Each is to have a GPU of its own, where there are any; else what is wrong with the run is said once."""
    folder = order(tmp_path, "broken", location, batch=1, processes=2)
    for picture in (tmp_path / "dataset").glob("*.png"):
        picture.write_bytes(b"no picture")
    events = carried_out(folder, 2)
    (error,) = [event for event in events if event["event"] == "error"]
    assert error["field"] == "dataset"

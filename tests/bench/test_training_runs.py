"""What the suite `training` sees of runs that it starts, kills and waits for."""

import json
import os
import sys
import time

import pytest
import torch

from studio.bench.training.estimates import BAR, RUNS, Most, Outcome, off, outcome, prepared, summary
from studio.bench.training.memory import PARAMS
from studio.bench.training.resume import States, copied, events, heeded, running, same
from studio.engine.configs import CONFIGS
from studio.errors import JobError
from studio.training_params import METHODS, TrainingParams

FAKE = """
import json, sys, time
def say(**event): print(json.dumps(event), flush=True)
say(event="phase", name="training", done=0, total=4)
before = bytearray(400 * 2**20); del before
say(event="estimate", seconds=2.0, bytes=10**8)
held = bytearray(b"x") * (200 * 2**20)
say(event="step", step=1, steps=4, seconds=0.5)
for _ in range(20): time.sleep(0.02)
say(event="END")
"""


@pytest.fixture
def run(tmp_path):
    """The folder of a run that has ended."""
    folder = tmp_path / "run"
    folder.mkdir()
    params = TrainingParams(name="cup", trigger="sks", batch=4, rank=8, ema=0.98)
    (folder / "params.json").write_text(json.dumps(params.to_dict()))
    (folder / "order.json").write_text(json.dumps({"device": "cuda", "dataset": "here"}))
    return folder


def fake(tmp_path, end):
    script = tmp_path / "fake.py"
    script.write_text(FAKE.replace("END", end))
    return sys.executable, str(script)


def test_eight_runs_of_all_sorts_are_estimated(run):
    assert len(RUNS) == 8
    made = [prepared(run, str(number), settings) for number, settings in enumerate(RUNS.values())]
    params = [TrainingParams.from_dict(json.loads((folder / "params.json").read_bytes())) for folder in made]
    assert {one.method for one in params} == set(METHODS) - {"ip_adapter"}
    assert {one.batch for one in params} == {1, 4}
    assert any(one.gradient_checkpointing for one in params)
    assert json.loads((made[0] / "order.json").read_bytes()) == {"device": "cpu", "dataset": "here"}
    assert json.loads((run / "order.json").read_bytes())["device"] == "cuda"


def test_time_and_memory_are_taken_from_the_estimate_to_the_end(run, tmp_path):
    found = outcome(copied(run, "copy"), fake(tmp_path, "done"))
    assert 0.4 <= found.seconds < 20
    assert (found.told_seconds, found.told_bytes) == (2.0, 10**8)
    assert 200e6 < found.bytes < 400e6
    assert found.line("a cup").startswith("a cup: 2.0 s told, ")


def test_memory_seen_by_a_look_from_before_the_estimate_does_not_count():
    most = Most()
    most.look(lambda: 5)
    assert most.bytes == 5

    def slow():
        most.begin()
        return 9

    most.look(slow)
    assert most.bytes == 0
    most.look(lambda: 3)
    most.look(lambda: 2)
    assert most.bytes == 3


def test_a_run_that_does_not_end_is_no_figure(run, tmp_path):
    with pytest.raises(JobError, match="did not end"):
        outcome(copied(run, "copy"), fake(tmp_path, "samples"))


def test_the_worst_of_too_much_and_too_little_has_the_bar():
    found = {"a": Outcome(10, 10, 80, 100), "b": Outcome(10, 20, 100, 100), "c": Outcome(15, 10, 110, 100)}
    figures = summary(found)
    time_off, memory_off = (figures[f"estimated {what} of 3 runs: off by, at the most"] for what in ("time", "memory"))
    assert (time_off.value, time_off.bar, time_off.ok) == (2.0, BAR, False)
    assert (memory_off.value, memory_off.ok) == (1.25, True)
    assert figures["estimated / actual time, b"].value == 0.5
    assert off(0.5) == off(2.0) == 2.0


def test_lost_work_is_counted_from_the_last_state_or_the_start(tmp_path):
    (tmp_path / "state").mkdir()
    now = time.time()
    states = States(tmp_path, last=now - 52.0)
    for number, age in enumerate((50.0, 40.0, 15.0)):
        file = tmp_path / "state" / f"step-{number:07d}.safetensors"
        file.touch()
        os.utime(file, (now - age, now - age))
        states.look()
    states.killed()
    assert states.apart == pytest.approx(25.0, abs=0.1)
    assert states.lost == pytest.approx(15.0, abs=1.0)
    states.begun()
    states.killed()
    assert states.lost == pytest.approx(15.0, abs=1.0)


def test_loading_and_measuring_are_no_time_between_states(run, tmp_path):
    (run / "state").mkdir()
    told = [{"event": "phase", "name": "loading"}, {"event": "phase", "name": "training"}, {"event": "measured"}]
    script = tmp_path / "told.py"
    script.write_text(f"import json\nfor one in {told!r}: print(json.dumps(one))")
    states = States(run, last=time.time() - 100.0)
    (run / "state" / "step-0000000.safetensors").touch()
    with running(run, (sys.executable, str(script))) as process:
        assert list(heeded(process, states)) == told
    assert states.apart == 0.0
    assert time.time() - states.last < 60


def test_what_a_killed_process_told_is_read_up_to_the_line_that_was_cut(run, tmp_path):
    script = tmp_path / "cut.py"
    script.write_text('import sys; sys.stdout.write(\'{"event": "step"}\\n{"eve\'); sys.stdout.flush()')
    with running(run, (sys.executable, str(script))) as process:
        assert list(events(process)) == [{"event": "step"}]


def test_weights_are_the_same_to_the_bit_or_not():
    one = {"a": torch.ones(2), "b": torch.zeros(1)}
    assert same(one, {name: tensor.clone() for name, tensor in one.items()})
    assert not same(one, {**one, "a": torch.tensor([1.0, 1.0 + 1e-7])})
    assert not same({"a": one["a"]}, one)


def test_memory_is_measured_in_the_shapes_of_sd_15():
    assert CONFIGS["sd1"]["unet"]["cross_attention_dim"] == CONFIGS["sd1"]["text_encoder"]["hidden_size"] == 768
    assert not PARAMS.gradient_checkpointing

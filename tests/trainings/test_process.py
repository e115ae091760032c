"""How the process of a run is started, and what is known of one that ended without a word."""

import sys

import pytest

from studio.trainings.process import Child, launched

COMMAND = (sys.executable, "-m", "studio.training.child")


def test_one_process_is_started_as_it_is_and_more_by_the_launcher():
    assert launched(COMMAND, 1) == list(COMMAND)
    python, flag, launcher, *options = launched(COMMAND, 3)
    assert (python, flag, launcher) == (sys.executable, "-m", "torch.distributed.run")
    assert options[:2] == ["--nproc-per-node", "3"]
    assert options[-2:] == ["-m", "studio.training.child"]


def test_a_process_is_not_told_where_the_studio_itself_was_started(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    program = "import os, json; print(json.dumps({'event': 'told', 'names': sorted(os.environ)}))"
    child = Child(tmp_path, device="cpu", command=(sys.executable, "-c", program))
    (told,) = child.events()
    assert not {"RANK", "WORLD_SIZE"} & {*told["names"]}


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("Traceback\nValueError: odd\n\n", "ValueError: odd"),
        ("FAILED\n  traceback : Signal 9 (SIGKILL) received by PID 7\n=====\n", "Signal 9 (SIGKILL) received by PID 7"),
    ],
)
def test_its_last_words_are_those_that_say_something(tmp_path, written, said):
    child = Child(tmp_path, device="cpu", command=(sys.executable, "-c", "pass"))
    child.end()
    (tmp_path / "child.log").write_text(written)
    assert child.last_words() == said

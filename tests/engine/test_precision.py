import json

import pytest
import torch

from studio.engine.precision import choose_device, choose_precision, remembered_precision
from studio.errors import StartError

CPU = torch.device("cpu")
ONE = torch.ones(1)
CUDA = torch.device("cuda")


@pytest.fixture
def answers(monkeypatch):
    """What the probe says of each precision; it may be changed."""
    said = {torch.float32: (ONE, 1.0), torch.bfloat16: (ONE, 0.1), torch.float16: (ONE, 0.1)}
    monkeypatch.setattr("studio.engine.precision._probe", lambda dtype, _device: lambda: said[dtype])
    return said


def test_a_precision_that_was_asked_for_is_taken_without_measuring():
    chosen = choose_precision("fp32", CPU)
    assert (chosen.name, chosen.seconds) == ("fp32", {})


def test_auto_measures_and_takes_one_of_them():
    chosen = choose_precision("auto", CPU)
    assert chosen.name in ("fp32", "bf16")
    assert chosen.seconds["fp32"] > 0


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((ONE, 1.0), "not fast enough"),
        ((ONE * 0, 0.1), "off by 1"),
        ((ONE * float("nan"), 0.1), "no numbers"),
        ((ONE * float("inf"), 0.1), "no numbers"),
    ],
)
def test_a_half_precision_that_is_slow_or_wrong_is_left_out(answers, answer, reason):
    answers[torch.bfloat16] = answer
    chosen = choose_precision("auto", CPU)
    assert chosen.name == "fp32"
    assert reason in chosen.left_out["bf16"]
    assert reason in chosen.told()


def test_one_value_that_is_no_number_is_enough(answers):
    answers[torch.float32] = (torch.ones(10_000), 1.0)
    answers[torch.float16] = (torch.ones(10_000).index_fill(0, torch.tensor([7]), float("nan")), 0.1)
    answers[torch.bfloat16] = (torch.ones(10_000), 0.5)
    assert choose_precision("auto", CUDA).name == "bf16"


def test_a_busy_moment_does_not_decide_for_good(monkeypatch):
    """What else the machine does makes every run slow for a while, and bf16 has the worst of it."""
    turns = {torch.float32: iter([0.8, 0.9] * 5 + [0.4] * 90), torch.bfloat16: iter([2.0] * 10 + [0.2] * 90)}
    monkeypatch.setattr("studio.engine.precision._probe", lambda dtype, _device: lambda: (ONE, next(turns[dtype])))
    assert choose_precision("auto", CPU).name == "bf16"


def test_a_cpu_is_measured_on_one_core_and_works_with_all_of_them_afterwards(answers, monkeypatch):
    """Beside a program that keeps all cores busy, threads that wait for each other take as long in any precision."""
    seen = set()
    probe = {dtype: lambda dtype=dtype: seen.add(torch.get_num_threads()) or answers[dtype] for dtype in answers}
    monkeypatch.setattr("studio.engine.precision._probe", lambda dtype, _device: probe[dtype])
    monkeypatch.setattr("studio.engine.precision.TURNS", 2)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert choose_precision("auto", CPU).name == "bf16"
        assert (seen, torch.get_num_threads()) == ({1}, 2)
    finally:
        torch.set_num_threads(before)


def test_a_precision_that_fails_is_left_out_with_what_torch_says(answers, monkeypatch):
    def probe(dtype, _device):
        if dtype is torch.bfloat16:
            raise RuntimeError("bf16 is not known here")
        return lambda: answers[dtype]

    monkeypatch.setattr("studio.engine.precision._probe", probe)
    chosen = choose_precision("auto", CPU)
    assert (chosen.name, chosen.left_out) == ("fp32", {"bf16": "bf16 is not known here"})


@pytest.mark.parametrize(("seconds", "name"), [(0.095, "fp16"), (0.05, "bf16")])
def test_the_finer_half_precision_stands_unless_the_other_is_clearly_faster(answers, seconds, name):
    answers[torch.bfloat16] = (ONE, seconds)
    assert choose_precision("auto", CUDA).name == name


def test_what_was_measured_once_is_kept(answers, tmp_path):
    file = tmp_path / "precision.json"
    first = remembered_precision("auto", CPU, file)
    assert first.name == "bf16"
    answers[torch.bfloat16] = (ONE, 5.0)
    assert remembered_precision("auto", CPU, file) == first
    file.write_text("{broken")
    assert remembered_precision("auto", CPU, file).name == "fp32"


@pytest.mark.parametrize("kept", ["bf16", {"name": "bf16"}])
def test_a_choice_of_an_older_studio_is_read(answers, tmp_path, kept):
    file = tmp_path / "precision.json"
    file.write_text(json.dumps({f"cpu, torch {torch.__version__}": kept}))
    answers[torch.bfloat16] = (ONE, 5.0)
    assert remembered_precision("auto", CPU, file).name == "bf16"


@pytest.mark.parametrize("kept", [3, {"name": "fp8"}, ["fp16"]])
def test_a_choice_that_makes_no_sense_is_measured_again(answers, tmp_path, kept):
    file = tmp_path / "precision.json"
    file.write_text(json.dumps({f"cpu, torch {torch.__version__}": kept}))
    assert remembered_precision("auto", CPU, file).name == "bf16"


def test_a_folder_that_cannot_be_written_does_not_keep_the_worker_from_starting(answers, tmp_path):
    (tmp_path / "cache").touch()
    assert remembered_precision("auto", CPU, tmp_path / "cache" / "precision.json").name == "bf16"


def test_a_device_that_is_not_here_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(StartError, match="no cuda"):
        choose_device("cuda")
    assert choose_device("cpu") == CPU

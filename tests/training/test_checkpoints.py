import os

import pytest
import torch

from studio.engine import tensors
from studio.errors import StorageError
from studio.training.checkpoints import Checkpoints, pack, unpack
from tests.training.lesson import params

TREE = {
    "step": 3,
    "weights": {"a.weight": torch.randn(2, 3).to(torch.bfloat16), "empty": torch.empty(0), "one": torch.tensor(2.5)},
    "optimizer": {"state": {0: {"exp": torch.arange(4, dtype=torch.uint8), "deep": {"d": 0.1}}}, "betas": (0.9, 0.999)},
    "list": [None, True, float("inf"), "text", [1]],
}


def test_a_state_is_read_as_it_was_written(tmp_path):
    kept = Checkpoints(tmp_path / "state", params())
    kept.write(3, TREE)
    read = kept.newest()
    assert str(read) == str(TREE)
    assert read["weights"]["a.weight"].dtype is torch.bfloat16
    assert read["optimizer"]["betas"] == (0.9, 0.999)


def test_unpacked_tensors_are_copies():
    found = {}
    tree = pack(TREE, found)
    unpack(tree, found)["optimizer"]["state"][0]["exp"].zero_()
    assert TREE["optimizer"]["state"][0]["exp"].tolist() == [0, 1, 2, 3]


def test_two_states_are_kept(tmp_path):
    kept = Checkpoints(tmp_path, params())
    assert kept.newest() is None
    for step in (0, 5, 12):
        kept.write(step, {"step": step})
    assert [file.name for file in kept.files()] == ["step-0000005.safetensors", "step-0000012.safetensors"]
    assert kept.newest() == {"step": 12}


def test_states_that_a_run_went_back_from_go(tmp_path):
    kept = Checkpoints(tmp_path, params())
    for step in (100, 200):
        kept.write(step, {"step": step})
    assert kept.newest(but_one=True) == {"step": 100}
    kept.write(150, {"step": 150})
    assert [file.name for file in kept.files()] == ["step-0000100.safetensors", "step-0000150.safetensors"]
    kept.files()[0].unlink()
    assert kept.newest(but_one=True) == {"step": 150}


def test_a_state_that_cannot_be_read_gives_way_to_the_one_before(tmp_path):
    kept = Checkpoints(tmp_path, params())
    kept.write(1, {"step": 1})
    kept.write(2, {"step": 2}).write_bytes(b"half")
    assert kept.newest() == {"step": 1}


def test_a_run_without_a_state_that_can_be_read_says_so(tmp_path):
    kept = Checkpoints(tmp_path, params())
    kept.write(1, {"step": 1}).write_bytes(b"half")
    with pytest.raises(StorageError, match=r"step-0000001\.safetensors"):
        kept.newest()


def test_a_write_that_fails_leaves_the_states_before_it(tmp_path, monkeypatch):
    kept = Checkpoints(tmp_path, params())
    kept.write(1, {"step": 1})

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensors.os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        kept.write(2, {"step": 2, "weights": torch.ones(3)})
    assert os.listdir(tmp_path) == ["step-0000001.safetensors"]
    assert kept.newest() == {"step": 1}

import json
import os
import pickle
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import load_file

from studio.cli.commands import run
from tests.cli.test_commands import Fake


@pytest.fixture
def convert(tmp_path, capsys):
    def call(*words):
        status = run(["models", "convert", *map(str, words), "--data", str(tmp_path / "data")], Fake().programs)
        return status, capsys.readouterr()

    return call


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("went-off",)


def test_a_pickle_becomes_safetensors_beside_it(convert, tmp_path):
    weights = OrderedDict(a=torch.arange(6.0).view(2, 3), b=torch.ones(1, dtype=torch.float16))
    torch.save({"state_dict": weights}, tmp_path / "old.ckpt")
    status, said = convert(tmp_path / "old.ckpt", "--json")
    assert status == 0
    assert json.loads(said.out) == {"path": str(tmp_path / "old.safetensors")}
    found = load_file(tmp_path / "old.safetensors")
    assert all(torch.equal(found[name], tensor) for name, tensor in weights.items())


def test_code_in_a_pickle_is_refused_and_not_run(convert, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Bomb()}, "bad.ckpt", pickle_module=pickle)
    status, said = convert(tmp_path / "bad.ckpt")
    assert status != 0
    assert "mkdir" in said.err
    assert not (tmp_path / "went-off").exists()
    assert not (tmp_path / "bad.safetensors").exists()


@pytest.mark.parametrize("name", ["gone.ckpt", "it.safetensors"])
def test_what_is_no_pickle_is_wrong_use(convert, tmp_path, name):
    (tmp_path / "it.safetensors").write_bytes(b"x")
    status, said = convert(tmp_path / name)
    assert status == 2
    assert name in said.err

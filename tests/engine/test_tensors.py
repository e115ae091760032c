import json
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from studio.engine import tensors
from studio.engine.tensors import DTYPES, Computed, write_tensors
from studio.errors import StorageError
from studio.library.header import read_header


def rows(tensor, pieces=1):
    return tuple(tensor.shape), list(tensor.chunk(pieces))


def test_every_type_and_shape_comes_back(tmp_path):
    made = {str(dtype): torch.arange(12).reshape(3, 4).to(dtype) for dtype in DTYPES}
    made |= {"one": torch.tensor(2.5), "none": torch.empty(0), "turned": torch.arange(6.0).reshape(2, 3).T}
    write_tensors(
        tmp_path / "new" / "m.safetensors",
        {name: rows(tensor) for name, tensor in made.items() if tensor.ndim} | {"one": ((), [made["one"]])},
        {"title": "é"},
    )
    found = load_file(tmp_path / "new" / "m.safetensors")
    assert found.keys() == made.keys()
    for name, tensor in made.items():
        assert found[name].shape == tensor.shape
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name].reshape(-1).view(torch.uint8), tensor.contiguous().reshape(-1).view(torch.uint8))
    with safe_open(tmp_path / "new" / "m.safetensors", "pt") as opened:
        assert opened.metadata() == {"format": "pt", "title": "é"}


def test_pieces_follow_each_other(tmp_path):
    whole = torch.arange(24.0).reshape(6, 4)
    write_tensors(tmp_path / "m.safetensors", {"whole": rows(whole, 3)})
    assert torch.equal(load_file(tmp_path / "m.safetensors")["whole"], whole)


def test_every_tensor_is_aligned(tmp_path):
    odd = {
        "b": torch.ones(3, dtype=torch.uint8),
        "h": torch.ones(5).half(),
        "f": torch.ones(3),
        "d": torch.ones(1).double(),
    }
    write_tensors(tmp_path / "m.safetensors", {name: rows(tensor) for name, tensor in odd.items()})
    for name, info in read_header(tmp_path / "m.safetensors").tensors.items():
        assert info.start % odd[name].element_size() == 0


def test_the_same_tensors_make_the_same_bytes(tmp_path):
    made = {"b": rows(torch.ones(3)), "a": rows(torch.zeros(2))}
    write_tensors(tmp_path / "m", made)
    write_tensors(tmp_path / "n", dict(reversed(made.items())))
    assert (tmp_path / "m").read_bytes() == (tmp_path / "n").read_bytes()


def test_a_full_disk_leaves_the_older_file(tmp_path, monkeypatch):
    (tmp_path / "m.safetensors").write_bytes(b"older")

    def full(_fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensors.os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        write_tensors(tmp_path / "m.safetensors", {"a": rows(torch.ones(3))})
    assert [file.name for file in tmp_path.iterdir()] == ["m.safetensors"]
    assert (tmp_path / "m.safetensors").read_bytes() == b"older"


def test_what_cannot_be_written_is_named(tmp_path):
    for name, given in (("wide", ((4,), [torch.ones(3)])), ("complex", rows(torch.ones(2, dtype=torch.complex128)))):
        with pytest.raises(ValueError, match=name):
            write_tensors(tmp_path / "m.safetensors", {name: given})
    with pytest.raises(ValueError, match="mixed"):
        write_tensors(tmp_path / "m.safetensors", {"mixed": ((2,), [torch.ones(1), torch.ones(1).half()])})
    assert not list(tmp_path.iterdir())


def test_the_header_is_json_of_a_length_that_eight_divides(tmp_path):
    write_tensors(tmp_path / "m.safetensors", {"a": rows(torch.ones(3))})
    data = (tmp_path / "m.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert length % 8 == 0
    assert json.loads(data[8 : 8 + length])["a"] == {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}


def test_a_tensor_may_be_made_when_its_turn_comes(tmp_path):
    made = []

    def make():
        made.append(1)
        return torch.arange(6.0).reshape(2, 3)

    told = []
    computed = Computed((2, 3), torch.float32, make)
    write_tensors(tmp_path / "m", {"a": rows(torch.ones(3)), "b": computed}, None, lambda *now: told.append(now))
    assert torch.equal(load_file(tmp_path / "m")["b"], make())
    assert len(made) == 2
    assert told == [(12, 36), (36, 36)]


def test_what_is_made_otherwise_than_promised_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match="b was made"):
        write_tensors(tmp_path / "m", {"b": Computed((2, 3), torch.float32, lambda: torch.ones(3, 2))})
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(tensors.shutil, "disk_usage", lambda _folder: SimpleNamespace(free=10))
    computed = Computed((10**9,), torch.float32, lambda: pytest.fail("was made"))
    with pytest.raises(StorageError, match=r"m needs 4\.00 GB, and .* has 0\.00 GB left"):
        write_tensors(tmp_path / "m", {"b": computed})
    assert list(tmp_path.iterdir()) == []

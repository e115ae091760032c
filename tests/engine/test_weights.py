import os
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from studio.engine.weights import TYPES, open_weights
from studio.errors import ModelNotFoundError


@pytest.mark.parametrize(
    "content", [b"", b"a text file that was given the name", b"\xff" * 16, b"PK\x03\x04" + b"x" * 40]
)
def test_what_is_no_safetensors_file_is_a_sentence(tmp_path, content):
    (tmp_path / "m.safetensors").write_bytes(content)
    with pytest.raises(ModelNotFoundError, match=r"m\.safetensors"):
        open_weights(tmp_path / "m.safetensors")


def test_a_file_that_is_cut_short_is_a_sentence(tmp_path):
    save_file({"a": torch.ones(100)}, tmp_path / "m.safetensors")
    data = (tmp_path / "m.safetensors").read_bytes()
    for length in (4, 20, len(data) - 1):
        (tmp_path / "m.safetensors").write_bytes(data[:length])
        with pytest.raises(ModelNotFoundError) as refused:
            open_weights(tmp_path / "m.safetensors")
        assert refused.value.hint


def test_a_file_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(ModelNotFoundError, match="mine cannot be read: No such file"):
        open_weights(tmp_path / "m.safetensors", "mine")


def test_fp8_with_scales_is_refused(tmp_path):
    save_file({"scaled_fp8": torch.zeros(2)}, tmp_path / "m.safetensors")
    with pytest.raises(ModelNotFoundError, match="scales of their own"):
        open_weights(tmp_path / "m.safetensors")


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux alone")
@pytest.mark.parametrize("ending", ["safetensors", "ckpt"])
def test_names_may_be_no_utf_8_and_paths_long(tmp_path, ending):
    folder = tmp_path.joinpath(*["x" * 60] * 5)
    folder.mkdir(parents=True)
    file = folder / os.fsdecode(f"caf\xe9.{ending}".encode("latin-1"))
    values = {"a": torch.arange(3.0)}
    torch.save(values, tmp_path / "plain") if ending == "ckpt" else save_file(values, tmp_path / "plain")
    (tmp_path / "plain").rename(file)
    opened = open_weights(file, "cafe")
    file.unlink()
    assert torch.equal(opened.tensor("a"), values["a"])


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps open files in their places")
def test_a_file_is_opened_by_its_name_once(tmp_path, monkeypatch):
    """Everything that is read later is of the file that was opened, though another one has its name by then."""
    file, values = tmp_path / "m.safetensors", {"a": torch.arange(6.0), "b": torch.ones(2, dtype=torch.float16)}
    save_file(values, file)
    (tmp_path / "other").write_bytes(b"another file")
    plain_open, opened = Path.open, []

    def open_once(path, *how, **more):
        stream = plain_open(path, *how, **more)
        opened.append(path)
        (tmp_path / "other").replace(path)
        return stream

    monkeypatch.setattr(Path, "open", open_once)
    weights = open_weights(file)
    assert opened == [file]
    assert all(torch.equal(weights.tensor(name), value) for name, value in values.items())
    assert weights.stretches["a"].file.path == file


@pytest.mark.parametrize("dtype", TYPES.values(), ids=TYPES)
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_a_tensor_is_what_safetensors_reads_and_writing_to_it_reaches_no_file(tmp_path, dtype, shape):
    file = tmp_path / "m.safetensors"
    save_file({"a": torch.ones(shape).to(dtype), "odd": torch.ones(3, dtype=torch.int8)}, file)
    before = file.read_bytes()
    tensor, expected = open_weights(file).tensor("a"), load_file(file)["a"]
    assert (tensor.dtype, tensor.shape) == (expected.dtype, expected.shape)
    assert torch.equal(tensor.view(torch.uint8) if shape else tensor, expected.view(torch.uint8) if shape else expected)
    tensor.fill_(0)
    assert file.read_bytes() == before

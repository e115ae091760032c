import os
import sys

import pytest
import torch
from safetensors.torch import save_file

from studio.engine.weights import open_weights
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

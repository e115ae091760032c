import math
import os
import sys

import pytest
import torch
from safetensors.torch import save_file

from studio.engine import weights
from studio.engine.weights import find_nonfinite, open_weights
from studio.errors import ModelNotFoundError

FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e5m2, torch.float8_e4m3fn]


def written(tmp_path, tensors):
    save_file(tensors, tmp_path / "m.safetensors")
    return open_weights(tmp_path / "m.safetensors")


@pytest.mark.parametrize("dtype", FLOATS)
def test_finite_values_of_every_size_pass(tmp_path, dtype):
    info = torch.finfo(dtype)
    edges = torch.tensor([0.0, -0.0, info.max, info.min, info.tiny, -1.5], dtype=torch.float64).to(dtype)
    assert find_nonfinite(written(tmp_path, {"edges": edges, "ids": torch.arange(4)})) == []


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (dtype, value)
        for dtype in FLOATS
        for value in (math.nan, math.inf, -math.inf)
        if dtype != torch.float8_e4m3fn or math.isnan(value)  # which has no infinity
    ],
)
def test_one_value_that_is_not_finite_is_found_anywhere(tmp_path, monkeypatch, dtype, value):
    monkeypatch.setattr(weights, "CHUNK", 10)
    tensors = {f"at{place}": torch.ones(5, 5) for place in (0, 13, 24)} | {"sound": torch.ones(30)}
    for place in (0, 13, 24):
        tensors[f"at{place}"].view(-1)[place] = value
    stored = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    assert sorted(find_nonfinite(written(tmp_path, stored))) == ["at0", "at13", "at24"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_every_pattern_of_16_bits_is_judged_as_torch_does(dtype):
    patterns = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
    judged = torch.tensor([weights._has_nonfinite(patterns[i : i + 1]) for i in range(0, len(patterns), 7)])
    assert torch.equal(judged, ~torch.isfinite(patterns[::7]))


@pytest.mark.parametrize("dtype", [torch.float8_e5m2, torch.float8_e4m3fn])
def test_every_pattern_of_8_bits_is_judged_as_torch_does(dtype):
    patterns = torch.arange(256, dtype=torch.int32).to(torch.uint8).view(dtype)
    judged = torch.tensor([weights._has_nonfinite(patterns[i : i + 1]) for i in range(256)])
    assert torch.equal(judged, ~torch.isfinite(patterns.float()))


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
    with pytest.raises(ModelNotFoundError, match="scales of their own"):
        written(tmp_path, {"scaled_fp8": torch.zeros(2)})


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

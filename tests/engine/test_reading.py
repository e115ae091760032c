import os

import pytest
import torch
from safetensors.torch import save_file

from studio.engine import reading
from studio.engine.modules import loaded_tensors
from studio.engine.reading import OpenFile, Stretch, read_all
from studio.engine.weights import open_weights
from tests import tiny

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def file(tmp_path):
    (tmp_path / "bytes").write_bytes(CONTENT)
    return OpenFile(tmp_path / "bytes")


def stretch(file, start, end, dtype=torch.uint8):
    return Stretch(file, dtype, start, end)


@pytest.mark.parametrize("buffers", [1, 2, 512])
@pytest.mark.parametrize("piece", [1, 7, 100, 10**6])
def test_every_tensor_gets_its_bytes_whatever_the_pieces(file, monkeypatch, piece, buffers):
    monkeypatch.setattr(reading, "PIECE", piece)
    monkeypatch.setattr(reading, "BUFFERS", buffers)
    spans = [(300, 310), (0, 1), (1, 4), (5, 300), (4000, 10_000), (7, 7), (2, 6)]
    wanted = [(stretch(file, a, b), torch.zeros(b - a, dtype=torch.uint8)) for a, b in spans]
    read_all(wanted)
    assert [bytes(target.tolist()) for _, target in wanted] == [CONTENT[a:b] for a, b in spans]


def test_neighbours_in_a_file_are_read_by_one_call(file, monkeypatch):
    calls, real = [], os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, into, start: calls.append(start) or real(fd, into, start))
    spans = [(200, 300), (0, 100), (500, 600), (100, 200)]
    read_all([(stretch(file, a, b), torch.zeros(b - a, dtype=torch.uint8)) for a, b in spans])
    assert sorted(calls) == [0, 500]


def test_a_system_that_reads_less_than_was_asked_for_is_asked_again(file, monkeypatch):
    real = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, into, start: real(fd, [into[0][:7]], start))
    wanted = [(stretch(file, a, a + 20), torch.zeros(20, dtype=torch.uint8)) for a in range(0, 100, 20)]
    read_all(wanted)
    assert b"".join(bytes(target.tolist()) for _, target in wanted) == CONTENT[:100]


def test_without_reads_at_a_place_it_seeks(file, monkeypatch):
    monkeypatch.delattr(os, "preadv", raising=False)
    target = torch.zeros(3000, dtype=torch.uint8)
    read_all([(stretch(file, 10, 3010), target)])
    assert bytes(target.tolist()) == CONTENT[10:3010]


def test_a_file_cut_short_meanwhile_is_an_error(file):
    file.path.open("r+b").truncate(100)
    with pytest.raises(OSError, match="has become shorter"):
        read_all([(stretch(file, 90, 120), torch.zeros(30, dtype=torch.uint8))])


def test_a_file_replaced_meanwhile_is_still_the_one_that_was_opened(file, tmp_path):
    (tmp_path / "new").write_bytes(b"x" * len(CONTENT))
    (tmp_path / "new").replace(file.path)
    target = torch.zeros(9, dtype=torch.uint8)
    read_all([(stretch(file, 1, 10), target)])
    assert bytes(target.tolist()) == CONTENT[1:10]


def test_thirds_follow_each_other(file):
    whole = stretch(file, 10, 70)
    assert [(third.start, third.end) for third in map(whole.third, range(3))] == [(10, 30), (30, 50), (50, 70)]


@pytest.mark.parametrize(
    ("target", "fits"),
    [
        (torch.zeros(4, 2, dtype=torch.bfloat16), True),
        (torch.zeros(4, 2, dtype=torch.float16), False),
        (torch.zeros(2, 4, dtype=torch.bfloat16).T, False),
        (torch.zeros(4, 3, dtype=torch.bfloat16), False),
        (torch.zeros(4, 2, dtype=torch.bfloat16, device="meta"), False),
    ],
)
def test_bytes_are_read_only_into_what_takes_them_as_they_are(file, target, fits):
    assert stretch(file, 0, 16, torch.bfloat16).fits(target) is fits


def test_a_stretch_holds_what_the_mapping_shows(tmp_path):
    tensors = {"a": torch.randn(3, 5), "b": torch.randn(7).bfloat16(), "c": torch.arange(4), "d": torch.randn(2).half()}
    save_file(tensors, tmp_path / "m.safetensors")
    weights = open_weights(tmp_path / "m.safetensors")
    targets = {name: torch.empty_like(tensor) for name, tensor in tensors.items()}
    read_all([(weights.stretches[name], target) for name, target in targets.items()])
    assert all(torch.equal(targets[name], weights.tensor(name)) for name in tensors)


def test_the_loaded_tensors_are_those_of_the_state_dict():
    pipe = tiny.tiny_pipeline()
    for module in (pipe.unet, pipe.vae, pipe.text_encoder):
        wanted = {name: tensor.data_ptr() for name, tensor in module.state_dict().items()}
        assert {name: tensor.data_ptr() for name, tensor in loaded_tensors(module).items()} == wanted

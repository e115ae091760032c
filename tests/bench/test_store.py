import json
import mmap

import pytest
import torch
from safetensors.torch import load_file, save_file

from studio.bench import store as suite
from studio.bench import store_child as child
from studio.bench.figures import Figure
from studio.bench.store import BenchError, Room, Task, affordable, checkpoint_figures, needed
from studio.settings import load_settings
from tests import tiny

GB = 10**9
CPU = torch.device("cpu")
ANSWERS = {
    "choose": {"device": "cpu", "precision": "fp32"},
    "make": {"bytes": 2 * GB},
    "swap": {"swap": [1.4, 9.0, 1.2], "copy": [1.0, 1.0, 1.0]},
    "load": {"seconds": 2.0, "used": 2.5},
    "load_theirs": {"seconds": 7.0, "used": 10.0},
    "pictures": {"same": True, "other": True},
    "memory": {"live": 2 * GB, "peak": 2.1 * GB, "few": 3 * GB, "many": 3.03 * GB},
}


@pytest.fixture
def task(tmp_path):
    return Task(str(tmp_path), "sd1", "cpu")


@pytest.fixture
def answers(monkeypatch):
    """What the parts say; it may be changed."""
    said = dict(ANSWERS)
    monkeypatch.setattr(suite, "run_task", lambda name, _task: said[name])
    return said


@pytest.mark.parametrize(
    ("figure", "ok"),
    [
        (Figure(1, "x", 1), True),
        (Figure(1.1, "x", 1), False),
        (Figure(9, "x"), True),
        (Figure(1.1, "x", 1, "higher"), True),
    ],
)
def test_a_figure_reaches_its_bar_or_has_none(figure, ok):
    assert figure.ok is ok
    assert figure.to_dict()["ok"] is ok


def test_figures_are_ratios_of_medians(task, answers):
    figures = {name: figure.value for name, figure in checkpoint_figures(task).items()}
    assert figures["SD 1.5: swap / plain copy of the bytes"] == 1.4
    assert figures["SD 1.5: diffusers from_single_file / our first load"] == 3.5
    assert figures["SD 1.5: private memory while swapping / live module"] == pytest.approx(1.05)
    assert figures["SD 1.5: private memory after 50 swaps / after 2"] == pytest.approx(1.01)
    assert all(figure.ok for figure in checkpoint_figures(task).values())


@pytest.mark.parametrize("shown", [{"same": False, "other": True}, {"same": True, "other": False}])
def test_another_picture_is_a_miss_and_so_is_a_picture_that_says_nothing(task, answers, shown):
    answers["pictures"] = shown
    assert not checkpoint_figures(task)["SD 1.5: pictures alike after A, B, A"].ok


def test_little_memory_takes_bf16_on_a_cpu_and_leaves_out_what_has_no_room():
    chosen = {"device": "cpu", "precision": "fp32"}
    wide, half = Room(99 * GB, needed("sd1", "fp32")), Room(99 * GB, needed("sd1", "bf16"))
    assert affordable("sd1", chosen, wide) == "fp32"
    assert affordable("sd1", chosen, half) == "bf16"
    assert affordable("sd1", chosen, Room(GB, 99 * GB)) is None
    assert affordable("sd1", {"device": "cuda", "precision": "fp32"}, half) is None


def test_what_has_no_room_is_said(tmp_path, answers, monkeypatch, capsys):
    monkeypatch.setattr(suite, "room", lambda _folder: Room(0, 0))
    index = {"scan": Figure(1, "s")}
    monkeypatch.setattr(suite, "measure_library", lambda _folder: index)
    assert suite.store_suite(load_settings(tmp_path)) == index
    assert "SDXL is left out: 27 GB" in capsys.readouterr().out


def test_a_part_that_breaks_off_is_named(task):
    with pytest.raises(BenchError, match="The part swap ended with status 1"):
        suite.run_task("swap", task)


def test_random_weights_have_the_real_shapes_and_differ_by_seed(task, monkeypatch):
    unet = tiny.tiny_unet()
    monkeypatch.setattr(child, "CONFIGS", {"sd1": {"unet": dict(unet.config)}})
    first, again, other = (child.random_weights(task, "unet", seed) for seed in (0, 0, 1))
    assert {name: t.shape for name, t in first.items()} == {name: t.shape for name, t in unet.state_dict().items()}
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["conv_in.weight"], other["conv_in.weight"])
    assert all(torch.isfinite(t).all() for t in first.values())


def test_configurations_are_a_folder_that_diffusers_reads(tmp_path):
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTokenizer

    child.write_configs(tmp_path, "sd1")
    assert UNet2DConditionModel.load_config(tmp_path / "unet")["cross_attention_dim"] == 768
    assert len(CLIPTokenizer.from_pretrained(tmp_path / "tokenizer")) == 49408
    assert json.loads((tmp_path / "model_index.json").read_text())["unet"] == ["diffusers", "UNet2DConditionModel"]


def test_the_plain_copy_moves_the_files_bytes(tmp_path):
    values = torch.arange(1000.0)
    save_file({"values": values}, tmp_path / "file.safetensors")
    target = [torch.zeros(20, 30), torch.zeros(300)]
    child.Mapped(tmp_path / "file.safetensors", torch.float32).copy_into(target)
    header = (tmp_path / "file.safetensors").stat().st_size // 4 - 1000
    moved = torch.cat([t.flatten() for t in target])[header:]
    assert torch.equal(moved, load_file(tmp_path / "file.safetensors")["values"][: len(moved)])


def test_private_memory_counts_what_no_file_backs():
    with child.peak_bytes(CPU) as peak:
        before = peak[0]
        block = mmap.mmap(-1, 64 * 2**20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # never memory that was let go
        for page in range(0, len(block), mmap.PAGESIZE):
            block[page] = 1
    assert 60 * 2**20 < peak[0] - before < 100 * 2**20
    block.close()

import json

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor2_0
from torch.nn.attention import SDPBackend

from studio.engine import attention as module
from studio.engine.attention import (
    FRUGAL,
    KERNELS,
    LAST,
    AttentionProcessor,
    KernelChoice,
    Sdpa,
    choose_kernel,
    measure_kernels,
    remembered_kernel,
    sliced,
)
from tests import tiny

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def inputs():
    rng = torch.Generator().manual_seed(1)
    return torch.randn(2, 4, 16, 16, generator=rng), torch.tensor(7), torch.randn(2, 5, tiny.HIDDEN, generator=rng)


def right(query, key, value):
    return sliced(query, key, value)


def broken(*_):
    raise RuntimeError("no kernel image\nand more")


@pytest.fixture
def small(monkeypatch):
    """Small layers on the CPU, whatever the device, with times as told."""

    def prepare(seconds):
        layers = module._layers(CPU, torch.float32)[-2:]
        monkeypatch.setattr(module, "_layers", lambda _device, _dtype: layers)
        monkeypatch.setattr(
            module, "_run", lambda kernel, _: seconds[next(n for n, k in KERNELS.items() if k is kernel)]
        )
        for name in KERNELS:
            kernel = (lambda n: lambda *qkv: right(*qkv) if n in seconds else broken())(name)
            monkeypatch.setitem(KERNELS, name, kernel)

    return prepare


@pytest.mark.parametrize("kernel", ["sdpa", "sdpa-flash", "sdpa-math", "sliced"])
def test_our_processor_agrees_with_diffusers(kernel):
    unet = tiny.tiny_unet()
    with torch.no_grad():
        unet.set_attn_processor(AttnProcessor2_0())
        theirs = unet(*inputs()).sample
        unet.set_attn_processor(AttentionProcessor(kernel))
        torch.testing.assert_close(unet(*inputs()).sample, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kernel", ["sliced", "sdpa-math"])
def test_slices_change_nothing(kernel, monkeypatch):
    query, key, value = (torch.randn(2, 2, 33, 8) for _ in range(3))
    whole = KERNELS[kernel](query, key, value)
    monkeypatch.setattr(module, "SLICE_BYTES", 2000)
    torch.testing.assert_close(KERNELS[kernel](query, key, value), whole)


def test_scores_beyond_the_limit_are_never_whole(monkeypatch):
    monkeypatch.setattr(module, "SLICE_BYTES", 2000)
    monkeypatch.setattr(module.F, "scaled_dot_product_attention", broken)
    assert KERNELS["sdpa-math"](*(torch.randn(1, 2, 33, 8) for _ in range(3))).shape == (1, 2, 33, 8)


def test_a_shape_that_a_kernel_refuses_goes_to_the_next():
    query, key, value = (torch.randn(1, 2, 5, 8, dtype=torch.float64) for _ in range(3))
    kernel = Sdpa(SDPBackend.CUDNN_ATTENTION)
    torch.testing.assert_close(kernel(query, key, value), sliced(query, key, value))


def test_the_kernel_is_one_that_works_here():
    assert choose_kernel(CPU, torch.float32) == "sdpa"
    assert set(FRUGAL["cuda"] + LAST) == set(KERNELS)


def test_layers_have_the_head_widths_of_real_models():
    widths = [(query.shape[2:], key.shape[2]) for query, key, _ in module._layers(CPU, torch.float32)]
    assert widths[:2] == [((1024, 40), 1024), ((1024, 40), 77)]
    assert {shape[1] for shape, _ in widths} == {40, 64, 80, 160}


def test_a_kernel_that_fails_is_passed_over_and_the_reason_told(monkeypatch):
    monkeypatch.setitem(KERNELS, "sdpa", broken)
    choice = measure_kernels(CPU, torch.float32)
    assert choice.name == "sdpa-math"
    assert choice.left_out == {"sdpa": "no kernel image", "sliced": "not needed"}


@pytest.mark.parametrize("wrong", [lambda q, k, v: right(q, k, v) * 1.01, lambda q, k, v: right(q, k, v) / 0 * 0])
def test_a_kernel_that_answers_wrongly_is_passed_over(wrong, monkeypatch):
    monkeypatch.setitem(KERNELS, "sdpa", wrong)
    choice = measure_kernels(CPU, torch.float32)
    assert choice.name == "sdpa-math"
    assert choice.left_out["sdpa"].startswith("off by")


def test_the_fastest_of_the_right_is_taken(small):
    small({"sdpa-flash": 3.0, "sdpa-efficient": 2.0, "sdpa": 2.9, "xformers": 1.0})
    choice = measure_kernels(CUDA, torch.float32)
    assert choice.name == "xformers"
    assert choice.left_out == {"sdpa-cudnn": "no kernel image", "sdpa-math": "not needed", "sliced": "not needed"}
    assert choice.seconds == {"sdpa-flash": 3.0, "sdpa-efficient": 2.0, "sdpa": 2.9, "xformers": 1.0}


def test_a_hair_faster_is_not_enough(small):
    small({"sdpa-flash": 1.05, "sdpa": 1.0})
    assert measure_kernels(CUDA, torch.float32).name == "sdpa-flash"


def test_torchs_own_choice_is_no_choice_where_only_its_plain_kernel_works(small):
    small({"sdpa": 1.0, "sdpa-math": 2.0})
    choice = measure_kernels(CUDA, torch.float32)
    assert choice.name == "sdpa-math"
    assert choice.left_out["sdpa"] == "only its plain kernel answers here"


def test_where_nothing_is_right_slices_are_left(small):
    small({})
    assert measure_kernels(CUDA, torch.float32).name == "sliced"


def test_what_was_measured_once_is_kept(monkeypatch, tmp_path):
    file = tmp_path / "attention.json"
    first = KernelChoice("sliced", {"sliced": 0.1}, {"sdpa": "off"})
    monkeypatch.setattr(module, "measure_kernels", lambda _device, _dtype: first)
    assert remembered_kernel(CPU, torch.float32, file) == first
    monkeypatch.setattr(module, "measure_kernels", lambda _device, _dtype: KernelChoice("sdpa"))
    assert remembered_kernel(CPU, torch.float32, file) == first
    assert remembered_kernel(CPU, torch.bfloat16, file).name == "sdpa"
    assert len(json.loads(file.read_text())) == 2


def test_another_xformers_is_measured_again(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "measure_kernels", lambda _device, _dtype: KernelChoice("sdpa"))
    remembered_kernel(CPU, torch.float32, tmp_path / "attention.json")
    monkeypatch.setattr(module, "installed", lambda _package: "9.9")
    monkeypatch.setattr(module, "measure_kernels", lambda _device, _dtype: KernelChoice("sliced"))
    assert remembered_kernel(CPU, torch.float32, tmp_path / "attention.json").name == "sliced"


def test_a_choice_is_told_in_one_line():
    choice = KernelChoice("sdpa", {"sdpa": 0.0123}, {"xformers": "No module named 'xformers'"})
    assert choice.told() == "sdpa 12.3 ms, xformers: No module named 'xformers'"

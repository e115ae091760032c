import pytest
import torch
from torch import nn

from studio.engine import fp8, streaming
from studio.engine.fp8 import FP8, Fp8Layers, supports_fp8, to_fp8
from studio.engine.streaming import StreamedLayers
from tests import tiny

CPU = torch.device("cpu")


def inputs(dtype=torch.float32):
    rng = torch.Generator().manual_seed(1)
    sample, words = torch.randn(2, 4, 16, 16, generator=rng), torch.randn(2, 5, tiny.HIDDEN, generator=rng)
    return sample.to(dtype), torch.tensor(7), words.to(dtype)


def run(unet):
    with torch.no_grad():
        return unet(*inputs(unet.dtype), return_dict=False)[0]


def size(module):
    return sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))


def difference(a, b):
    return ((a - b).norm() / b.norm()).item()


def copies(module):
    return {name: (value.clone(), value.data_ptr()) for name, value in module.state_dict().items()}


def assert_as_before(module, before):
    after = module.state_dict()
    assert after.keys() == before.keys()
    for name, (value, address) in before.items():
        assert torch.equal(after[name], value)
        assert after[name].data_ptr() == address
    assert {type(m) for m in module.modules()}.isdisjoint(fp8.STORED.values())
    assert "fp8_scale" not in " ".join(name for name, _ in module.named_buffers())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_error_is_small_and_the_module_is_restored(dtype):
    unet = tiny.tiny_unet().to(dtype)
    expected, before = run(unet), copies(unet)
    with Fp8Layers(unet).attached():
        error = difference(run(unet), expected)
    assert 0 < error < 0.1  # measured: 0.062 in fp32, 0.058 in bf16
    assert_as_before(unet, before)
    assert torch.equal(run(unet), expected)


def test_a_controlnet_keeps_its_zero_convolutions():
    control = tiny.tiny_controlnet(tiny.tiny_unet())
    before = copies(control)
    with Fp8Layers(control).attached():
        stored = {name.split(".")[0] for name, p in control.named_parameters() if p.dtype == FP8}
    assert stored == {"down_blocks", "mid_block"}
    assert_as_before(control, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_bytes_are_known_exactly_before_anything_is_stored(dtype):
    unet = tiny.tiny_unet().to(dtype)
    told = Fp8Layers.bytes_of(unet)
    assert told < size(unet)
    with Fp8Layers(unet).attached():
        assert size(unet) == told
    with torch.device("meta"):
        assert Fp8Layers.bytes_of(tiny.tiny_unet().to(dtype)) == told


def test_what_is_kept_wide():
    unet = tiny.tiny_unet()
    with Fp8Layers(unet).attached():
        wide = {name for name, p in unet.named_parameters() if p.dtype != FP8 and p.ndim > 1}
    assert {name.split(".")[0] for name in wide} == {"conv_in", "conv_out", "time_embedding"}


def test_weights_may_go_to_a_device_and_come_back_to_another():
    unet = tiny.tiny_unet()
    before = copies(unet)
    stored = Fp8Layers(unet, device=CPU)
    stored.attach()
    stored.detach(CPU)
    assert_as_before(unet, before)


def test_a_block_that_raises_restores_too():
    unet = tiny.tiny_unet()
    before = copies(unet)
    with pytest.raises(KeyError), Fp8Layers(unet).attached():
        raise KeyError
    assert_as_before(unet, before)


def test_an_attach_that_fails_halfway_restores_too(monkeypatch):
    unet, done = tiny.tiny_unet(), []
    before = copies(unet)

    def full(weight):
        if len(done) > 5:
            raise torch.OutOfMemoryError("no room")
        done.append(1)
        return to_fp8(weight)

    monkeypatch.setattr(fp8, "to_fp8", full)
    with pytest.raises(torch.OutOfMemoryError):
        Fp8Layers(unet).attach()
    assert_as_before(unet, before)


def test_originals_may_come_from_elsewhere():
    unet = tiny.tiny_unet()
    expected, mapping = run(unet), {name: value.clone() for name, value in unet.state_dict().items()}
    stored = Fp8Layers(unet, originals=mapping.__getitem__)
    with stored.attached():
        assert not stored._kept
    assert torch.equal(run(unet), expected)


def test_another_checkpoint_can_be_written_while_stored():
    unet, other = tiny.tiny_unet(), tiny.tiny_unet(seed=5)
    expected = run(other)
    with Fp8Layers(other).attached():
        narrow = run(other)
    stored = Fp8Layers(unet)
    with stored.attached():
        for name, value in other.state_dict().items():
            stored.write(name, value)
        assert torch.equal(run(unet), narrow)
    assert torch.equal(run(unet), expected)
    with stored.attached(), pytest.raises(KeyError):
        stored.write("no.such.weight", torch.zeros(1))


def test_fp8_layers_are_streamed_as_others_are(monkeypatch):
    monkeypatch.setattr(streaming, "SMALL", 0)
    unet, other = tiny.tiny_unet(), tiny.tiny_unet(seed=5)
    before = copies(unet)
    stored = Fp8Layers(unet)
    with stored.attached():
        expected = run(unet)
        with StreamedLayers(unet, CPU, 0).attached() as streamed:
            assert streamed.host_bytes > 0
            assert torch.equal(run(unet), expected)
            with pytest.raises(ValueError, match="streamed"):
                stored.detach()
            for name, value in other.state_dict().items():
                stored.write(name, value)
            run(unet)
            for name, (value, _) in before.items():
                stored.write(name, value)
            assert torch.equal(run(unet), expected)
        assert torch.equal(run(unet), expected)
    assert all(torch.equal(value, before[name][0]) for name, value in unet.state_dict().items())


def test_a_streamed_module_is_not_stored(monkeypatch):
    monkeypatch.setattr(streaming, "SMALL", 0)
    unet = tiny.tiny_unet()
    with StreamedLayers(unet, CPU, 0).attached(), pytest.raises(ValueError, match="streamed"):
        Fp8Layers(unet).attach()


def test_a_second_attach_is_refused():
    unet = tiny.tiny_unet()
    with Fp8Layers(unet).attached() as stored:
        for again in (stored, Fp8Layers(unet)):
            with pytest.raises(ValueError, match="fp8 already"):
                again.attach()


def test_a_module_made_in_inference_mode_is_stored_too():
    with torch.inference_mode():
        unet = tiny.tiny_unet()
        expected = run(unet)
        with Fp8Layers(unet).attached():
            assert 0 < difference(run(unet), expected) < 0.1
        assert torch.equal(run(unet), expected)


def test_a_weight_that_was_fp8_comes_back_bit_for_bit():
    values = torch.arange(256, dtype=torch.uint8).view(FP8)
    values = values[values.float().isfinite()]
    for factor in (1.0, 2.0**-7, 2.0**9):
        weight = values.float() * factor
        stored, scale = to_fp8(weight)
        assert torch.equal(stored.float() * scale, weight)


def test_no_value_overflows_whatever_its_size():
    for largest in (1e-30, 3e-5, 0.02, 447.9, 448.0, 448.1, 7e4, 1e30):
        weight = torch.tensor([largest, -largest, 0.3 * largest])
        stored, scale = to_fp8(weight)
        torch.testing.assert_close(stored.float() * scale, weight, rtol=1 / 16, atol=0)
    assert to_fp8(torch.zeros(3))[1] == 1
    assert to_fp8(torch.tensor([float("nan"), float("inf"), 1.0]))[0].float().isnan()[[0, 2]].tolist() == [True, False]


def test_compiled_code_takes_it_whole():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.SiLU(), nn.Flatten(2), nn.Linear(36, 4))
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad(), Fp8Layers(model).attached():
        torch.compiler.reset()
        assert torch.equal(torch.compile(model, backend="eager", fullgraph=True)(x), model(x))


def test_the_device_is_asked():
    assert supports_fp8(CPU)
    assert not supports_fp8(torch.device("meta"))

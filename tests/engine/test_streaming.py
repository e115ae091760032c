from contextlib import contextmanager

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import nn

from studio.engine import streaming
from studio.engine.placement import SPARE
from studio.engine.streaming import CudaLane, StreamedLayers, choose_streamed, largest_layer, leaf_layers
from tests import tiny

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _stream_small_layers_too(monkeypatch):
    monkeypatch.setattr(streaming, "SMALL", 0)


def inputs(seed=1):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(2, 4, 16, 16, generator=rng), torch.tensor(7), torch.randn(2, 5, tiny.HIDDEN, generator=rng)


def size_of(module):
    return sum(t.numel() * t.element_size() for t in module.parameters())


def unet_case():
    unet = tiny.tiny_unet()
    return unet, lambda: (unet(*inputs(), return_dict=False)[0],)


def control_case():
    control = tiny.tiny_controlnet(tiny.tiny_unet())
    hint = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))

    def run():
        down, middle = control(*inputs(), controlnet_cond=hint, return_dict=False)
        return (*down, middle)

    return control, run


def bits(module):
    return {name: (t.clone(), t.stride(), t.device, t.is_pinned()) for name, t in module.state_dict().items()}


def assert_same_bits(module, before):
    after = bits(module)
    assert after.keys() == before.keys()
    for name, (value, *rest) in before.items():
        assert torch.equal(after[name][0], value), name
        assert after[name][1:] == tuple(rest)
    assert not any("forward" in m.__dict__ for m in module.modules())


@pytest.mark.parametrize("case", [unet_case, control_case])
@pytest.mark.parametrize("share", [0.0, 0.4, 0.8])
@torch.no_grad()
def test_streaming_changes_no_bit_of_the_output_nor_of_the_module(case, share):
    module, run = case()
    expected, before = run(), bits(module)
    total = sum(layer.size for layer in leaf_layers(module))
    with StreamedLayers(module, CPU, int(total * share)).attached() as streamed:
        assert streamed.host_bytes > 0
        for _ in range(2):
            assert all(torch.equal(a, b) for a, b in zip(run(), expected, strict=True))
    assert_same_bits(module, before)


def test_a_device_to_return_to_may_be_named():
    unet, _ = unet_case()
    before = bits(unet)
    streamed = StreamedLayers(unet, CPU, 0)
    streamed.attach()
    streamed.detach(CPU)
    streamed.detach()  # once more changes nothing
    assert_same_bits(unet, before)


@torch.no_grad()
def test_a_budget_for_everything_streams_nothing():
    unet, run = unet_case()
    expected = run()
    with StreamedLayers(unet, CPU, 10**9).attached() as streamed:
        assert (streamed.host_bytes, streamed.streamed) == (0, ())
        assert torch.equal(run()[0], expected[0])


@torch.no_grad()
def test_the_budget_is_kept_and_what_is_on_the_device_is_counted_exactly():
    unet, _ = unet_case()
    sizes = [layer.size for layer in leaf_layers(unet)]
    weights = size_of(unet)
    for budget in range(sizes[0] + 2 * largest_layer(unet), sum(sizes), 12000):
        with StreamedLayers(unet, CPU, budget).attached() as streamed:
            assert streamed.device_bytes <= budget
            buffers = 2 * max(layer.size for layer in streamed._streamed)
            own = sum(t.numel() * t.element_size() for layer in streamed._streamed for t in layer.tensors)
            assert streamed.device_bytes == weights - own + buffers


@torch.no_grad()
def test_the_next_layer_is_copied_before_this_one_runs():
    unet, run = unet_case()
    heard = []
    with StreamedLayers(unet, CPU, 0, observer=lambda *event: heard.append(event)).attached() as streamed:
        run()
        first, heard = list(heard), heard
        heard.clear()
        run()
        names = list(streamed.streamed)
    order = [name for event, name, _ in first if event == "run"]
    assert sorted(order) == sorted(names)  # each layer once
    assert order != names  # in the order of the work, which is not that of registration
    assert [e for e in first if e[0] != "copy"] == [
        (event, name, i % 2) for i, name in enumerate(order) for event in ("wait", "run", "free")
    ]
    expected = [("copy", order[0], 0)]
    for i, name in enumerate(order):
        following = [("copy", order[i + 1], (i + 1) % 2)] if i + 1 < len(order) else []
        expected += [("wait", name, i % 2), *following, ("run", name, i % 2), ("free", name, i % 2)]
    assert heard == expected


@torch.no_grad()
def test_a_path_that_changes_costs_a_copy_and_no_bit():
    class Forked(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.a, self.b, self.last = (nn.Linear(8, 8) for _ in range(4))

        def forward(self, x, way):
            x = self.first(x)
            for name in way:
                x = getattr(self, name)(x)
            return self.last(x)

    torch.manual_seed(0)
    model, x = Forked(), torch.randn(2, 8)
    ways = ["ab", "ba", "", "aab", "b", "ab"]
    expected = [model(x, way) for way in ways]
    with StreamedLayers(model, CPU, 0).attached():
        assert all(torch.equal(model(x, way), e) for way, e in zip(ways, expected, strict=True))
        assert torch.equal(model.a(x), nn.functional.linear(x, model.a.weight, model.a.bias))


class StopError(Exception):
    pass


@torch.no_grad()
def test_an_exception_in_the_middle_leaves_the_module_whole():
    unet, run = unet_case()
    expected, before = run(), bits(unet)

    def stop(event, name, _slot):
        if armed and event == "run" and name.startswith("mid_block"):
            raise StopError

    armed = True
    streamed = StreamedLayers(unet, CPU, 0, observer=stop)
    with pytest.raises(StopError), streamed.attached():
        run()
    assert_same_bits(unet, before)
    with streamed.attached():  # the same object again, and a forward after one that failed
        with pytest.raises(StopError):
            run()
        assert not streamed._running
        armed = False
        assert torch.equal(run()[0], expected[0])
    assert_same_bits(unet, before)


@pytest.mark.parametrize("way", ["state_dict", "host_tensor", "assigned parameters"])
@torch.no_grad()
def test_another_checkpoint_can_be_written_while_attached(way):
    unet, run = unet_case()
    other = tiny.tiny_unet(seed=5)
    expected = other(*inputs(), return_dict=False)[0]
    run()
    with StreamedLayers(unet, CPU, 20_000).attached() as streamed:
        run()
        if way == "assigned parameters":
            parameters = dict(unet.named_parameters())
            for name, value in other.named_parameters():
                parameters[name].data.copy_(value)
        for name, value in other.state_dict().items():
            if way == "state_dict":
                unet.state_dict()[name].copy_(value)
            elif way == "host_tensor":
                streamed.host_tensor(name).copy_(value)
        assert torch.equal(run()[0], expected)
    assert torch.equal(run()[0], expected)
    assert_same_bits(unet, bits(other))


@torch.no_grad()
def test_writing_during_a_forward_is_refused():
    unet, run = unet_case()
    streamed = StreamedLayers(unet, CPU, 0, observer=lambda event, name, _slot: streamed.host_tensor(f"{name}.weight"))
    with streamed.attached(), pytest.raises(RuntimeError, match="between two forwards"):
        run()


def test_a_module_made_in_inference_mode_is_streamed_too():
    with torch.inference_mode():
        unet, run = unet_case()
        expected = run()[0]
        with StreamedLayers(unet, CPU, 0).attached():
            assert torch.equal(run()[0], expected)
        assert torch.equal(run()[0], expected)


def test_gradients_are_refused():
    unet, run = unet_case()
    with StreamedLayers(unet, CPU, 0).attached(), pytest.raises(RuntimeError, match="no gradients"):
        run()


def test_a_second_attach_is_refused():
    unet, _ = unet_case()
    with StreamedLayers(unet, CPU, 0).attached() as streamed:
        for again in (streamed, StreamedLayers(unet, CPU, 0)):
            with pytest.raises(ValueError, match="streamed already"):
                again.attach()


def test_shared_tensors_are_refused():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    with pytest.raises(ValueError, match="0 and 1 share a tensor"):
        StreamedLayers(model, CPU, 0).attach()
    assert not any("forward" in m.__dict__ for m in model.modules())


def test_an_attach_that_fails_leaves_the_module_whole(monkeypatch):
    unet, _ = unet_case()
    before = bits(unet)

    def full(*_):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(streaming, "_two_buffers", full)
    with pytest.raises(torch.OutOfMemoryError):
        StreamedLayers(unet, CPU, 0).attach()
    assert_same_bits(unet, before)


@torch.no_grad()
def test_channels_last_weights_keep_their_strides():
    unet, run = unet_case()
    unet.to(memory_format=torch.channels_last)
    expected, before = run(), bits(unet)
    with StreamedLayers(unet, CPU, 0).attached():
        assert torch.equal(run()[0], expected[0])
    assert_same_bits(unet, before)


def test_layers_come_with_their_exact_bytes():
    conv = nn.Sequential(nn.Conv2d(3, 8, 3), nn.SiLU(), nn.Linear(8, 4, bias=False))
    first, second = leaf_layers(conv)
    assert (first.name, first.offsets, first.size) == ("0", [0, 1024], 1280)  # 864 bytes, then 32, each from 256 on
    assert (second.name, second.size) == ("2", 256)


@pytest.mark.parametrize(
    ("sizes", "budget", "streamed"),
    [
        ([1, 5, 3, 9, 3, 2], 23, []),  # everything
        ([1, 5, 3, 9, 3, 2], 22, [2, 4, 5]),  # 1 + 9 + 5, and two buffers of 3
        ([1, 5, 3, 9, 3, 2], 20, [1, 2, 4, 5]),  # 1 + 9, and two buffers of 5
        ([1, 5, 3, 9, 3, 2], 0, [1, 2, 3, 4, 5]),
        ([1, 9, 8, 8, 3], 22, [1, 2, 3]),  # 1 and two buffers of 9; 3 fits into what is left
    ],
)
def test_the_largest_stay_and_the_rest_of_the_budget_is_filled(sizes, budget, streamed):
    assert choose_streamed(sizes, budget, small=0) == streamed


def test_layers_share_chunks_of_host_memory(monkeypatch):
    monkeypatch.setattr(streaming, "CHUNK", 1024)
    parts = streaming.host_bytes([512, 512, 256, 2048, 256], pinned=False)
    assert [len(part) for part in parts] == [512, 512, 256, 2048, 256]
    storages = [part.untyped_storage().data_ptr() for part in parts]
    assert [storages.index(s) for s in storages] == [0, 0, 2, 3, 4]
    for i, part in enumerate(parts):
        part.fill_(i)
    assert [part.unique().tolist() for part in parts] == [[i] for i in range(5)]


def test_host_memory_that_cannot_be_pinned_is_taken_as_it_is():
    assert len(streaming.host_bytes([256], pinned=True)[0]) == 256


@torch.no_grad()
def test_compiled_code_sees_the_weights_of_the_moment():
    model, x = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)), torch.randn(2, 8)
    torch.compiler.reset()
    compiled = torch.compile(model, backend="eager")
    with StreamedLayers(model, CPU, 0).attached() as streamed:
        for _ in range(2):
            assert torch.equal(compiled(x), model(x))
            streamed.host_tensor("2.weight").mul_(2)


@torch.no_grad()
def test_the_least_that_the_planner_grants_is_enough_for_sd_1_5(monkeypatch):
    monkeypatch.undo()  # small layers stay resident, as they do in earnest
    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768).to(torch.float16)
    sizes, layer, whole = [each.size for each in leaf_layers(unet)], largest_layer(unet), size_of(unet)
    least = 2 * layer + whole // SPARE
    streamed = choose_streamed(sizes, least, streaming.SMALL)
    stays = sum(sizes) - sum(sizes[i] for i in streamed)
    assert stays + 2 * max(sizes[i] for i in streamed) <= least < whole / 10


class FakeCuda:
    """Stands in for torch.cuda: writes down every call."""

    def __init__(self):
        self.calls, self.events = [], 0

    def current_stream(self, _device):
        return FakeStream(self, "compute")

    def Stream(self, _device):  # noqa: N802
        return FakeStream(self, "copies")

    def Event(self):  # noqa: N802
        self.events += 1
        return FakeEvent(self, self.events)

    @contextmanager
    def stream(self, stream):
        self.calls.append(f"enter {stream.name}")
        yield
        self.calls.append("leave")


class FakeStream:
    def __init__(self, cuda, name):
        self.cuda, self.name = cuda, name

    def wait_event(self, event):
        self.cuda.calls.append(f"{self.name} waits for {event.number}")

    def synchronize(self):
        self.cuda.calls.append(f"program waits for {self.name}")


class FakeEvent:
    def __init__(self, cuda, number):
        self.cuda, self.number = cuda, number

    def record(self, stream):
        self.cuda.calls.append(f"{self.number} recorded in {stream.name}")


def test_on_cuda_a_copy_waits_for_the_reader_and_the_reader_for_the_copy():
    cuda = FakeCuda()
    lane = CudaLane(CPU, 8, cuda=cuda)
    assert cuda.calls == ["3 recorded in compute", "4 recorded in compute"]
    cuda.calls.clear()
    lane.copy(1, torch.arange(4, dtype=torch.uint8))
    lane.wait(1)
    lane.release(1)
    lane.settle()
    assert cuda.calls == [
        "copies waits for 4",
        "enter copies",
        "leave",
        "2 recorded in copies",
        "compute waits for 2",
        "4 recorded in compute",
        "program waits for copies",
    ]
    assert lane.buffers[1][:4].tolist() == [0, 1, 2, 3]

"""A plan carried out. Moves between devices are told to an observer; both are the CPU, so bytes can be compared."""

import pytest
import torch

from studio.engine import residency
from studio.engine.placement import Memory, Plan, Rung
from studio.engine.residency import Arrangement, Resident, Sizes, bytes_of, device_memory, is_out_of_memory, need_of
from tests import tiny

CPU = torch.device("cpu")
META = torch.device("meta")  # stands in for a GPU where only the moves count


def made(**changed):
    plain = {
        "rung": Rung.RESIDENT,
        "resident": ("unet",),
        "evicted": (),
        "fp8": False,
        "streamed_bytes": 0,
        "tiled_vae": False,
        "aside": (),
        "budgets": {},
        "fits": True,
        "sentences": (),
    }
    return Plan(**plain | changed)


def part(name, kind, *, in_use=False, module=None):
    module = module or torch.nn.Linear(4, 4)
    return Resident(name, kind, name, module, Sizes.of(module, CPU), in_use)


def told(arrangement, phases):
    """What happens from the beginning through these phases."""
    events = []
    arrangement.observer = lambda event, name: events.append((event, name))
    arrangement.begin()
    for phase in phases:
        events.append(("phase", phase))
        with arrangement.phase(phase):
            pass
    return events


def parts():
    return {p.name: p for p in (part("unet", "unet", in_use=True), part("te", "text_encoder"), part("vae", "vae"))}


def test_what_is_resident_comes_in_once_and_stays():
    events = told(Arrangement(made(), META, parts()), ("encode", "denoise", "decode"))
    moved = [("moved in", "unet"), ("moved in", "te"), ("moved in", "vae")]
    assert events == [*moved, ("phase", "encode"), ("phase", "denoise"), ("phase", "decode")]


def test_guests_come_for_their_own_phase(monkeypatch):
    where = {"unet": CPU, "te": CPU, "vae": CPU}
    monkeypatch.setattr(Arrangement, "_move", moves(where))
    arrangement = Arrangement(made(evicted=("te", "vae")), META, parts())
    arrangement.begin()
    assert where == {"unet": META, "te": CPU, "vae": CPU}
    with arrangement.phase("encode"):
        assert where == {"unet": META, "te": META, "vae": CPU}
    with arrangement.phase("decode"):
        assert where == {"unet": META, "te": CPU, "vae": META}
    assert where == {"unet": META, "te": CPU, "vae": CPU}


def test_what_steps_aside_comes_back_even_after_an_error(monkeypatch):
    where = {"unet": CPU, "te": CPU, "vae": CPU}
    monkeypatch.setattr(Arrangement, "_move", moves(where))
    arrangement = Arrangement(made(aside=("decode",), evicted=("vae",)), META, parts())
    arrangement.begin()

    def decode():
        with arrangement.phase("decode"):
            assert where["unet"] == CPU
            assert where["vae"] == META
            raise RuntimeError

    with pytest.raises(RuntimeError):
        decode()
    assert where == {"unet": META, "te": META, "vae": CPU}


def moves(where):
    return lambda _self, part, device: where.update({part.name: device})


@pytest.mark.parametrize(
    "how", [{"fp8": True}, {"budgets": {"unet": 40_000}}, {"fp8": True, "budgets": {"unet": 40_000}}]
)
def test_the_end_gives_every_bit_back(how):
    unet = tiny.tiny_unet().eval().requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    arrangement = Arrangement(made(**how), CPU, {"unet": part("unet", "unet", in_use=True, module=unet)})
    arrangement.begin()
    with arrangement.phase("denoise"), torch.no_grad():
        unet(torch.randn(1, 4, 8, 8), 3, torch.randn(1, 5, tiny.HIDDEN))
    arrangement.end()
    after = unet.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


class Ruler:
    """Says 100 at first, and 130 at the peak."""

    def begin(self):
        return 100

    def peak(self):
        return 130


def test_what_a_phase_takes_is_learned_when_it_ends_well():
    learned = []
    arrangement = Arrangement(made(), CPU, parts(), meter=Ruler(), learn=lambda *told: learned.append(told))
    arrangement.begin()
    with arrangement.phase("denoise"):
        assert not learned
    with pytest.raises(RuntimeError), arrangement.phase("decode"):
        raise RuntimeError
    assert learned == [("denoise", 30)]


def test_a_beginning_that_fails_leaves_nothing_attached(monkeypatch):
    unet = tiny.tiny_unet()

    def fail(_self):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(residency.StreamedLayers, "attach", fail)
    how = made(fp8=True, budgets={"unet": 40_000})
    arrangement = Arrangement(how, CPU, {"unet": part("unet", "unet", in_use=True, module=unet)})
    with pytest.raises(torch.OutOfMemoryError):
        arrangement.begin()
    assert {p.dtype for p in unet.parameters()} == {torch.float32}


def test_on_the_cpu_parts_of_the_run_stay():
    text = need_of(part("te", "text_encoder"), CPU)
    assert text.in_use
    assert text.layer_bytes == 0
    assert text.fp8_bytes == text.bytes == bytes_of(torch.nn.Linear(4, 4))
    assert not need_of(part("pose", "controlnet"), CPU).in_use


def test_sizes_for_a_device_that_can_store_and_stream(monkeypatch):
    monkeypatch.setattr(residency, "supports_fp8", lambda _device: True)
    unet = tiny.tiny_unet()
    sizes = Sizes.of(unet, META)
    assert sizes.bytes == bytes_of(unet)
    assert 0 < sizes.layer < sizes.fp8 < sizes.bytes
    with residency.Fp8Layers(unet).attached():
        need = need_of(Resident("unet", "unet", "unet", unet, sizes, in_use=True), META)
    assert need.bytes == sizes.bytes
    assert need.resident == 0


def test_the_memory_of_the_cpu_is_the_machines():
    memory = device_memory(CPU)
    assert isinstance(memory, Memory)
    assert 0 < memory.available <= memory.total


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate"), True),
        (RuntimeError("size mismatch"), False),
        (ValueError("x"), False),
    ],
)
def test_what_counts_as_too_little_memory(error, expected):
    assert is_out_of_memory(error) is expected

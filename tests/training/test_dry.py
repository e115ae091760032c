import gc

import psutil
import pytest
import torch

from studio.engine.placement import Memory
from studio.errors import OutOfMemoryError
from studio.training import dry
from studio.training.dry import HostMeter, held_by
from tests.training.lesson import Plain, Told, params, session
from tests.training.test_session import everything


@pytest.mark.parametrize("changed", [{}, {"optimizer": "adafactor", "accumulation": 2}])
def test_a_rehearsal_leaves_no_trace(tmp_path, changed):
    run = session(tmp_path, params(ema=0.9, **changed))
    before, chance = everything(run), torch.get_rng_state()
    found = run.rehearse()
    assert everything(run) == before
    assert torch.equal(torch.get_rng_state(), chance)
    assert all(p.grad is None for p in run.stepper.parameters)
    assert found.seconds > 0
    assert found.fits
    assert found.bytes == found.held + found.growth
    run.run()
    plain = session(tmp_path / "plain", params(ema=0.9, **changed))
    plain.run()
    assert everything(plain) == everything(run)


def test_both_ends_of_a_run_are_tried(tmp_path, monkeypatch):
    monkeypatch.setattr(dry, "ENOUGH", 0.0)
    run = session(tmp_path)
    run.rehearse()
    assert run.lesson.method.steps == [0] * 4 + [5] * 4


class Ticking:
    """time.perf_counter for steps that take so long, by the number of the step, each in turn."""

    def __init__(self, seconds):
        self.seconds = {step: iter(given) for step, given in seconds.items()}
        self.now, self.asked = 0.0, 0
        self.run = None

    def perf_counter(self):
        self.asked += 1
        if self.asked % 2 == 0:
            self.now += next(self.seconds[self.run.lesson.method.steps[-1]])
        return self.now


@pytest.mark.parametrize(
    ("changed", "seconds", "expected"),
    [
        ({}, {0: [9.0, 0.5, 0.5, 30.0], 5: [0.5, 0.5, 0.6, 0.4]}, 0.5),
        ({"method": "pivotal", "inversion_share": 0.25}, {0: [0.1, 0.4, 0.4, 0.4], 5: [0.1, 0.8, 0.8, 0.8]}, 0.7),
        ({}, {0: [20.0], 5: [3.0, 4.0]}, 12.0),
    ],
    ids=["what others do meanwhile", "two stages", "slow steps"],
)
def test_a_step_takes_the_median_of_each_end(tmp_path, monkeypatch, changed, seconds, expected):
    clock = Ticking(seconds)
    monkeypatch.setattr(dry, "time", clock)
    clock.run = session(tmp_path, params(**changed))
    assert clock.run.rehearse().seconds == pytest.approx(expected)


def test_a_rehearsal_with_too_little_memory_finds_the_rung_that_fits(tmp_path):
    class Narrow(Plain):
        def predict(self, batch, noisy, timesteps):
            if len(noisy) > 1:
                raise torch.OutOfMemoryError("out")
            return super().predict(batch, noisy, timesteps)

    told = Told()
    run = session(tmp_path, params(batch=2), told.hooks)
    run.lesson.method.__class__ = Narrow
    run.rehearse()
    assert run.recovery.pieces == 2
    assert [event["text"].partition(";")[0] for event in told.named("warning")] == ["Memory ran out at a trial step"]


def test_what_will_not_fit_is_refused_before_it_begins(tmp_path, monkeypatch):
    monkeypatch.setattr(dry, "device_memory", lambda device: Memory(10**9, -(10**9)))
    told = Told()
    with pytest.raises(OutOfMemoryError, match="even one picture"):
        session(tmp_path, params(batch=2), told.hooks).rehearse()
    assert told.named("warning")[0]["text"].startswith("A step takes 0.0 GB, and -1.0 GB are free; ")


def test_the_peak_is_seen_though_it_is_over():
    meter = HostMeter()
    held = meter.begin()
    size = 200 * 2**20
    for _ in range(3):
        torch.ones(size // 4).sum().item()
    assert meter.peak() - held > 0.7 * size


def test_what_nobody_holds_any_more_is_gone_before_it_is_measured():
    size = 200 * 2**20
    gc.collect()
    gc.disable()
    try:
        ring = [torch.ones(size // 4)]
        ring.append(ring)
        full = held_by(psutil.Process())
        del ring
        meter = HostMeter()
        assert meter.begin() < full - 0.7 * size
        meter.peak()
    finally:
        gc.enable()


def test_holes_between_small_blocks_hide_nothing():
    """glibc keeps their pages, and what asks next gets them: nothing would seem to be taken."""
    pairs = [(torch.ones(25 * 2**10), torch.ones(2**10)) for _ in range(2000)]  # 100 KB and 4 KB
    full = held_by(psutil.Process())
    small = [kept for _, kept in pairs]
    pairs.clear()
    meter = HostMeter()
    assert meter.begin() < full - 0.7 * 2000 * 100 * 2**10
    meter.peak()
    assert len(small) == 2000


@pytest.mark.parametrize("every", [dry.LOOK_EVERY, 60.0], ids=["watched", "a watch that comes too late"])
def test_the_memory_of_a_step_is_that_of_its_parts(tmp_path, monkeypatch, every):
    """A wide layer: gradients and AdamW's two averages are three times its weights."""
    monkeypatch.setattr(dry, "LOOK_EVERY", every)
    run = session(tmp_path)
    wide = torch.nn.Linear(3000, 3000, bias=False)  # 36 MB

    class Wide(Plain):
        def groups(self):
            return [{"params": list(self.trained.parameters()), "lr": 1e-3}]

        def after_step(self):
            return

        def predict(self, batch, noisy, timesteps):
            return noisy * self.trained.weight.sum()

    run.lesson.method.__class__, run.lesson.method.trained = Wide, wide
    given_back = 1e6  # by others of the process meanwhile, at most
    assert 3 * 36e6 - given_back <= run.rehearse().growth <= 5.5 * 36e6

import pytest
import torch

from studio.adapters.hypernetworks import read_hypernetwork
from studio.adapters.stack import Weighted
from studio.engine.attention import AttentionProcessor
from studio.engine.units.hypernetwork import HypernetworkUnit, widths_attended_to
from studio.engine.units.reference import ReferenceUnit
from studio.engine.units.unit import slots_of
from studio.engine.weights import open_weights
from tests import tiny
from tests.adapters.hypernetwork_files import NaiveAttention, hypernetwork
from tests.adapters.test_hypernetworks import OPTIONS
from tests.engine.latents import assert_agree
from tests.engine.units.conftest import SIDE

WORDS, OWN = 24, 16  # widths of what cross- and self-attention attend to


@pytest.fixture
def small(small):
    """Words of another width than the UNet's own features, so that each is seen to count."""
    config = {**small.unet.config, "cross_attention_dim": WORDS}
    torch.manual_seed(0)
    small.unet = type(small.unet).from_config(config).eval()
    small.pipeline.unet = type(small.unet).from_config(config).eval()
    small.pipeline.unet.load_state_dict(small.unet.state_dict())
    small.unet.set_attn_processor(AttentionProcessor("sdpa"))
    small.words = torch.randn(2, 16, WORDS, generator=torch.Generator().manual_seed(7))
    return small


@pytest.fixture
def unit(tmp_path):
    """A unit of a file's contents, or of fresh ones."""

    def make(held=None, **weighted):
        held = hypernetwork((WORDS, OWN)) if held is None else held
        torch.save(held, tmp_path / "oil.pt")
        model = read_hypernetwork(open_weights(tmp_path / "oil.pt"))
        return HypernetworkUnit(model, Weighted(**{"id": "1", "title": "oil", "deltas": {}, **weighted}))

    return make


def naive(job, *stack):
    """What diffusers' pipeline makes of it with the plainest attention, in fp64."""
    job.pipeline.unet.set_attn_processor(NaiveAttention(stack))
    job.pipeline.to(torch.float64)
    words, noise = job.words, job.noise
    job.words, job.noise = words.double(), noise.double()
    try:
        return job.theirs()
    finally:
        job.words, job.noise = words, noise


@pytest.mark.parametrize("settings", OPTIONS.values(), ids=OPTIONS.keys())
def test_a_hypernetwork_with_any_option_makes_the_naive_picture(small, unit, settings):
    held = hypernetwork((WORDS, OWN), settings)
    ours = small.ours(unit(held, weight=0.8))
    assert_agree(ours, naive(small, (held, settings, 0.8)).float())
    assert (ours - small.ours()).norm() > 1e-3 * ours.norm()


@pytest.mark.parametrize("widths", [(WORDS,), (OWN,)])
def test_words_and_own_features_are_changed_each_by_its_width(small, unit, widths):
    held = hypernetwork(widths)
    assert_agree(small.ours(unit(held)), naive(small, (held, {}, 1.0)).float())


def test_several_work_one_after_the_other(small, unit):
    first, second = hypernetwork((WORDS, OWN)), hypernetwork((WORDS,), {"activation_func": "relu"}, seed=5)
    ours = small.ours(unit(first, weight=0.5), unit(second, weight=-0.4))
    theirs = naive(small, (first, {}, 0.5), (second, {"activation_func": "relu"}, -0.4))
    assert_agree(ours, theirs.float())
    assert not torch.equal(ours, small.ours(unit(second, weight=-0.4), unit(first, weight=0.5)))


OFF = {
    "weight 0": {"weight": 0.0},
    "no step": {"start": 0.3, "end": 0.4},
    "no block": {"blocks": (("unet", 0.0),)},
    "other widths": {"held": hypernetwork((5, 6))},
}


@pytest.mark.parametrize("off", OFF.values(), ids=OFF.keys())
def test_off_is_the_identical_picture(small, unit, off):
    assert torch.equal(small.ours(unit(**off)), small.ours())


def test_the_unet_is_as_before_afterwards_and_after_an_error(small, unit):
    without, slots = small.ours(), slots_of(small.unet)
    small.ours(unit())
    assert slots.hypernetworks is None
    assert torch.equal(small.ours(), without)
    broken = unit()
    broken.model.for_keys[str(OWN)][0].bias.data = torch.zeros(3)
    with pytest.raises(RuntimeError):
        small.ours(unit(), broken)
    assert slots.hypernetworks is None
    assert torch.equal(small.ours(), without)


def test_two_halves_of_the_steps_are_all_of_them(small, unit):
    halves = small.ours(unit(end=0.5), unit(start=0.5))
    assert torch.equal(halves, small.ours(unit()))
    assert not torch.equal(small.ours(unit(end=0.5)), halves)


def test_a_curve_lies_between_off_and_on(small, unit):
    off, on = small.ours(), small.ours(unit())
    for curve in ("rise", "fall"):
        assert 0 < (small.ours(unit(curve=curve)) - off).norm() < (on - off).norm()


def test_blocks_weigh_on_their_own(small, unit):
    everywhere = small.ours(unit(weight=0.5))
    assert torch.equal(small.ours(unit(blocks=(("unet", 0.5),))), everywhere)
    down = small.ours(unit(weight=0.5, blocks=(("unet.up_blocks", 0.0), ("unet.mid_block", 0.0))))
    assert not torch.equal(down, everywhere)
    assert not torch.equal(down, small.ours())


def test_half_precision_stays_in_its_type(small, unit):
    made = unit()
    made.model.to(torch.bfloat16)
    small.unet.to(torch.bfloat16)
    small.words = small.words.bfloat16()
    assert small.ours(made).isfinite().all()


def test_a_reference_is_seen_with_the_hypernetworks_before_it(small, unit):
    still = torch.randn(1, 4, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    before = small.ours(unit(), ReferenceUnit(still, still.flip(3)))
    after = small.ours(ReferenceUnit(still, still.flip(3)), unit())
    assert not torch.equal(before, after)
    assert not torch.equal(before, small.ours(unit()))


def test_the_widths_of_a_unet_are_those_of_its_words_and_features(small):
    assert widths_attended_to(small.unet) == {WORDS, OWN}
    assert tiny.HIDDEN == OWN

from dataclasses import replace

import pytest
import torch

from studio.control.ip_adapter import IPAdapter
from studio.engine.attention import AttentionProcessor
from studio.engine.units.controlnet import ControlNetUnit
from studio.engine.units.ip_adapter import IPAdapterUnit
from studio.engine.units.reference import ReferenceUnit
from studio.engine.units.t2i_adapter import T2IAdapterUnit
from studio.engine.units.unit import Residuals, Setting, StepInput, slots_of
from tests import tiny
from tests.engine.latents import assert_agree
from tests.engine.units.conftest import SIDE, STEPS
from tests.engine.units.test_units_agree_with_diffusers import (
    FEATURES,
    diffusers_layout,
    tiny_ip_adapter,
    tiny_t2i_adapter,
)


@pytest.fixture
def make_unit(small, picture):
    """A unit of each kind, by name."""
    features, still = torch.randn(1, FEATURES), torch.randn(1, 4, SIDE, SIDE)
    t2i = tiny_t2i_adapter()

    def make(kind, **setting):
        given = Setting(**setting)
        made = {
            "controlnet": lambda: ControlNetUnit(tiny.tiny_controlnet(small.unet), picture, given),
            "t2i": lambda: T2IAdapterUnit(t2i, picture, given),
            "ip": lambda: IPAdapterUnit(tiny_ip_adapter(small.unet), features, torch.zeros_like(features), given),
            "reference": lambda: ReferenceUnit(still, still.flip(3), given, fidelity=0.0),
        }
        return made[kind]()

    return make


KINDS = ("controlnet", "t2i", "ip", "reference")
every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
def test_a_unit_changes_the_picture_and_leaves_the_unet_as_it_was(small, make_unit, kind):
    without = small.ours()
    assert (small.ours(make_unit(kind)) - without).norm() > 0.003 * without.norm()
    assert torch.equal(small.ours(), without)


@every_kind
@pytest.mark.parametrize("mode", ["balanced", "prompt", "control"])
def test_a_scale_of_zero_is_off(small, make_unit, kind, mode):
    assert torch.equal(small.ours(make_unit(kind, scale=0.0, mode=mode)), small.ours())


@every_kind
def test_a_mask_that_covers_nothing_is_off_and_one_that_covers_all_is_no_mask(small, make_unit, kind):
    none, everything = torch.zeros(1, 1, tiny.SIZE, tiny.SIZE), torch.ones(1, 1, tiny.SIZE, tiny.SIZE)
    assert_agree(small.ours(make_unit(kind, mask=none)), small.ours())
    assert_agree(small.ours(make_unit(kind, mask=everything)), small.ours(make_unit(kind)))


@every_kind
def test_a_mask_keeps_a_unit_on_its_side_at_the_first_step(small, make_unit, kind):
    """Convolutions and attention carry it over the border later, and less of it than what was said."""
    left = torch.zeros(1, 1, tiny.SIZE, tiny.SIZE)
    left[..., : tiny.SIZE // 2] = 1
    change = (small.ours(make_unit(kind, mask=left)) - small.ours()).abs().mean((0, 1, 2))
    assert change[: SIDE // 2].mean() > change[SIDE // 2 :].mean()


@every_kind
@pytest.mark.parametrize("mode", ["balanced", "prompt", "control"])
def test_a_unit_says_the_same_to_every_joined_prompt(small, make_unit, kind, mode):
    unit = make_unit(kind, mode=mode)
    assert_agree(small.ours(unit, halves=True), small.ours(unit))


def test_sdxls_joined_prompts_have_their_pooled_prompts(large):
    assert_agree(large.ours(halves=True), large.ours())


@every_kind
def test_a_unit_works_only_within_its_range(small, make_unit, kind):
    assert torch.equal(small.ours(make_unit(kind, start=0.3, end=0.4)), small.ours())
    parts = small.ours(make_unit(kind, end=0.5), make_unit(kind, start=0.5))
    assert_agree(parts, small.ours(make_unit(kind)))


@every_kind
def test_a_unit_that_fails_leaves_the_unet_as_it_was(small, make_unit, kind):
    class Broken:
        setting = Setting()

        def attached(self, unet):
            return make_unit("controlnet").attached(unet)

        def contribute(self, step, residuals):
            raise RuntimeError("broken")

    before = small.ours()
    with pytest.raises(RuntimeError, match="broken"):
        small.ours(make_unit(kind), Broken())
    assert torch.equal(small.ours(), before)


def test_all_kinds_work_at_once_in_any_order(small, make_unit):
    units = [make_unit(kind, scale=0.5) for kind in KINDS]
    assert_agree(small.ours(*reversed(units)), small.ours(*units))


def test_layers_weigh_less_the_further_they_are_from_the_middle():
    soft = Setting(mode="prompt", scale=0.5).scales(13)
    assert soft[-1] == 0.5
    assert soft[0] == pytest.approx(0.5 * 0.825**12)
    assert Setting(scale=0.5).scales(3) == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("kind", ["controlnet", "t2i"])
def test_where_control_matters_more_the_negative_prompts_hear_nothing(small, make_unit, kind):
    rng = torch.Generator().manual_seed(1)
    sample = torch.randn(2, 4, SIDE, SIDE, generator=rng)
    step = StepInput(sample, torch.tensor(500), torch.randn(2, 8, tiny.HIDDEN, generator=rng), 0, 1)
    one, both = Residuals(), Residuals()
    make_unit(kind, mode="control").contribute(step, one)
    make_unit(kind, mode="prompt").contribute(step, both)
    for ours, whole in zip(one.down or one.features, both.down or both.features, strict=True):
        assert ours[0].abs().max() == 0
        torch.testing.assert_close(ours[1], whole[1])


def test_a_t2i_adapter_runs_once_a_picture(small, picture):
    adapter, seen = tiny_t2i_adapter(), []
    adapter.register_forward_pre_hook(lambda *_: seen.append(1))
    small.ours(T2IAdapterUnit(adapter, picture))
    assert len(seen) == 1


def test_a_reference_costs_one_unet_call_a_step_that_is_on(small, make_unit):
    seen = []
    small.unet.register_forward_pre_hook(lambda *_: seen.append(1))
    small.ours(make_unit("reference", end=0.5))
    assert len(seen) == STEPS + STEPS // 2


def test_several_pictures_stand_side_by_side(small):
    adapter = tiny_ip_adapter(small.unet)
    one, blank = torch.randn(1, FEATURES), torch.zeros(1, FEATURES)
    assert_agree(
        small.ours(IPAdapterUnit(adapter, one.expand(3, -1), blank)), small.ours(IPAdapterUnit(adapter, one, blank))
    )


def test_an_ip_adapter_of_another_unet_is_refused(small, large):
    unit = IPAdapterUnit(tiny_ip_adapter(small.unet), torch.zeros(1, FEATURES), torch.zeros(1, FEATURES))
    unit.model.keys = unit.model.keys[:1]
    with pytest.raises(ValueError, match="1 layers, and the UNet"):
        small.ours(unit)


def test_pictures_need_attention_of_ours(small):
    with pytest.raises(ValueError, match="sees no pictures"):
        slots_of(small.pipeline.unet)


def test_published_names_come_back_as_they_were(small):
    state = tiny_ip_adapter(small.unet).to_state()
    again = IPAdapter.from_state(state).to_state()
    assert state.keys() == again.keys()
    assert all(torch.equal(state[name], again[name]) for name in state)
    assert {"image_proj.proj.weight", "ip_adapter.1.to_k_ip.weight", "ip_adapter.3.to_v_ip.weight"} <= state.keys()


def test_the_plus_kind_is_read_as_diffusers_reads_it(small):
    torch.manual_seed(5)
    width, depth, tokens, inner = 64, 4, 3, 128
    state = {"latents": (1, tokens, width), "proj_in.weight": (width, FEATURES), "proj_in.bias": (width,)}
    state |= {"proj_out.weight": (tiny.HIDDEN, width), "proj_out.bias": (tiny.HIDDEN,)}
    state |= {"norm_out.weight": (tiny.HIDDEN,), "norm_out.bias": (tiny.HIDDEN,)}
    for layer in range(depth):
        names = {f"0.norm{n}.{kind}": (width,) for n in (1, 2) for kind in ("weight", "bias")}
        names |= {"0.to_q.weight": (inner, width), "0.to_kv.weight": (2 * inner, width)}
        names |= {"0.to_out.weight": (width, inner), "1.0.weight": (width,), "1.0.bias": (width,)}
        names |= {"1.1.weight": (4 * width, width), "1.3.weight": (width, 4 * width)}
        state |= {f"layers.{layer}.{name}": shape for name, shape in names.items()}
    made = {name: torch.randn(shape) * 0.1 for name, shape in state.items()}
    layers = diffusers_layout(tiny_ip_adapter(small.unet))["ip_adapter"]
    ours = IPAdapter.from_state(
        {f"image_proj.{name}": t for name, t in made.items()} | {f"ip_adapter.{name}": t for name, t in layers.items()}
    )
    theirs = small.pipeline.unet._convert_ip_adapter_image_proj_to_diffusers(made, low_cpu_mem_usage=False)
    features = torch.randn(2, 5, FEATURES)
    assert ours.plus
    with torch.no_grad():
        torch.testing.assert_close(ours.tokens(features), theirs(features))


def test_a_union_model_is_told_the_kind_of_its_map(small, picture):
    union = tiny.tiny_union(small.unet)
    pictures = [small.ours(ControlNetUnit(union, picture, kind=kind)) for kind in ("depth", "edges", "edges")]
    assert torch.equal(pictures[1], pictures[2])
    assert not torch.equal(pictures[0], pictures[1])
    assert not torch.equal(pictures[0], small.ours())


def test_the_unets_own_processor_is_not_exchanged(small, make_unit):
    before = list(small.unet.attn_processors.values())
    small.ours(*(make_unit(kind) for kind in KINDS))
    assert list(small.unet.attn_processors.values()) == before
    assert all(isinstance(p, AttentionProcessor) for p in before)
    assert before[0].slots == replace(before[0].slots, pictures=None, references=None)

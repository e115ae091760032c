from dataclasses import replace

import pytest
import torch

from studio.engine.attention import AttentionProcessor
from studio.engine.prompt import Embedding, Said, Told
from studio.engine.regional import grid_of, mean_along
from studio.engine.units.controlnet import ControlNetUnit
from studio.engine.units.ip_adapter import IPAdapterUnit
from studio.engine.units.region import Region, RegionsUnit
from studio.engine.units.unit import Setting, slots_of
from tests import tiny
from tests.engine.latents import assert_agree
from tests.engine.units.conftest import STEPS
from tests.engine.units.test_units_agree_with_diffusers import FEATURES, tiny_ip_adapter

SIDE = tiny.SIZE
OUTLINES = {
    "all": (0, 0, 1, 1),
    "left": (0, 0, 0.5, 1),
    "right": (0.5, 0, 1, 1),
    "corner": (0.25, 0.3, 0.7, 1),
    "nothing": (0, 0, 0, 0),
}


def mask_of(name):
    left, top, right, bottom = (round(share * SIDE) for share in OUTLINES[name])
    mask = torch.zeros(1, 1, SIDE, SIDE)
    mask[..., top:bottom, left:right] = 1
    return mask


def embedding(seed, width=tiny.HIDDEN, length=16):
    return torch.randn(1, length, width, generator=torch.Generator().manual_seed(seed))


def told(*spans):
    """What says these embeddings one after the other, each until a step."""
    said = Said(1.0, [(last, Embedding(tokens)) for last, tokens in spans])
    return Told(STEPS, [said], said)


def region(where, seed, weight=1.0, **kwargs):
    return Region(told((STEPS, embedding(seed, **kwargs))), mask_of(where), weight)


def unit(*regions, **setting):
    return RegionsUnit(regions, Setting(**setting))


def saying(job, seed):
    """The same job with other words."""
    return replace(job, words=torch.cat([job.words[:1], embedding(seed, job.words.shape[2])]))


class NaiveRegions:
    """Attention in plain arithmetic, position by position where it is about regions; as diffusers calls it."""

    def __init__(self, regions, scale=1.0):
        self.regions, self.scale = regions, scale

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, **_):
        said = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        attended = self.attended(attn, hidden_states, said)
        if encoder_hidden_states is not None:
            attended = torch.stack([attended[0], self.told(attn, hidden_states[1], attended[1])])
        return attn.to_out[0](attended)

    def attended(self, attn, hidden, said):
        query, key, value = attn.to_q(hidden), attn.to_k(said), attn.to_v(said)
        heads = []
        for part in zip(*(t.chunk(attn.heads, 2) for t in (query, key, value)), strict=True):
            q, k, v = part
            heads.append((q @ k.mT / q.shape[2] ** 0.5).softmax(2) @ v)
        return torch.cat(heads, 2)

    def told(self, attn, hidden, base):
        """What the words give at each position, where regions take their shares of it."""
        cell = SIDE // round(len(hidden) ** 0.5)
        said = [region.told.lines[0].spans[0][1].tokens.double() for region in self.regions]
        others = [self.attended(attn, hidden[None], words)[0] for words in said]
        out = base.clone()
        for place in range(len(hidden)):
            row, column = place * cell // SIDE * cell, place * cell % SIDE
            rest = 1.0
            out[place] = 0
            for number, region in enumerate(self.regions):
                by = self.scale * region.weight * self.share(number, row, column, cell)
                out[place] += by * others[number][place]
                rest -= by
            out[place] += rest * base[place]
        return out

    def share(self, number, row, column, cell):
        """Of a square of the mask, latent by latent: there the regions' shares are at most 1."""
        found = []
        for y in range(row, row + cell, tiny.FACTOR):
            for x in range(column, column + cell, tiny.FACTOR):
                at = slice(y, y + tiny.FACTOR), slice(x, x + tiny.FACTOR)
                here = [region.mask[0, 0][at].mean().item() for region in self.regions]
                found.append(here[number] / max(1.0, sum(here)))
        return sum(found) / len(found)


def naive(job, regions, scale=1.0):
    job.pipeline.unet.set_attn_processor(NaiveRegions(regions, scale))
    job.pipeline.to(torch.float64)
    doubled = replace(job, words=job.words.double(), noise=job.noise.double())
    return doubled.theirs().float()


@pytest.mark.parametrize("scale", [1.0, 0.6, 1.4])
def test_regions_make_the_naive_picture(small, scale):
    regions = region("left", 1), region("corner", 2, 0.8, length=32)
    ours = small.ours(unit(*regions, scale=scale))
    assert_agree(ours, naive(small, regions, scale))
    assert (ours - small.ours()).norm() > 1e-3 * ours.norm()


def test_a_region_that_covers_all_makes_the_picture_of_its_words(small):
    assert_agree(small.ours(unit(region("all", 1))), saying(small, 1).ours())
    assert not torch.allclose(small.ours(unit(region("all", 1))), small.ours())


def test_sdxls_regions_have_its_width(large):
    width = large.words.shape[2]
    assert_agree(large.ours(unit(region("all", 1, width=width))), saying(large, 1).ours())


def test_two_halves_that_say_the_same_are_one_that_covers_all(small):
    assert_agree(small.ours(unit(region("left", 1), region("right", 1))), saying(small, 1).ours())


def test_regions_that_say_what_the_prompt_says_change_nothing(small):
    same = Region(told((STEPS, small.words[1:])), mask_of("corner"))
    for scale in (0.5, 1.0, 2.0):
        assert_agree(small.ours(unit(same, region("nothing", 2), scale=scale)), small.ours())


def test_the_order_of_regions_says_nothing(small):
    regions = [region("left", 1), region("corner", 2, 0.5), region("all", 3)]
    assert_agree(small.ours(unit(*reversed(regions))), small.ours(unit(*regions)))


def test_regions_on_one_place_share_it(small):
    thrice = small.ours(unit(*[region("left", 1)] * 3))
    assert_agree(thrice, small.ours(unit(region("left", 1))))


@pytest.mark.parametrize("off", [{"scale": 0.0}, {"start": 0.3, "end": 0.4}], ids=["scale 0", "no step"])
def test_off_is_the_identical_picture(small, off):
    assert torch.equal(small.ours(unit(region("left", 1), **off)), small.ours())


def test_a_region_without_weight_or_place_is_off(small):
    for nothing in (region("left", 1, 0.0), region("nothing", 1)):
        assert_agree(small.ours(unit(nothing)), small.ours())


def test_what_is_left_of_one_stays_with_the_prompt(small):
    """The scale, a region's weight and a grey mask are one and the same share."""
    whole = region("all", 1)
    by_scale = small.ours(unit(whole, scale=0.4))
    assert_agree(small.ours(unit(replace(whole, weight=0.4))), by_scale)
    assert_agree(small.ours(unit(whole, mask=torch.full((1, 1, SIDE, SIDE), 0.4))), by_scale)
    assert_agree(small.ours(unit(replace(whole, mask=whole.mask * 0.4))), by_scale)


def test_regions_work_only_within_their_range(small):
    parts = small.ours(unit(region("left", 1), end=0.5), unit(region("left", 1), start=0.5))
    assert torch.equal(parts, small.ours(unit(region("left", 1))))


def test_words_may_change_from_step_to_step(small):
    halves = Region(told((STEPS // 2, embedding(1)), (STEPS, embedding(2))), mask_of("left"))
    parts = small.ours(unit(region("left", 1), end=0.5), unit(region("left", 2), start=0.5))
    assert torch.equal(small.ours(unit(halves)), parts)


def test_the_half_without_words_hears_nothing(small):
    mute = replace(small, words=small.words[:1].expand(2, -1, -1))
    seen = []

    def keep(_module, args):
        seen.append(args[0])

    layer = next(module for name, module in small.unet.named_modules() if name.endswith("attn2.to_out.0"))
    hook = layer.register_forward_pre_hook(keep)
    mute.ours()
    mute.ours(unit(region("all", 1)))
    hook.remove()
    without, with_words = seen[0], seen[STEPS]
    assert torch.equal(with_words[0], without[0])
    assert not torch.allclose(with_words[1], without[1])


def test_every_prompt_that_and_joins_has_the_regions(small):
    made = unit(region("corner", 1))
    assert_agree(small.ours(made, halves=True), small.ours(made))


def test_pictures_of_a_batch_are_as_each_alone(small):
    rng = torch.Generator().manual_seed(3)
    noise = torch.randn(2, *small.noise.shape[1:], generator=rng)
    made = unit(region("left", 1), region("corner", 2))
    alone = [replace(small, noise=row[None]).ours(made) for row in noise]
    together = replace(small, noise=noise, words=small.words.repeat_interleave(2, 0))
    assert_agree(together.ours(made), torch.cat(alone))


def test_other_units_say_what_they_say_beside_regions(small, picture):
    features = torch.randn(1, FEATURES, generator=torch.Generator().manual_seed(4))
    others = [
        ControlNetUnit(tiny.tiny_controlnet(small.unet), picture, Setting(mode="control")),
        IPAdapterUnit(tiny_ip_adapter(small.unet), features, torch.zeros_like(features)),
    ]
    regions = unit(region("all", 1))
    both = small.ours(*others, regions)
    assert_agree(small.ours(regions, *reversed(others)), both)
    assert_agree(small.ours(others[1], regions), saying(small, 1).ours(others[1]))
    assert not torch.allclose(both, small.ours(*others))


def test_the_unet_is_as_before_afterwards_and_after_an_error(small):
    before, slots = list(small.unet.attn_processors.values()), slots_of(small.unet)
    without = small.ours()
    small.ours(unit(region("left", 1)))
    assert slots.regions is None
    with pytest.raises(RuntimeError):
        small.ours(unit(region("left", 1, width=5)))
    assert slots.regions is None
    assert list(small.unet.attn_processors.values()) == before
    assert all(isinstance(processor, AttentionProcessor) for processor in before)
    assert torch.equal(small.ours(), without)


def test_half_precision_stays_in_its_type(small):
    small.unet.to(torch.bfloat16)
    small.words = small.words.bfloat16()
    assert small.ours(unit(region("left", 1))).isfinite().all()


@pytest.mark.parametrize(("size", "length", "grid"), [((64, 96), 24, (4, 6)), ((65, 40), 33 * 20, (33, 20))])
def test_a_layers_positions_have_the_masks_aspect(size, length, grid):
    mask = torch.ones(1, 1, *size)
    assert grid_of(mask, length) == grid
    assert torch.equal(mean_along(mask, length), torch.ones(1, 1, length, 1))

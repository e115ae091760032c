"""What attention layers make of words is made once for all steps that say the same, and the picture is the same."""

from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import torch
from diffusers.models.attention_processor import Attention

from studio.adapters.delta import LowRank
from studio.adapters.stack import Weighted
from studio.engine.attention import AttentionProcessor
from studio.engine.denoise import Words
from studio.engine.kept_words import KeptWords
from studio.engine.stack import Adapted, dress
from studio.engine.units.controlnet import ControlNetUnit
from studio.engine.units.unit import own_slots
from tests import tiny
from tests.engine.units.conftest import STEPS

MAKERS = ("to_k", "to_v")


@pytest.fixture
def control(small, picture):
    model = tiny.tiny_controlnet(small.unet)
    model.set_attn_processor(AttentionProcessor("sdpa"))
    return ControlNetUnit(model, picture)


@contextmanager
def counted(*models):
    """How often a layer of the models makes keys or values of words: (fewest, most) calls of a layer."""
    layers = [m for model in models for m in model.modules() if isinstance(m, Attention) and m.is_cross_attention]
    calls = {getattr(layer, maker): 0 for layer in layers for maker in MAKERS}

    def count(module, _given):
        calls[module] += 1

    hooks = [module.register_forward_pre_hook(count) for module in calls]
    try:
        yield lambda: (min(calls.values()), max(calls.values()))
    finally:
        for hook in hooks:
            hook.remove()


@pytest.fixture
def forgetful(monkeypatch):
    """A function that makes a picture with nothing kept."""

    def made(job, *units, **told):
        with monkeypatch.context() as patch:
            patch.setattr(KeptWords, "tell", lambda *_: None)
            return job.ours(*units, **told)

    return made


@pytest.mark.parametrize("halves", [False, True], ids=["one prompt", "two joined"])
def test_words_are_read_once_for_a_picture_which_stays_the_same(small, control, forgetful, halves):
    with counted(small.unet, control.model) as calls:
        kept = small.ours(control, halves=halves)
        times = 2 if halves else 1
        assert calls() == (times, times)
        assert torch.equal(forgetful(small, control, halves=halves), kept)
        assert calls() == (times + times * STEPS,) * 2


def test_what_is_kept_has_a_limit(small, forgetful, monkeypatch):
    """Some layers keep theirs, and those that come when it is reached make them at every step."""
    monkeypatch.setattr("studio.engine.kept_words.MOST", 2 * 2 * 16 * tiny.HIDDEN * 4 * 2)
    with counted(small.unet) as calls:
        kept = small.ours()
        assert calls() == (1, STEPS)
    assert torch.equal(forgetful(small), kept)


def test_other_words_at_a_step_are_heard(small, forgetful):
    """One of them for the last two steps, and what was said before in between: read when it changes."""
    other = Words(prompt_embeds=small.words[1:] * 2, negative_embeds=small.words[:1])
    changed = {1: other, 3: other}
    with counted(small.unet) as calls:
        kept = small.ours(changed=changed)
        assert calls() == (4, 4)
    assert torch.equal(forgetful(small, changed=changed), kept)
    assert not torch.equal(small.ours(), kept)


class Stored(dict):
    """A module's tensors as its file has them."""

    def tensor(self, name):
        return self[name]


@dataclass(frozen=True)
class Merged:
    """A change that cannot run beside a layer, so that it is written into the weights at each step."""

    low: LowRank

    def of(self, pristine, weight):
        return self.low.of(pristine, weight)


@pytest.mark.parametrize("form", [lambda low: low, Merged], ids=["beside", "merged"])
def test_an_adapter_on_the_words_that_comes_with_the_steps_is_heard(small, forgetful, form):
    """It changes what keys and values are made by, between two steps that say the same."""
    name = next(name for name, m in small.unet.named_modules() if name.endswith("attn2.to_v"))
    width_out, width_in = small.unet.get_submodule(name).weight.shape
    rng = torch.Generator().manual_seed(3)
    delta = LowRank(torch.randn(width_out, 2, generator=rng), torch.randn(2, width_in, generator=rng), 1.0)
    lora = Weighted(id="1", title="oil", deltas={f"unet.{name}.weight": form(delta)}, start=0.5)
    stored = Stored({name: p.clone() for name, p in small.unet.named_parameters()})
    worn = dress({"unet": Adapted("unet", small.unet, stored)}, (lora,), lambda _: None, torch.device("cpu"))
    with worn.shown():
        kept = small.ours(worn)
        assert torch.equal(forgetful(small, worn), kept)
    small.unet.load_state_dict(stored)
    assert not torch.equal(small.ours(), kept)


def test_nothing_is_kept_when_the_picture_is_there_nor_after_an_error(small, control):
    small.ours(control)
    assert own_slots(small.unet).words is own_slots(control.model).words is None

    def fail(*_):
        raise ValueError("the lights went out")

    hook = small.unet.conv_out.register_forward_pre_hook(fail)
    with pytest.raises(ValueError, match="the lights went out"):
        small.ours(control)
    hook.remove()
    assert own_slots(small.unet).words is own_slots(control.model).words is None

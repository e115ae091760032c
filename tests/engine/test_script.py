"""The laws of prompts that change from step to step, and of several that are joined."""

import pytest
import torch

from studio.engine.generate import Watch
from studio.params import ControlUnit
from tests import tiny
from tests.engine.latents import latents_of

CONTROL = {"kind": "scribble", "map": "house", "model": "control", "model_id": "id-control"}
HALVES = "a cat :0.5 AND a cat :0.5"


@pytest.fixture
def latents(engine, models, monkeypatch):
    return lambda **changes: latents_of(engine, models, monkeypatch, tiny.params(**changes))


@pytest.fixture
def guesses(engine, models):
    """The guess at each step of the loop."""

    def of(**changes):
        seen = []
        watch = Watch(step=lambda step, *_: seen.append(step.guess.clone()))
        engine.generate(tiny.params(**changes), models, watch)
        return seen

    return of


def close(one, other):
    return torch.allclose(one, other, atol=2e-5)


def test_words_that_change_into_themselves_change_nothing(latents):
    assert torch.equal(latents(prompt="[a cat:a cat:2]"), latents(prompt="a cat"))
    assert torch.equal(latents(prompt="[a cat|a cat]"), latents(prompt="a cat"))


@pytest.mark.parametrize(("prompt", "until"), [("[a cat:dog:2]", 2), ("[a cat:dog:.75]", 3), ("[a cat:dog:0]", 0)])
def test_words_change_after_their_step(guesses, prompt, until):
    changed, cat = guesses(prompt=prompt), guesses(prompt="a cat")
    assert [torch.equal(one, other) for one, other in zip(changed, cat, strict=True)] == [i < until for i in range(4)]


def test_negative_words_change_too(guesses):
    changed, plain = guesses(negative_prompt="[dog:house:2]"), guesses(negative_prompt="dog")
    assert [torch.equal(one, other) for one, other in zip(changed, plain, strict=True)] == [True, True, False, False]


def test_both_calls_of_a_step_of_second_order_say_the_same(guesses):
    changed = guesses(prompt="[a cat:dog:2]", scheduler="heun")
    cat = guesses(prompt="a cat", scheduler="heun")
    assert len(cat) == 7  # two for each step but the last
    assert [torch.equal(one, other) for one, other in zip(changed, cat, strict=True)] == [True] * 4 + [False] * 3


def test_steps_are_counted_among_those_that_run(guesses):
    picture = {"init_image": "photo", "strength": 0.5}
    changed, cat = guesses(prompt="[a cat:dog:.5]", **picture), guesses(prompt="a cat", **picture)
    assert [torch.equal(one, other) for one, other in zip(changed, cat, strict=True)] == [True, False]


@pytest.mark.parametrize("joined", [HALVES, "a cat AND dog :0", "a cat :3 AND a cat :-2"])
def test_weights_that_sum_to_one_prompt_are_that_prompt(latents, joined):
    assert close(latents(prompt=joined), latents(prompt="a cat"))


def test_joined_prompts_are_neither_of_them(latents):
    both = latents(prompt="a cat AND house")
    assert not close(both, latents(prompt="a cat"))
    assert not close(both, latents(prompt="a cat house"))


def test_prompts_are_joined_without_guidance_too(latents):
    assert close(latents(prompt=HALVES, guidance_scale=1.0), latents(prompt="a cat", guidance_scale=1.0))


@pytest.mark.parametrize("mode", ["balanced", "prompt", "control"])
def test_a_controlnet_is_heard_by_every_joined_prompt(latents, mode):
    controls = (ControlUnit(**CONTROL, mode=mode),)
    controlled = latents(prompt=HALVES, controls=controls)
    assert close(controlled, latents(prompt="a cat", controls=controls))
    assert not close(controlled, latents(prompt=HALVES))


def test_pictures_of_a_batch_are_each_joined(latents):
    assert close(latents(prompt=HALVES, count=2), latents(prompt="a cat", count=2))


def test_joined_prompts_change_from_step_to_step(guesses):
    changed, cat = guesses(prompt="a cat AND [house:dog:2]"), guesses(prompt="a cat AND house")
    assert [close(one, other) for one, other in zip(changed, cat, strict=True)] == [True, True, False, False]

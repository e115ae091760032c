import math

import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr

from studio.errors import InvalidRequestError
from studio.training.batch import Batch
from studio.training.losses import (
    X0_MOST,
    Counts,
    Draws,
    NoiseSchedule,
    add_noise,
    huber,
    losses_of,
    mean_shown,
    offset,
    snr,
    snr_weights,
    split_prior,
    target,
    x0_weights,
)
from tests.training.lesson import NOISE, params

SCHEDULER = DDPMScheduler(**NOISE)
TIMES = torch.tensor([0, 400, 999])
RNG = torch.Generator().manual_seed(5)
LATENTS, NOISES = (torch.randn(3, 4, 6, 6, generator=RNG) for _ in range(2))
ALPHAS = SCHEDULER.alphas_cumprod[TIMES]


def test_noise_is_added_as_the_scheduler_does():
    schedule = NoiseSchedule.of({**NOISE, "set_alpha_to_one": False, "clip_sample": False})
    assert schedule.prediction_type == "epsilon"
    expected = SCHEDULER.add_noise(LATENTS, NOISES, TIMES)
    torch.testing.assert_close(add_noise(LATENTS, NOISES, schedule.alphas[TIMES]), expected)


def test_targets_are_the_noise_the_picture_and_the_velocity():
    assert target("epsilon", LATENTS, NOISES, ALPHAS) is NOISES
    assert target("sample", LATENTS, NOISES, ALPHAS) is LATENTS
    velocity = target("v_prediction", LATENTS, NOISES, ALPHAS)
    torch.testing.assert_close(velocity, SCHEDULER.get_velocity(LATENTS, NOISES, TIMES))


def test_noisy_latents_and_their_velocity_give_both_back():
    noisy, velocity = add_noise(LATENTS, NOISES, ALPHAS), target("v_prediction", LATENTS, NOISES, ALPHAS)
    signal, rest = (share.sqrt().view(-1, 1, 1, 1) for share in (ALPHAS, 1 - ALPHAS))
    torch.testing.assert_close(signal * noisy - rest * velocity, LATENTS)
    torch.testing.assert_close(rest * noisy + signal * velocity, NOISES)


def test_a_stretched_schedule_ends_without_signal_and_begins_where_it_did():
    plain = NoiseSchedule.of({**NOISE, "prediction_type": "v_prediction"})
    stretched = NoiseSchedule.of({**NOISE, "prediction_type": "v_prediction"}, zero_terminal_snr=True)
    first, last = plain.alphas[0].sqrt(), plain.alphas[-1].sqrt()
    expected = ((plain.alphas.sqrt() - last) * first / (first - last)).square()
    torch.testing.assert_close(stretched.alphas, expected, rtol=1e-4, atol=1e-6)
    assert stretched.alphas[-1] == 0
    pure = add_noise(LATENTS[:1], NOISES[:1], stretched.alphas[-1:])
    torch.testing.assert_close(pure, NOISES[:1])
    torch.testing.assert_close(target("v_prediction", LATENTS[:1], NOISES[:1], stretched.alphas[-1:]), -LATENTS[:1])


def test_a_schedule_is_not_stretched_for_a_model_that_predicts_noise():
    with pytest.raises(InvalidRequestError, match="predicts epsilon") as raised:
        NoiseSchedule.of(NOISE, zero_terminal_snr=True)
    assert raised.value.field == "zero_terminal_snr"


def test_signal_over_noise_is_as_diffusers_computes_it():
    torch.testing.assert_close(snr(ALPHAS), compute_snr(SCHEDULER, TIMES))


def test_min_snr_weights_are_capped_at_gamma():
    ratios = torch.tensor([0.0, 1.0, 5.0, 20.0])
    assert snr_weights(ratios, 0.0, "epsilon").tolist() == [1, 1, 1, 1]
    assert snr_weights(ratios, 5.0, "epsilon").tolist() == [1, 1, 1, 0.25]
    torch.testing.assert_close(snr_weights(ratios, 5.0, "v_prediction"), torch.tensor([0, 1 / 2, 5 / 6, 5 / 21]))
    assert snr_weights(ratios, 5.0, "sample").tolist() == [0, 1, 5, 5]


def test_min_snr_means_the_same_for_noise_and_velocity():
    """A model that is wrong by some picture error loses the same, in whichever terms it speaks."""
    ratios = snr(ALPHAS)
    signal, rest = ALPHAS.sqrt(), (1 - ALPHAS).sqrt()
    picture = torch.ones(3)
    noise, velocity = picture * signal / rest, picture / rest
    lost = [
        snr_weights(ratios, 5.0, kind) * error.square()
        for kind, error in (("sample", picture), ("epsilon", noise), ("v_prediction", velocity))
    ]
    torch.testing.assert_close(lost[1], lost[0])
    torch.testing.assert_close(lost[2], lost[0])


def test_the_weight_of_the_guessed_picture_is_the_same_in_all_terms_until_it_is_capped():
    alphas = torch.tensor([0.9, 0.5, 0.1])
    signal, rest = alphas.sqrt(), (1 - alphas).sqrt()
    for kind, error in (("sample", torch.ones(3)), ("epsilon", signal / rest), ("v_prediction", 1 / rest)):
        torch.testing.assert_close(x0_weights(snr(alphas), kind) * error.square(), torch.ones(3))
    assert x0_weights(torch.tensor([0.0, 1e-3]), "epsilon").tolist() == [X0_MOST, X0_MOST]
    batch = Batch(LATENTS, ("",) * 3, torch.zeros(3, 6))
    schedule = NoiseSchedule(SCHEDULER.alphas_cumprod, "epsilon")
    plain, more = (
        losses_of(params(x0_weight=weight), schedule, batch, Draws(NOISES, TIMES), lambda _batch, noisy, _times: noisy)
        for weight in (0.0, 0.5)
    )
    torch.testing.assert_close(more, plain * (1 + 0.5 * x0_weights(snr(ALPHAS), "epsilon")))


def test_huber_is_a_square_near_and_a_line_far():
    near, far = torch.tensor(1e-3), torch.tensor(-1e3)
    torch.testing.assert_close(huber(near, 1.0), near.square(), rtol=1e-1, atol=0)
    torch.testing.assert_close(huber(far, 0.1), torch.tensor(2 * 0.1 * (1000 - 0.1)), rtol=1e-5, atol=0)
    assert huber(torch.tensor(3.0), 4.0).item() == pytest.approx(2 * 4 * (math.hypot(3, 4) - 4))


def test_offset_noise_shifts_whole_channels():
    shifts = torch.randn(3, 4, 1, 1, generator=RNG)
    shifted = offset(NOISES, shifts, 0.1)
    torch.testing.assert_close((shifted - NOISES).mean((2, 3)), 0.1 * shifts[:, :, 0, 0])
    assert torch.equal(offset(NOISES, shifts, 0.0), NOISES)


def test_a_masked_loss_is_the_mean_where_the_mask_shows():
    lost = NOISES.square()
    mask = torch.zeros(3, 1, 6, 6)
    mask[0, :, :2], mask[1] = 1, 1
    found = mean_shown(lost, mask)
    torch.testing.assert_close(found[0], lost[0, :, :2].mean())
    torch.testing.assert_close(found[1], lost[1].mean())
    assert found[2] == 0
    torch.testing.assert_close(mean_shown(lost, torch.ones_like(mask)), mean_shown(lost, None))


def test_nothing_is_learned_outside_the_mask():
    mask = torch.zeros(3, 1, 6, 6)
    mask[..., 2:5] = 0.5
    said = torch.zeros_like(NOISES, requires_grad=True)
    batch = Batch(LATENTS, ("",) * 3, torch.zeros(3, 6), mask=mask)
    given = params(masked=True, loss="huber", snr_gamma=5.0)
    schedule = NoiseSchedule(SCHEDULER.alphas_cumprod, "v_prediction")
    losses_of(given, schedule, batch, Draws(NOISES, TIMES), lambda *_: said).sum().backward()
    assert (said.grad * (mask == 0)).abs().max() == 0
    assert (said.grad * (mask > 0)).abs().max() > 0


def test_a_plain_loss_is_the_mean_squared_error():
    batch = Batch(LATENTS, ("",) * 3, torch.zeros(3, 6), mask=torch.zeros(3, 1, 6, 6))
    schedule = NoiseSchedule(SCHEDULER.alphas_cumprod, "epsilon")
    found = losses_of(params(), schedule, batch, Draws(NOISES, TIMES), lambda _batch, noisy, _times: noisy)
    torch.testing.assert_close(found, (add_noise(LATENTS, NOISES, ALPHAS) - NOISES).square().mean((1, 2, 3)))


def test_subject_and_class_each_count_by_their_mean():
    each = torch.tensor([1.0, 2.0, 10.0, 30.0, 3.0])
    prior = torch.tensor([False, False, True, True, False])
    whole = split_prior(each, prior, Counts(3, 2), 0.5)
    assert whole.item() == pytest.approx((1 + 2 + 3) / 3 + 0.5 * (10 + 30) / 2)
    parts = [split_prior(each[rows], prior[rows], Counts(3, 2), 0.5) for rows in (slice(0, 1), slice(1, 5))]
    torch.testing.assert_close(sum(parts), whole)
    assert split_prior(each, None, Counts(5, 0), 0.5).item() == pytest.approx(46 / 5)
    assert split_prior(each[2:4], prior[2:4], Counts(0, 2), 0.5).item() == pytest.approx(10)

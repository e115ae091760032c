import pytest
import torch

from studio.training.losses import NoiseSchedule
from studio.training.measuring import FixedNoise
from studio.training.step import Lesson
from tests.training.lesson import NOISE, Plain, Stored, params


def fixed(method=None, data=None, **options):
    lesson = Lesson(method or Plain(dropout=0.5), data or Stored(2), NOISE)
    return FixedNoise(params(), lesson, NoiseSchedule.of(NOISE), **options)


def test_the_same_weights_measure_the_same_whatever_chance_does():
    measuring = fixed()
    first = measuring.measure()
    torch.rand(5)
    assert measuring.measure() == first
    assert measuring.lesson.method.trained.training


def test_a_measure_draws_nothing_that_training_would_draw():
    measuring = fixed()
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    measuring.measure()
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_pictures_are_measured_alike_in_any_company(rows):
    expected, found = fixed().measure(), fixed().measure(rows)
    assert found["train_losses"] == pytest.approx(expected["train_losses"], rel=1e-5)
    assert found["held_loss"] == pytest.approx(expected["held_loss"], rel=1e-5)


def test_each_picture_has_its_own_loss_and_the_mean_is_theirs():
    found = fixed().measure()
    assert sorted(found["train_losses"]) == [f"{n}.png" for n in range(2, 8)]
    assert sorted(found["held_losses"]) == ["0.png", "1.png"]
    assert found["train_loss"] == pytest.approx(sum(found["train_losses"].values()) / 6)
    assert found["held_loss"] == pytest.approx(sum(found["held_losses"].values()) / 2)


def test_a_model_that_knows_the_noise_loses_nothing():
    class Knowing(Plain):
        def predict(self, batch, noisy, timesteps):
            alphas = NoiseSchedule.of(NOISE).alphas[timesteps].view(-1, 1, 1, 1)
            return (noisy - alphas.sqrt() * batch.latents) / (1 - alphas).sqrt()

    assert fixed(Knowing()).measure()["train_loss"] < 1e-9


def test_few_pictures_and_draws_cost_little():
    seen = []

    class Counting(Plain):
        def predict(self, batch, noisy, timesteps):
            seen.extend(timesteps.tolist())
            return super().predict(batch, noisy, timesteps)

    found = fixed(Counting(), Stored(2, held=0), pictures=3, draws=2).measure()
    assert len(seen) == 3 * 2
    assert sorted(set(seen)) == [250, 750]
    assert found["held_loss"] is None
    assert found["held_losses"] == {}


def test_a_loss_that_is_no_number_is_told_as_none():
    method = Plain()
    method.trained.last.bias.data.fill_(1e30)
    found = fixed(method).measure()
    assert found["train_loss"] is None
    assert set(found["held_losses"].values()) == {None}


def test_a_measure_is_left_by_what_it_is_told_between_pictures():
    calls = []
    fixed().measure(3, lambda: calls.append(1))
    assert len(calls) == 3  # six that it learns by three, and two that it does not

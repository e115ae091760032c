import pytest
import torch

from studio.starter.unet import NOISE_SCHEDULE, new_objective
from studio.training.objective import Objective


def test_a_perfect_answer_has_no_error():
    objective = new_objective()
    noise, timesteps = torch.randn(4, 4, 16, 16), torch.tensor([0, 300, 600, 999])
    assert objective.loss(noise, noise, timesteps).item() == 0


def test_errors_at_high_noise_count_though_min_snr_forgets_them():
    objective = new_objective()
    min_snr = objective.snr.clamp(max=5) / objective.snr
    assert min_snr[950] == pytest.approx(1.0)
    assert objective.weights[950] > 5


def test_cubic_timesteps_are_noisier_and_all_are_on_the_schedule():
    torch.manual_seed(0)
    latents = torch.zeros(4000, 1, 1, 1)
    uniform, cubic = (Objective(NOISE_SCHEDULE, timesteps=name).sample(latents)[0] for name in ("uniform", "cubic"))
    assert uniform.float().mean() == pytest.approx(500, abs=15)
    assert cubic.float().mean() == pytest.approx(750, abs=15)
    assert min(cubic.min(), uniform.min()) >= 0
    assert max(cubic.max(), uniform.max()) <= 999


def test_plain_errors_count_alike():
    assert torch.equal(Objective(NOISE_SCHEDULE).weights, torch.ones(1000))


def test_noise_is_offset_for_each_channel_of_each_picture():
    torch.manual_seed(0)
    latents = torch.zeros(64, 4, 16, 16)
    spread = [Objective(NOISE_SCHEDULE, offset_noise=by).sample(latents)[1].mean((2, 3)).std() for by in (0.0, 0.5)]
    assert spread[0] == pytest.approx(1 / 16, rel=0.2)
    assert spread[1] == pytest.approx(0.5, rel=0.2)

import cv2
import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from torch import nn

from studio.starter.measure import edge_f1, set_exam
from studio.starter.unet import NOISE_SCHEDULE
from studio.starter.vae import to_tensor
from studio.training.consistency import Rollout, outline_error, soft_edges

WORDS = torch.zeros(2, 3, 4), torch.ones(2, 3, 4)


class Told(nn.Module):
    """Predicts a part of what it sees, the more so the louder the words; `heard` keeps what it was asked."""

    def __init__(self):
        super().__init__()
        self.share = nn.Parameter(torch.tensor(0.5))
        self.heard = []

    def forward(self, noisy, maps):
        self.heard.append((noisy, maps))
        return noisy.latents * self.share * (1 + 0.01 * noisy.words.mean((1, 2), keepdim=True)[..., None])


@pytest.fixture(scope="module")
def exam():
    return set_exam(8)


def rollout(at, look, guidance=5.0):
    torch.manual_seed(0)
    told = Told()
    loss = Rollout(told, NOISE_SCHEDULE, 4, guidance).losses(
        torch.randn(2, 4, 8, 8), WORDS, torch.ones(2, 3, 64, 64), at, look
    )
    return told, loss


def test_gradients_flow_from_the_steps_that_are_looked_at_and_no_step_is_taken_after_the_last():
    told, loss = rollout({1, 2}, lambda guess: guess.square().mean())
    loss.backward()
    assert told.share.grad is not None
    assert told.share.grad.abs() > 0
    assert len(told.heard) == 3


def test_guesses_are_those_of_the_sampler_under_guidance():
    """At the last step of a whole picture, the guess is what the picture becomes."""
    seen = []
    told, _ = rollout({3}, lambda guess: seen.append(guess) or guess.mean())
    scheduler = DPMSolverMultistepScheduler.from_config(NOISE_SCHEDULE)
    scheduler.set_timesteps(4)
    torch.manual_seed(0)
    latents = torch.randn(2, 4, 8, 8)
    for timestep in scheduler.timesteps:
        without, with_words = 0.5 * latents, 0.5 * latents * 1.01
        noise = without + 5.0 * (with_words - without)
        alpha = scheduler.alphas_cumprod[timestep]
        guess = (latents - (1 - alpha).sqrt() * noise) / alpha.sqrt()
        latents = scheduler.step(noise, timestep, latents, return_dict=False)[0]
    assert torch.allclose(seen[0], guess, atol=1e-4)
    assert all(len(noisy.latents) == len(maps) == 4 for noisy, maps in told.heard)


def test_a_flat_picture_has_no_edges_and_a_step_has_them_along_itself():
    picture = torch.zeros(1, 3, 16, 16)
    picture[..., 8:] = 1.0
    edges = soft_edges(picture)[0]
    assert edges[:, 7:9].min() > 0.9
    assert edges[:, :6].max() < 0.02
    assert edges[:, 10:].max() < 0.02
    assert soft_edges(torch.full((1, 3, 16, 16), 0.3)).max() < 0.02


def test_slopes_are_opencvs():
    picture = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    grey = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32), (3, 3), 0)
    slope = np.abs(cv2.Sobel(grey, cv2.CV_32F, 1, 0)) + np.abs(cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    ours = soft_edges(to_tensor(picture[None]), threshold=400, softness=200)[0].logit() * 200 + 400
    inner = (slice(2, -2), slice(2, -2))
    np.testing.assert_allclose(ours.numpy()[inner], slope[inner], atol=4)  # OpenCV rounds grey to whole values


def test_outline_error_is_0_for_the_outline_and_1_for_nothing():
    outline = torch.zeros(1, 32, 32)
    outline[:, 10, 4:28] = 1
    assert outline_error(outline, outline).item() == pytest.approx(0)
    assert outline_error(torch.zeros(1, 32, 32), outline).item() == pytest.approx(1)
    assert outline_error(outline.roll(2, 1), outline).item() == pytest.approx(0)
    assert outline_error(outline.roll(3, 1), outline).item() == pytest.approx(1)


def test_soft_error_ranks_pictures_as_the_exam_does(exam):
    """The true renders, blurred more and more, get worse by both."""
    outlines = torch.from_numpy(np.stack([scene.outline > 0 for scene in exam.scenes])).float()
    hard, soft = [], []
    for sigma in (0.01, 2, 4, 8):
        blurred = np.stack([cv2.GaussianBlur(image, (0, 0), sigma) for image in exam.images])
        hard.append(np.mean([edge_f1(image, scene.outline) for image, scene in zip(blurred, exam.scenes, strict=True)]))
        soft.append(1 - outline_error(soft_edges(to_tensor(blurred)), outlines).mean().item())
    assert hard == sorted(hard, reverse=True)
    assert soft == sorted(soft, reverse=True)

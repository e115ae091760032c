"""The denoiser: 16 x 16 latents, words through cross-attention, epsilon prediction on SD's noise schedule."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from studio.starter.data import Scenes
from studio.starter.text import WIDTH, new_text_encoder, tokenize
from studio.training import ranks
from studio.training.loop import Plan, Run
from studio.training.objective import Objective

log = logging.getLogger("studio.starter")
NOISE_SCHEDULE: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
    "steps_offset": 1,
    "clip_sample": False,
    "timestep_spacing": "trailing",
}
OFFSET_NOISE, UNSAID = 0.15, 0.1


def new_unet() -> UNet2DConditionModel:
    """Widths 64, 128, 192, one layer a block, attention on the two lower levels: 11 M parameters."""
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(64, 128, 192),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    )


def new_objective(*, timesteps: str = "uniform") -> Objective:
    """What every part that denoises is asked here."""
    return Objective(NOISE_SCHEDULE, snr_gamma=5, x0_weight=0.5, offset_noise=OFFSET_NOISE, timesteps=timesteps)


class Words:
    """Captions as token ids, drawn at random for each scene; some are left unsaid, and some say the wrong side."""

    def __init__(self, tokenizer: CLIPTokenizer, scenes: Scenes) -> None:
        captions = [text for texts in scenes.captions for text in texts]
        self.ids = tokenize(tokenizer, captions).view(len(scenes), -1, tokenizer.model_max_length)
        self.unsaid = tokenize(tokenizer, [""])
        self.left, self.right = (int(tokenize(tokenizer, [side])[0, 1]) for side in ("left", "right"))

    def draw(self, rows: np.ndarray, unsaid: float, mistold: float = 0.0) -> Tensor:
        """(B, 32) ids. unsaid: share of empty captions; mistold: share in which left and right are exchanged."""
        ids = self.ids[torch.from_numpy(rows), torch.randint(0, self.ids.shape[1], (len(rows),))].clone()
        ids[torch.rand(len(rows)) < unsaid] = self.unsaid
        return ids if not mistold else torch.where(torch.rand(len(rows), 1) < mistold, self.exchanged(ids), ids)

    def exchanged(self, ids: Tensor) -> Tensor:
        """The same captions with left for right and right for left."""
        left, right = ids == self.left, ids == self.right
        return ids.masked_fill(left, self.right).masked_fill(right, self.left)


class Listening:
    """The best early warning: the error in x0 at t = 950 with the right caption, and with another scene's."""

    def __init__(self, latents: Tensor, ids: Tensor, objective: Objective) -> None:
        self.latents, self.ids, self.objective = latents, ids, objective
        self.noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(5))

    def measure(self, unet: UNet2DConditionModel, encoder: CLIPTextModel) -> dict[str, float]:
        """right and wrong: mean squared errors of x0; the further apart, the better it listens."""
        timesteps = torch.full((len(self.latents),), 950)
        noisy = self.objective.noisy(self.latents, self.noise, timesteps)
        errors = {}
        for name, ids in (("right", self.ids), ("wrong", self.ids.roll(1, 0))):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                predicted = unet(noisy, timesteps, encoder(ids)[0]).sample.float()
            error = (predicted - self.noise).square().mean() / self.objective.snr[950]
            errors[name] = round(error.item(), 3)
        return errors


def train_unet(work: Path, plan: Plan) -> None:
    """Train denoiser and text encoder together, the encoder at 0.3 of the rate; writes work/unet, work/text_encoder."""
    scenes, held_out = Scenes.open(work / "train"), Scenes.open(work / "held-out")
    latents, held_latents = (np.load(work / name / "latents.npy", mmap_mode="r") for name in ("train", "held-out"))
    tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer", local_files_only=True)
    unet, encoder = new_unet(), CLIPTextModel.from_pretrained(work / "text_encoder", local_files_only=True)
    run = Run(plan, nn.ModuleDict({"unet": unet, "encoder": encoder}), work / "runs" / "unet", slow=encoder)
    words, objective = Words(tokenizer, scenes), new_objective()
    listening = Listening(
        torch.from_numpy(held_latents[:48].astype(np.float32)),
        tokenize(tokenizer, [texts[0] for texts in held_out.captions[:48]]),
        objective,
    )

    def loss_of(_share: float) -> Tensor:
        rows = np.sort(run.rng.integers(0, len(scenes), plan.batch))
        clean = torch.from_numpy(latents[rows].astype(np.float32))
        timesteps, noise, noisy = objective.sample(clean)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            predicted = unet(noisy, timesteps, encoder(words.draw(rows, UNSAID))[0]).sample.float()
        return objective.loss(predicted, noise, timesteps)

    run.train(loss_of, lambda: listening.measure(unet, encoder))
    if ranks.RANK == 0:
        with run.averaged_weights():
            save_denoiser(work, unet, encoder)
            (work / "runs" / "unet" / "curve.json").write_text(json.dumps(run.progress.curve))


def save_denoiser(work: Path, unet: UNet2DConditionModel, encoder: CLIPTextModel) -> None:
    """Write both beside what the text was pretrained to, so that the stage can be run again."""
    unet.save_pretrained(work / "unet")
    encoder.save_pretrained(work / "text_encoder_trained")


def load_snapshot(work: Path) -> tuple[UNet2DConditionModel, CLIPTextModel]:
    """The averaged weights of a run, finished or not."""
    tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer", local_files_only=True)
    module = nn.ModuleDict({"unet": new_unet(), "encoder": new_text_encoder(tokenizer)})
    module.load_state_dict(torch.load(work / "runs" / "unet" / "state.pt", weights_only=True)["averaged"])
    return module["unet"].eval(), module["encoder"].eval()

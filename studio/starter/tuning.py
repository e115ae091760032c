"""The sketch controls once more, by what their pictures show: edges along the outlines, and the colours of scenes."""

import random
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, ControlNetModel, T2IAdapter
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPTokenizer

from studio.starter.captions import caption
from studio.starter.control import GAIN, MapBatches, strengthen
from studio.starter.text import tokenize
from studio.starter.unet import NOISE_SCHEDULE, load_snapshot, new_objective
from studio.starter.vae import to_tensor
from studio.training import ranks
from studio.training.conditions import ControlNetTraining, Noisy, T2IAdapterTraining
from studio.training.consistency import Rollout, outline_error, soft_edges
from studio.training.loop import Plan, Run

STEPS, LAST, LOOKED_AT = 10, 6, 3  # of a picture; the last that may send an error back; how many of them do
COLORS, CELL = 1.0, 8  # weight of the colours' error, without which they are given up for contrast; pixels of a cell
DENOISING = 2.0  # weight of the usual loss


def tune_sketch(work: Path, plan: Plan, technique: str) -> None:
    """Tune the scribble "controlnet" or "t2i-adapter" of the folder; writes work/tuned/TECHNIQUE-scribble."""
    name = f"{technique}-scribble"
    unet, encoder = load_snapshot(work)
    encoder.requires_grad_(False)
    vae = AutoencoderKL.from_pretrained(work / "vae").eval().requires_grad_(False)
    if technique == "controlnet":
        control = ControlNetModel.from_pretrained(work / name)
        strengthen(control, GAIN)
        training = ControlNetTraining(unet, control)
    else:
        control = T2IAdapter.from_pretrained(work / name)
        training = T2IAdapterTraining(unet, control)
    run = Run(plan, control, work / "runs" / f"tuned-{name}")
    batches, objective = MapBatches(work, "scribble"), new_objective()
    tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer", local_files_only=True)
    scenes, rollout = batches.scenes, Rollout(training, NOISE_SCHEDULE, STEPS)
    blank = encoder(tokenize(tokenizer, [""]))[0]

    def loss_of(_share: float) -> Tensor:
        rows, clean, drawn = batches.draw(run.rng, plan.batch)
        hand = random.Random(int(run.rng.integers(2**62)))
        with torch.no_grad():
            told = [caption(scenes.specs[row], hand, complete=True) for row in rows]
            said = encoder(tokenize(tokenizer, told))[0]
        outlines = torch.from_numpy(np.array(scenes.outlines[rows]) > 0).float()
        colors = F.avg_pool2d(to_tensor(scenes.images[rows]), CELL)

        def look(guess: Tensor) -> Tensor:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                shown = vae.decode(guess / vae.config.scaling_factor).sample.float()
            off = (F.avg_pool2d(shown, CELL) - colors).abs().mean()
            return outline_error(soft_edges(shown), outlines).mean() + COLORS * off

        at = set(run.rng.choice(np.arange(1, LAST + 1), LOOKED_AT, replace=False).tolist())
        pair = (blank.expand(len(rows), -1, -1), said)
        seen = rollout.losses(torch.randn_like(clean), pair, drawn, at, look)
        few = slice(plan.batch // 4)
        timesteps, noise, noisy = objective.sample(clean[few])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            predicted = training(Noisy(noisy, timesteps, said[few]), drawn[few]).float()
        return seen + DENOISING * objective.loss(predicted, noise, timesteps)

    run.train(loss_of)
    if ranks.RANK == 0:
        with run.averaged_weights():
            control.save_pretrained(work / "tuned" / name)

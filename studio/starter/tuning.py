"""The sketch controls once more, by what their pictures show: edges where the scene has its outlines."""

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, ControlNetModel, T2IAdapter
from torch import Tensor
from transformers import CLIPTokenizer

from studio.starter.control import GAIN, MapBatches, strengthen
from studio.starter.text import tokenize
from studio.starter.unet import NOISE_SCHEDULE, Words, load_snapshot, new_objective
from studio.training import ranks
from studio.training.conditions import ControlNetTraining, Noisy, T2IAdapterTraining
from studio.training.consistency import Rollout, outline_error, soft_edges
from studio.training.loop import Plan, Run

STEPS, LOOKED_AT = 10, 2  # of a picture; how many of its steps send an error back
UNSAID, DENOISING = 0.1, 2.0  # share of captions; weight of the usual loss, which keeps what the words say


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
    words, rollout = Words(tokenizer, batches.scenes), Rollout(training, NOISE_SCHEDULE, STEPS)
    blank = encoder(tokenize(tokenizer, [""]))[0]

    def loss_of(_share: float) -> Tensor:
        rows, clean, drawn = batches.draw(run.rng, plan.batch)
        with torch.no_grad():
            said = encoder(words.draw(rows, UNSAID))[0]
        outlines = torch.from_numpy(np.array(batches.scenes.outlines[rows]) > 0).float()

        def look(guess: Tensor) -> Tensor:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                shown = vae.decode(guess / vae.config.scaling_factor).sample.float()
            return outline_error(soft_edges(shown), outlines).mean()

        at = set(run.rng.choice(np.arange(1, STEPS), LOOKED_AT, replace=False).tolist())
        pair = (blank.expand(len(rows), -1, -1), said)
        seen = rollout.losses(torch.randn_like(clean), pair, drawn, at, look)
        half = slice(plan.batch // 2)
        timesteps, noise, noisy = objective.sample(clean[half])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            predicted = training(Noisy(noisy, timesteps, said[half]), drawn[half]).float()
        return seen + DENOISING * objective.loss(predicted, noise, timesteps)

    run.train(loss_of)
    if ranks.RANK == 0:
        with run.averaged_weights():
            control.save_pretrained(work / "tuned" / name)

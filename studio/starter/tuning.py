"""The sketch controls once more, by what their pictures show: edges along the outlines, and the colours of scenes."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, ControlNetModel, T2IAdapter, UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTokenizer

from studio.starter.captions import caption
from studio.starter.control import GAIN, MapBatches, strengthen
from studio.starter.data import Scenes
from studio.starter.render import SEGMENTS
from studio.starter.text import tokenize
from studio.starter.unet import NOISE_SCHEDULE, load_snapshot, new_objective
from studio.starter.vae import to_tensor
from studio.training import ranks
from studio.training.conditions import ControlNetTraining, Noisy, T2IAdapterTraining
from studio.training.consistency import Rollout, outline_error, soft_edges
from studio.training.loop import Plan, Run

STEPS, LAST, LOOKED_AT = 10, 6, 3  # of a picture; the last that may send an error back; how many of them do
COLORS, CELL = 2.0, 8  # weight of the colours' error, without which they are given up for contrast; pixels of a cell
SCENERY = 0.2  # how much a cell counts in which nothing stands
DENOISING = 2.0  # weight of the usual loss
SHARE = 0.6  # how far the result goes from what was trained before to what was tuned: most of the edges, half the loss


def tune_sketch(work: Path, plan: Plan, technique: str) -> None:
    """Tune the scribble "controlnet" or "t2i-adapter" of the folder; writes work/tuned/TECHNIQUE-scribble."""
    name = f"{technique}-scribble"
    unet, encoder = load_snapshot(work)
    encoder.requires_grad_(False)
    control, training = begin_tuning(work / name, technique, unet)
    begun = {key: value.clone() for key, value in control.state_dict().items()}
    run = Run(plan, control, work / "runs" / f"tuned-{name}")
    batches, objective = MapBatches(work, "scribble"), new_objective()
    tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer", local_files_only=True)
    vae = AutoencoderKL.from_pretrained(work / "vae").eval().requires_grad_(False)
    rollout = Rollout(training, NOISE_SCHEDULE, STEPS)
    blank = encoder(tokenize(tokenizer, [""]))[0]

    def loss_of(_share: float) -> Tensor:
        rows, clean, drawn = batches.draw(run.rng, plan.batch)
        hand = random.Random(int(run.rng.integers(2**62)))
        told = [caption(batches.scenes.specs[row], hand, complete=True) for row in rows]
        with torch.no_grad():
            said = encoder(tokenize(tokenizer, told))[0]
        at = set(run.rng.choice(np.arange(1, LAST + 1), LOOKED_AT, replace=False).tolist())
        pair = (blank.expand(len(rows), -1, -1), said)
        seen = rollout.losses(torch.randn_like(clean), pair, drawn, at, look_at(vae, batches.scenes, rows))
        few = slice(plan.batch // 4)
        timesteps, noise, noisy = objective.sample(clean[few])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            predicted = training(Noisy(noisy, timesteps, said[few]), drawn[few]).float()
        return seen + DENOISING * objective.loss(predicted, noise, timesteps)

    run.train(loss_of)
    if ranks.RANK == 0:
        with run.averaged_weights():
            for key, value in control.state_dict().items():
                value.copy_(torch.lerp(begun[key], value, SHARE))
            control.save_pretrained(work / "tuned" / name)


def begin_tuning(
    folder: Path, technique: str, unet: UNet2DConditionModel
) -> tuple[ControlNetModel | T2IAdapter, nn.Module]:
    """What was trained, at the strength at which it ships, and it beside the frozen UNet."""
    if technique == "t2i-adapter":
        adapter = T2IAdapter.from_pretrained(folder)
        return adapter, T2IAdapterTraining(unet, adapter)
    control = ControlNetModel.from_pretrained(folder)
    strengthen(control, GAIN)
    return control, ControlNetTraining(unet, control)


def look_at(vae: AutoencoderKL, scenes: Scenes, rows: np.ndarray) -> Callable[[Tensor], Tensor]:
    """From guesses at the latents of those scenes to how far edges and colours are off, a scalar."""
    outlines = torch.from_numpy(np.array(scenes.outlines[rows]) > 0).float()
    colors = F.avg_pool2d(to_tensor(scenes.images[rows]), CELL)
    things = torch.from_numpy(np.array(scenes.segments[rows]) > SEGMENTS["ground"]).float()[:, None]
    counts = SCENERY + F.avg_pool2d(things, CELL)

    def look(guess: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            shown = vae.decode(guess / vae.config.scaling_factor).sample.float()
        off = (F.avg_pool2d(shown, CELL) - colors).abs().mean(1, keepdim=True)
        return outline_error(soft_edges(shown), outlines).mean() + COLORS * (off * counts).sum() / counts.sum()

    return look

"""The scribble ControlNet, trained beside the frozen denoiser on scenes drawn by an unsteady hand."""

from pathlib import Path

import numpy as np
import torch
from diffusers import ControlNetModel
from torch import Tensor
from transformers import CLIPTokenizer

from studio.starter import ranks
from studio.starter.data import DRAWINGS, Scenes
from studio.starter.loop import Plan, Run
from studio.starter.unet import Objective, Words, load_snapshot

UNSAID, MISTOLD = 0.4, 0.5
GAIN = 1.4  # edges and sides gain, colours lose; assets/starter/README.md says how it was chosen


def train_control(work: Path, plan: Plan) -> None:
    """Train on drawings; writes work/controlnet-scribble.

    So that the drawing decides, every other caption is left unsaid, and in three of ten left and right are exchanged.
    """
    scenes = Scenes.open(work / "train")
    latents = np.load(work / "train" / "latents.npy", mmap_mode="r")
    unet, encoder = load_snapshot(work)
    unet.requires_grad_(False)
    encoder.requires_grad_(False)
    torch.manual_seed(0)
    control = ControlNetModel.from_unet(
        unet, conditioning_channels=3, conditioning_embedding_out_channels=(8, 16, 32, 64)
    ).requires_grad_(True)
    run = Run(plan, control, work / "runs" / "control")
    tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer", local_files_only=True)
    words, objective = Words(tokenizer, scenes), Objective()

    def loss_of(_share: float) -> Tensor:
        rows = np.sort(run.rng.integers(0, len(scenes), plan.batch))
        clean = torch.from_numpy(latents[rows].astype(np.float32))
        drawn = control_tensor(scenes.drawings[rows, run.rng.integers(0, DRAWINGS, len(rows))])
        timesteps, noise, noisy = objective.sample(clean)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            with torch.no_grad():
                said = encoder(words.draw(rows, UNSAID, mistold=MISTOLD))[0]
            down, middle = control(noisy, timesteps, said, controlnet_cond=drawn, return_dict=False)
            predicted = unet(
                noisy,
                timesteps,
                said,
                down_block_additional_residuals=down,
                mid_block_additional_residual=middle,
            ).sample.float()
        return objective.loss(predicted, noise, timesteps)

    run.train(loss_of)
    if ranks.RANK == 0:
        with run.averaged_weights():
            control.save_pretrained(work / "controlnet-scribble")


def control_tensor(drawings: np.ndarray) -> Tensor:
    """(N, h, w) bytes to (N, 3, h, w), 0 to 1."""
    return torch.from_numpy(np.array(drawings)).float()[:, None].expand(-1, 3, -1, -1) / 255


@torch.no_grad()
def strengthen(control: ControlNetModel, gain: float) -> None:
    """Let what the ControlNet adds weigh so many times as much, as a conditioning_scale would."""
    for layer in (*control.controlnet_down_blocks, control.controlnet_mid_block):
        for parameter in layer.parameters():
            parameter.mul_(gain)

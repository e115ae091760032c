"""The IP-Adapter: pictures read as words are, by the pack's own CLIP."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTokenizer

from studio.control.ip_adapter import IPAdapter
from studio.engine.attention import AttentionProcessor
from studio.starter.clip import FEATURES
from studio.starter.data import Scenes
from studio.starter.unet import Words, load_snapshot, new_objective
from studio.training import ranks
from studio.training.conditions import IPAdapterTraining, Noisy
from studio.training.loop import Plan, Run

DROPPED = 0.05  # each of: the picture, the words, both


def train_ip_adapter(work: Path, plan: Plan) -> None:
    """Train on scenes that are shown to the adapter itself; writes work/ip-adapter.safetensors."""
    scenes = Scenes.open(work / "train")
    latents = np.load(work / "train" / "latents.npy", mmap_mode="r")
    features = torch.from_numpy(np.load(work / "train" / "features.npy"))
    unet, encoder = load_snapshot(work)
    encoder.requires_grad_(False)
    unet.set_attn_processor(AttentionProcessor("sdpa"))
    adapter = IPAdapter.beside(unet, FEATURES)
    run = Run(plan, adapter, work / "runs" / "ip-adapter")
    training = IPAdapterTraining(unet, adapter)
    words, objective = (
        Words(CLIPTokenizer.from_pretrained(work / "tokenizer", local_files_only=True), scenes),
        new_objective(),
    )

    def loss_of(_share: float) -> Tensor:
        rows = np.sort(run.rng.integers(0, len(scenes), plan.batch))
        timesteps, noise, noisy = objective.sample(torch.from_numpy(latents[rows].astype(np.float32)))
        draws = torch.rand(plan.batch)
        shown = features[rows] * (draws >= 2 * DROPPED)[:, None]
        ids = words.draw(rows, 0.0)
        ids[(draws >= DROPPED) & (draws < 3 * DROPPED)] = words.unsaid
        with torch.autocast("cpu", dtype=torch.bfloat16):
            with torch.no_grad():
                said = encoder(ids)[0]
            predicted = training(Noisy(noisy, timesteps, said), shown).float()
        return objective.loss(predicted, noise, timesteps)

    run.train(loss_of)
    if ranks.RANK == 0:
        with run.averaged_weights():
            save_file(adapter.to_state(), work / "ip-adapter.safetensors")

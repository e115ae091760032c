"""The autoencoder: 128 px to 16 x 16 latents of 4 channels, and back."""

import logging
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional as F

from studio.starter.data import Scenes
from studio.training import ranks
from studio.training.loop import Plan, Run

log = logging.getLogger("studio.starter")
CROP, CROP_SHARE = 64, 0.68


def new_vae() -> AutoencoderKL:
    """f = 8, widths 16, 32, 64, 96, one layer a block: 1.7 M parameters."""
    torch.manual_seed(0)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 64, 96),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=128,
    )


def train_vae(work: Path, plan: Plan) -> None:
    """Train on crops of 64 px first, on whole pictures in the last third; writes work/vae, scaled to unit latents."""
    scenes, held_out = Scenes.open(work / "train"), Scenes.open(work / "held-out")
    vae = new_vae()
    run = Run(plan, vae, work / "runs" / "vae")
    probe = to_tensor(held_out.images[:64])

    def loss_of(share: float) -> Tensor:
        whole = share > CROP_SHARE
        rows = np.sort(run.rng.integers(0, len(scenes), plan.batch // 2 if whole else plan.batch))
        picture = to_tensor(scenes.images[rows])
        if not whole:
            y, x = run.rng.integers(0, (128 - CROP) // 8 + 1, 2) * 8
            picture = picture[:, :, y : y + CROP, x : x + CROP]
        return reconstruction_loss(vae, picture.flip(3) if run.rng.random() < 0.5 else picture)

    def evaluate() -> dict[str, float]:
        latents, again = reconstruct(vae, probe)
        return {"psnr": round(psnr(again, probe), 2), "latent_std": round(latents.std().item(), 4)}

    run.train(loss_of, evaluate)
    if ranks.RANK == 0:
        with run.averaged_weights():
            vae.register_to_config(scaling_factor=round(1 / evaluate()["latent_std"], 4))
            vae.save_pretrained(work / "vae")


def reconstruction_loss(vae: AutoencoderKL, picture: Tensor) -> Tensor:
    """L1, squared error at three scales, colour at a quarter of the size, and edges; a little KL.

    Args: picture: (B, 3, h, w), -1 to 1. Returns: a scalar.
    Without the terms on pooled pictures and on their colour, small coloured things dissolve into the background.
    """
    with torch.autocast("cpu", dtype=torch.bfloat16):
        posterior = vae.encode(picture).latent_dist
        again = vae.decode(posterior.mean + posterior.std * torch.randn_like(posterior.mean)).sample.float()
    mean, logvar = posterior.mean.float(), posterior.logvar.float()
    error = again - picture
    by4 = F.avg_pool2d(error, 4)
    by8 = F.avg_pool2d(by4, 2)
    chroma = by4 - by4.mean(1, keepdim=True)
    edges = error.diff(dim=3).abs().mean() + error.diff(dim=2).abs().mean()
    kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
    squares = 2 * error.square().mean() + 3 * by4.square().mean() + 3 * by8.square().mean() + 6 * chroma.square().mean()
    return 0.5 * error.abs().mean() + squares + 0.25 * edges + 1e-4 * kl


@torch.no_grad()
def reconstruct(vae: AutoencoderKL, pictures: Tensor, batch: int = 16) -> tuple[Tensor, Tensor]:
    """Latents (unscaled modes) and pictures, decoded again, clamped to -1..1."""
    latents, again = [], []
    for piece in pictures.split(batch):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mode = vae.encode(piece).latent_dist.mode()
            again.append(vae.decode(mode).sample.float().clamp(-1, 1))
        latents.append(mode.float())
    return torch.cat(latents), torch.cat(again)


def psnr(a: Tensor, b: Tensor) -> float:
    """Mean over pictures of the peak signal-to-noise ratio, in dB; values -1 to 1."""
    error = ((a - b) / 2).square().mean((1, 2, 3))
    return (-10 * error.log10()).mean().item()


def to_tensor(images: np.ndarray) -> Tensor:
    """(N, h, w, 3) bytes to (N, 3, h, w) floats, -1 to 1."""
    return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def encode_scenes(work: Path, name: str) -> None:
    """Write the scaled latents of work/<name> as (N, 4, 16, 16) fp16; each rank does its share."""
    ranks.join()
    scenes = Scenes.open(work / name)
    vae = AutoencoderKL.from_pretrained(work / "vae").eval()
    target = work / name / "latents.npy"
    if ranks.RANK == 0:
        np.lib.format.open_memmap(target, "w+", np.float16, (len(scenes), 4, 16, 16)).flush()
    ranks.wait()
    out = np.lib.format.open_memmap(target, "r+")
    for start in range(ranks.RANK * 32, len(scenes), 32 * ranks.WORLD):
        rows = slice(start, min(start + 32, len(scenes)))
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            mode = vae.encode(to_tensor(scenes.images[rows])).latent_dist.mode()
        out[rows] = (mode.float() * vae.config.scaling_factor).numpy()
    out.flush()
    ranks.wait()

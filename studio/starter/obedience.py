"""Does the picture obey? Each control measured by what the reader sees, from off to the ceiling."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, StableDiffusionPipeline
from torch import Tensor
from torch.nn import functional as F

from studio.control.reader import Reader, find_people, load_reader
from studio.engine.attention import AttentionProcessor
from studio.engine.denoise import Denoising
from studio.engine.units.unit import Unit
from studio.starter.annotator import CLASSES, pictures
from studio.starter.captions import caption
from studio.starter.measure import GUIDANCE, STEPS, Exam, edge_f1, to_bytes
from studio.starter.render import SEGMENTS, Bytes, Scene, make_scene
from studio.starter.scribble import scribble
from studio.starter.text import tokenize
from studio.starter.vae import reconstruct, to_tensor

BATCH, NEAR = 10, 0.1
TALL = 2 / 3
UnitsOf = Callable[[Sequence[int]], list[Unit]]


@dataclass
class Painter:
    """The pack's checkpoint with our loop: pictures of an exam's captions with any units."""

    pack: Path
    unet: Any = field(init=False)
    pipeline: Any = field(init=False)

    def __post_init__(self) -> None:
        self.pipeline = StableDiffusionPipeline.from_pretrained(
            self.pack / "desk", dtype=torch.float32, local_files_only=True
        )
        self.unet = self.pipeline.unet
        self.unet.set_attn_processor(AttentionProcessor("sdpa"))

    @torch.no_grad()
    def paint(self, exam: Exam, units_of: UnitsOf, captions: Sequence[str] | None = None) -> Bytes:
        """(N, side, side, 3), a seed each. units_of: for the rows of a batch, units whose maps are those rows'."""
        told = captions or exam.captions
        made = []
        for start in range(0, len(told), BATCH):
            rows = range(start, min(start + BATCH, len(told)))
            made.append(self._batch([told[i] for i in rows], [exam.noise_seed + i for i in rows], units_of(rows)))
        return np.concatenate(made)

    def _batch(self, told: list[str], seeds: list[int], units: list[Unit]) -> Bytes:
        scheduler = DPMSolverMultistepScheduler.from_config(self.pipeline.scheduler.config)
        scheduler.set_timesteps(STEPS)
        ids = tokenize(self.pipeline.tokenizer, ["", *told])
        side = self.unet.config.sample_size
        noise = [torch.randn(1, 4, side, side, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            embeds = self.pipeline.text_encoder(ids)[0]
            latents = Denoising(
                unet=self.unet,
                scheduler=scheduler,
                timesteps=scheduler.timesteps,
                prompt_embeds=embeds[1:],
                negative_embeds=embeds[:1].expand(len(told), -1, -1),
                guidance_scale=GUIDANCE,
                generators=[torch.Generator() for _ in seeds],
                units=units,
            ).run(torch.cat(noise))
        decoded = self.pipeline.vae.decode(latents.float() / self.pipeline.vae.config.scaling_factor).sample
        return to_bytes(decoded)


def pose_exam(count: int, first_seed: int) -> Exam:
    """Scenes with one person, at least two thirds of the height."""
    found: list[Scene] = []
    seed = first_seed
    while len(found) < count:
        scene = make_scene(seed)
        tall = [p for p in scene.placed if p.thing.kind == "person" and p.height >= TALL]
        if len(scene.people) == 1 and tall:
            found.append(scene)
        seed += 1
    rng = random.Random(first_seed)
    captions = [caption(scene.spec, rng, complete=True) for scene in found]
    return Exam(found, captions, np.stack([scribble(scene, rng) for scene in found]))


@torch.no_grad()
def obey(images: Bytes, exam: Exam, reader: Reader) -> dict[str, float]:
    """edge_f1, depth_rmse (0 to 1), miou of the regions that are there, and pck: the share of joints within a tenth of
    the person's height; all against the exact scenes."""
    said = [reader(pictures(images[start : start + 50])) for start in range(0, len(images), 50)]
    answers = {name: torch.cat([part[name] for part in said]) for name in said[0]}
    side = images.shape[1]
    depth = F.interpolate(answers["depth"].sigmoid(), size=(side, side), mode="bilinear")[:, 0].numpy()
    regions = F.interpolate(answers["segments"], size=(side, side), mode="bilinear").argmax(1).numpy()
    scenes = exam.scenes
    figures = {
        "edge_f1": np.mean([edge_f1(image, scene.outline) for image, scene in zip(images, scenes, strict=True)]),
        "depth_rmse": np.mean([rmse(d, scene.depth / 255) for d, scene in zip(depth, scenes, strict=True)]),
        "miou": np.mean([miou(r, scene.segments) for r, scene in zip(regions, scenes, strict=True)]),
    }
    joints, person = answers["joints"].sigmoid(), answers["segments"].argmax(1).numpy() == SEGMENTS["person"]
    shares = [pck(joints[i], person[i], scene) for i, scene in enumerate(scenes) if scene.people]
    if shares:
        figures["pck"] = np.mean(shares)
    return {name: round(float(value), 3) for name, value in figures.items()}


def rmse(found: np.ndarray, wanted: np.ndarray) -> float:
    """Root mean squared difference."""
    return float(np.sqrt(np.mean((found - wanted) ** 2)))


def miou(found: np.ndarray, wanted: np.ndarray) -> float:
    """Mean over the classes in `wanted` of overlap over union."""
    overlaps = [((found == c) & (wanted == c)).sum() / ((found == c) | (wanted == c)).sum() for c in np.unique(wanted)]
    return float(np.mean(overlaps))


def pck(joints: Tensor, person: np.ndarray, scene: Scene) -> float:
    """The share of the scene's joints that somebody in the picture has within a tenth of the person's height."""
    seen = find_people(joints, person)
    shares = []
    for wanted in scene.people:
        height = wanted[:, 1].max() - wanted[:, 1].min()
        hits = [np.hypot(*(found[:, :2] - wanted).T) < NEAR * height for found in seen]
        shares.append(max((hit.mean() for hit in hits), default=0.0))
    return float(np.mean(shares))


def way(value: float, off: float, ceiling: float) -> float:
    """The share of the way from off to the ceiling."""
    return (value - off) / (ceiling - off)


def open_reader(pack: Path) -> Reader:
    """The pack's annotator."""
    return load_reader(pack / "annotator.safetensors", CLASSES)


def reconstructions(pack: Path, exam: Exam) -> Bytes:
    """The exam's true pictures through the autoencoder: the ceiling."""
    vae = AutoencoderKL.from_pretrained(pack / "desk" / "vae", dtype=torch.float32)
    return to_bytes(reconstruct(vae, to_tensor(exam.images))[1])

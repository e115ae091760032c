"""Does the picture obey? Each control measured by what the reader sees, from off to the ceiling."""

import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, StableDiffusionPipeline
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from studio.control.ip_adapter import IPAdapter, cross_attention_layers
from studio.control.reader import Reader, find_people, load_reader
from studio.engine.attention import AttentionProcessor, PictureKeys, split_heads
from studio.engine.denoise import Denoising, Words
from studio.engine.units.unit import Residuals, Setting, StepInput, Unit
from studio.starter.annotator import CLASSES, pictures
from studio.starter.captions import caption
from studio.starter.measure import FIRST_SEED, GUIDANCE, NOISE_SEED, STEPS, Exam, edge_f1, to_bytes
from studio.starter.render import SEGMENTS, Bytes, Scene, make_scene
from studio.starter.scribble import scribble
from studio.starter.text import tokenize
from studio.starter.vae import reconstruct, to_tensor

BATCH, NEAR = 10, 0.1
TALL = 2 / 3
Values = NDArray[np.float64]
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
            words = Words(prompt_embeds=embeds[1:], negative_embeds=embeds[:1].expand(len(told), -1, -1))
            latents = Denoising(
                unet=self.unet,
                scheduler=scheduler,
                timesteps=scheduler.timesteps,
                words=lambda _: words,
                guidance_scale=GUIDANCE,
                generators=[torch.Generator() for _ in seeds],
                units=units,
            ).run(torch.cat(noise))
        decoded = self.pipeline.vae.decode(latents.float() / self.pipeline.vae.config.scaling_factor).sample
        return to_bytes(decoded)


@dataclass
class EachItsPicture:
    """An IP-Adapter that shows another picture to each row of a batch. features: (rows, D)."""

    model: IPAdapter
    features: Tensor
    setting: Setting = field(default_factory=Setting)
    _layers: list[Any] = field(default_factory=list[Any], init=False)

    def attached(self, unet: Any) -> AbstractContextManager[None]:
        """Know the UNet's layers; nothing of it is changed."""
        self._layers = cross_attention_layers(unet)
        return nullcontext()

    def contribute(self, step: StepInput, residuals: Residuals) -> None:
        """Show each row its picture, and the half for the negative prompts none."""
        tokens = self.model.tokens(torch.cat([torch.zeros_like(self.features), self.features]).to(step.sample))
        for layer, (key, value) in zip(self._layers, self.model.keys_and_values(tokens), strict=True):
            heads = split_heads(key, layer.heads), split_heads(value, layer.heads)
            residuals.pictures.setdefault(id(layer), []).append(PictureKeys(*heads, self.setting.scale, None))


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
    drawings = np.stack([scribble(scene, rng) for scene in found])
    return Exam(found, captions, drawings, NOISE_SEED + first_seed - FIRST_SEED)


@torch.no_grad()
def observe(images: Bytes, exam: Exam, reader: Reader | None) -> dict[str, Values]:
    """What each picture shows of its scene, (N,) each: edge_f1; depth_rmse, 0 to 1; miou of the regions that are there;
    and pck, the share of joints within a tenth of the person's height, NaN for scenes without people.

    All against the exact scenes. Without a reader there are only edges.
    """
    scenes = exam.scenes
    edges = np.array([edge_f1(image, scene.outline) for image, scene in zip(images, scenes, strict=True)])
    if reader is None:
        return {"edge_f1": edges}
    said = [reader(pictures(images[start : start + 50])) for start in range(0, len(images), 50)]
    answers = {name: torch.cat([part[name] for part in said]) for name in said[0]}
    depth, regions = depth_and_regions(answers, images.shape[1])
    joints, person = answers["joints"].sigmoid(), answers["segments"].argmax(1).numpy() == SEGMENTS["person"]
    shares = [pck(joints[i], person[i], scene) if scene.people else np.nan for i, scene in enumerate(scenes)]
    return {
        "edge_f1": edges,
        "depth_rmse": np.array([rmse(d, scene.depth / 255) for d, scene in zip(depth, scenes, strict=True)]),
        "miou": np.array([miou(r, scene.segments) for r, scene in zip(regions, scenes, strict=True)]),
        "pck": np.array(shares),
    }


def depth_and_regions(answers: dict[str, Tensor], side: int) -> tuple[np.ndarray, np.ndarray]:
    """A reader's answers in the size of the pictures: depth (N, side, side), 0 to 1, and the number of the class."""
    depth = F.interpolate(answers["depth"].sigmoid(), size=(side, side), mode="bilinear")[:, 0].numpy()
    regions = F.interpolate(answers["segments"], size=(side, side), mode="bilinear").argmax(1).numpy()
    return depth, regions


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

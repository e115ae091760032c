"""How good the pack is, in numbers: the judge's table on held-out scenes, beside its ceilings and chance."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DPMSolverMultistepScheduler,
    StableDiffusionControlNetPipeline,
    StableDiffusionPipeline,
)

from studio.starter import maps
from studio.starter.captions import caption
from studio.starter.control import MAPS, map_tensor
from studio.starter.judge import load_judge, score
from studio.starter.render import Bytes, Scene, make_scene
from studio.starter.scribble import scribble
from studio.starter.vae import psnr, reconstruct, to_tensor

FIRST_SEED, NOISE_SEED, GUIDANCE, STEPS, BATCH = 20_000_000, 5, 5.0, 20, 10
TOLERANCE = 2


@dataclass(frozen=True)
class Exam:
    """Held-out scenes, complete captions, and drawings by an unsteady hand. noise_seed: of the first picture."""

    scenes: list[Scene]
    captions: list[str]
    drawings: Bytes
    noise_seed: int = NOISE_SEED

    @property
    def images(self) -> Bytes:
        return np.stack([scene.image for scene in self.scenes])


def set_exam(count: int, first_seed: int = FIRST_SEED) -> Exam:
    """The same questions every time; seeds from 20 million on are in no training set. Another seed: another exam."""
    scenes = [make_scene(first_seed + i) for i in range(count)]
    rng = random.Random(first_seed)
    captions = [caption(scene.spec, rng, complete=True) for scene in scenes]
    drawings = np.stack([scribble(scene, rng) for scene in scenes])
    return Exam(scenes, captions, drawings, NOISE_SEED + first_seed - FIRST_SEED)


def measure(
    pack: Path, count: int, report: Callable[[str], None], first_seed: int = FIRST_SEED
) -> dict[str, dict[str, float]]:
    """All figures of the pack: {row: {measure: value}}. report gets a line now and then."""
    exam = set_exam(count, first_seed)
    judge = load_judge(pack / "judge.safetensors")
    specs = [scene.spec for scene in exam.scenes]
    vae = AutoencoderKL.from_pretrained(pack / "desk" / "vae", dtype=torch.float32)
    truth = to_tensor(exam.images)
    again = reconstruct(vae, truth)[1]
    rows = {"true renders": exam.images, "VAE reconstructions": to_bytes(again)}
    report("drawing without control")
    rows["without control"] = draw(pack, exam, None)
    for kind in MAPS:
        if (pack / f"controlnet-{kind}").exists():
            report(f"drawing with {kind}")
            rows[f"with {kind}"] = draw(pack, exam, kind)
    figures: dict[str, dict[str, float]] = {}
    for name, images in rows.items():
        figures[name] = score(judge, images, specs) | follow(images, exam)
    others = specs[1:] + specs[:1]
    figures["chance"] = score(judge, rows["without control"], others)
    figures["VAE"] = {"psnr": round(psnr(again, truth), 2)}
    return figures


def draw(pack: Path, exam: Exam, kind: str | None) -> Bytes:
    """Pictures of the exam's captions, (N, 128, 128, 3), a seed each; through the ControlNet of that kind, if any."""
    pipeline = StableDiffusionPipeline.from_pretrained(pack / "desk", dtype=torch.float32, local_files_only=True)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    if kind is not None:
        shown = exact_maps(exam, kind)
        control = ControlNetModel.from_pretrained(pack / f"controlnet-{kind}", dtype=torch.float32)
        pipeline = StableDiffusionControlNetPipeline(
            **pipeline.components, controlnet=control, requires_safety_checker=False
        )
    pipeline.set_progress_bar_config(disable=True)
    pictures = []
    for start in range(0, len(exam.captions), BATCH):
        rows = range(start, min(start + BATCH, len(exam.captions)))
        extra = {} if kind is None else {"image": shown[start : start + BATCH]}
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = pipeline(
                [exam.captions[i] for i in rows],
                num_inference_steps=STEPS,
                guidance_scale=GUIDANCE,
                generator=[torch.Generator().manual_seed(exam.noise_seed + i) for i in rows],
                output_type="pt",
                **extra,
            ).images
        pictures.append((out.float().permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy())
    return np.concatenate(pictures)


def exact_maps(exam: Exam, kind: str) -> torch.Tensor:
    """The maps of the exam's scenes, (N, 3, side, side), 0 to 1; the scribbles are the exam's own."""
    made: dict[str, Callable[[Scene], Bytes]] = {
        "edges": lambda scene: maps.edge_map(scene.image),
        "depth": lambda scene: maps.depth_map(scene.depth),
        "segments": lambda scene: maps.segment_map(scene.segments),
        "pose": lambda scene: maps.pose_map(scene.people, len(scene.image)),
    }
    if kind == "scribble":
        return map_tensor(exam.drawings)
    return map_tensor([made[kind](scene) for scene in exam.scenes])


def to_bytes(pictures: torch.Tensor) -> Bytes:
    """(N, 3, h, w), -1 to 1, to (N, h, w, 3) bytes."""
    return ((pictures.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def follow(images: Bytes, exam: Exam) -> dict[str, float]:
    """edge_f1 of Canny edges against the exact outline, 2 px tolerance; silhouette_iou on plain backgrounds."""
    f1 = [edge_f1(image, scene.outline) for image, scene in zip(images, exam.scenes, strict=True)]
    plain = [(i, s) for i, s in zip(images, exam.scenes, strict=True) if s.spec.plain]
    overlaps = [silhouette_iou(image, scene.segments > 2) for image, scene in plain]
    return {"edge_f1": round(float(np.mean(f1)), 3), "silhouette_iou": round(float(np.mean(overlaps)), 3)}


def edge_f1(image: Bytes, outline: Bytes) -> float:
    """Harmonic mean of how many edges lie on the outline, and how much of the outline has edges."""
    edges, wanted = find_edges(image), outline > 0
    kernel = np.ones((2 * TOLERANCE + 1,) * 2, np.uint8)
    near_edges, near_wanted = (cv2.dilate(a.astype(np.uint8), kernel) > 0 for a in (edges, wanted))
    precision = (edges & near_wanted).sum() / max(1, edges.sum())
    recall = (wanted & near_edges).sum() / max(1, wanted.sum())
    return float(2 * precision * recall / max(1e-6, precision + recall))


def find_edges(image: Bytes) -> np.ndarray:
    """Where a picture (side, side, 3) has edges, by Canny: (side, side), true or false."""
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (3, 3), 0)
    return cv2.Canny(grey, 40, 100) > 0


def silhouette_iou(image: Bytes, things: np.ndarray) -> float:
    """Overlap of what differs from the border's colour with where the things should stand."""
    pixels = image.astype(float)
    border = np.concatenate([pixels[:3].reshape(-1, 3), pixels[:, :3].reshape(-1, 3), pixels[:, -3:].reshape(-1, 3)])
    shown = np.abs(pixels - np.median(border, 0)).sum(2) > 60
    return float((shown & things).sum() / max(1, (shown | things).sum()))


def table(figures: dict[str, dict[str, float]]) -> str:
    """The figures as a Markdown table."""
    columns = ["background", "object", "color", "object_color", "side", "all", "edge_f1", "silhouette_iou"]
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, row in figures.items():
        if name != "VAE":
            lines.append(f"| {name} | " + " | ".join(f"{row[c]:.3f}" if c in row else "" for c in columns) + " |")
    return "\n".join([*lines, f"VAE PSNR: {figures['VAE']['psnr']} dB"])


def sheet(pack: Path, file: Path, count: int = 16) -> None:
    """A picture to look at: drawings, pictures with them, pictures of the same words and seeds without."""
    exam = set_exam(count)
    rows = [
        np.repeat(exam.drawings[..., None], 3, 3),
        draw(pack, exam, "scribble"),
        draw(pack, exam, None),
        exam.images,
    ]
    half = count // 2
    strips = [np.concatenate(list(row[part]), 1) for part in (slice(0, half), slice(half, count)) for row in rows]
    cv2.imwrite(str(file), np.concatenate(strips)[..., ::-1])

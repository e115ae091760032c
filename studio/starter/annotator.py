"""The pack's annotator: the reader, taught by exact depth, segments and joints."""

import math
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from studio.control.reader import JOINTS, Reader
from studio.starter.data import Scenes
from studio.starter.spec import KINDS
from studio.training import ranks
from studio.training.loop import Plan, Run

CLASSES = len(KINDS) + 3  # nothing, sky and ground before the kinds, as in render.SEGMENTS
SPREAD = 1.2  # of a joint's mark, in pixels of the answer


def train_annotator(work: Path, plan: Plan) -> None:
    """Train on true scenes, half of them as a decoder leaves them; writes work/annotator.safetensors."""
    scenes, held = Scenes.open(work / "train"), Scenes.open(work / "held-out")
    torch.manual_seed(0)
    reader = Reader(CLASSES)
    run = Run(plan, reader, work / "runs" / "annotator")
    with_people = np.array([row for row, people in enumerate(scenes.people) if people])

    def loss_of(_share: float) -> Tensor:
        some = run.rng.choice(with_people, plan.batch // 3)
        rows = np.sort(np.concatenate([some, run.rng.integers(0, len(scenes), plan.batch - len(some))]))
        shown = pictures(scenes.images[rows])
        shown = shown * float(run.rng.uniform(0.85, 1.1)) + torch.randn_like(shown) * 0.05 * float(run.rng.random())
        if run.rng.random() < 0.5:
            shown = F.interpolate(F.avg_pool2d(shown, 2), scale_factor=2.0, mode="bilinear")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            said = reader(shown)
        return reading_loss({name: answer.float() for name, answer in said.items()}, scenes, rows)

    def evaluate() -> dict[str, float]:
        said = reader(pictures(held.images[:64]))
        wanted = torch.from_numpy(np.array(held.segments[:64, ::2, ::2])).long()
        depth = torch.from_numpy(held.depths[:64, ::2, ::2] / 255).float()
        return {
            "segments": round((said["segments"].argmax(1) == wanted).float().mean().item(), 4),
            "depth": round((said["depth"][:, 0].sigmoid() - depth).square().mean().sqrt().item(), 4),
            "joints": round(joints_found(said["joints"], held.people[:64]), 4),
        }

    run.train(loss_of, evaluate)
    if ranks.RANK == 0:
        with run.averaged_weights():
            save_file(
                {k: v.half().contiguous() for k, v in reader.state_dict().items()}, work / "annotator.safetensors"
            )


def joints_found(said: Tensor, people: list[list[np.ndarray]]) -> float:
    """The share of joints whose map is highest within 4 % of the picture, where one person alone is in it; else NaN."""
    alone = [row for row, those in enumerate(people) if len(those) == 1]
    if not alone:
        return math.nan
    side = said.shape[3]
    places = said[alone].flatten(2).argmax(2).numpy()
    at = np.stack([places % side + 0.5, places // side + 0.5], 2) / side
    true = np.stack([people[row][0] for row in alone])
    return float((np.linalg.norm(at - true, axis=2) < 0.04).mean())


def pictures(images: np.ndarray) -> Tensor:
    """(N, h, w, 3) bytes to (N, 3, h, w), -1 to 1."""
    return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def reading_loss(said: dict[str, Tensor], scenes: Scenes, rows: np.ndarray) -> Tensor:
    """Errors of depth, segments and joints, a scalar."""
    wanted = torch.from_numpy(np.array(scenes.segments[rows][:, ::2, ::2])).long()
    near = torch.from_numpy(scenes.depths[rows][:, ::2, ::2] / 255).float()
    marks = torch.from_numpy(np.stack([joint_marks(scenes.people[row], wanted.shape[1]) for row in rows]))
    depth = (said["depth"][:, 0].sigmoid() - near).abs().mean()
    return F.cross_entropy(said["segments"], wanted) + 3 * depth + joints_loss(said["joints"], marks)


def joints_loss(said: Tensor, marks: Tensor) -> Tensor:
    """Errors of joints' maps (N, 18, h, w) of logits against their marks, a scalar.

    Most of a map is empty, so that its mean error says little of where a joint is, and which of two legs: the places of
    each joint compete as well.
    """
    there = 10 * F.binary_cross_entropy_with_logits(said, marks, weight=1 + 30 * marks)
    whole = marks.flatten(2).sum(2, keepdim=True)
    where = -(marks.flatten(2) * said.flatten(2).log_softmax(2)) / whole.clamp(min=1)
    return there + 0.3 * where.sum(2).sum() / (whole > 0).sum().clamp(min=1)


def joint_marks(people: list[np.ndarray], side: int) -> np.ndarray:
    """Where the joints are: (18, side, side), 1 at each and falling off around it."""
    marks = np.zeros((JOINTS, side, side), np.float32)
    y, x = np.mgrid[0:side, 0:side] + 0.5
    for person in people:
        for joint, (px, py) in enumerate(person):
            mark = np.exp(-((x - px * side) ** 2 + (y - py * side) ** 2) / (2 * SPREAD**2))
            marks[joint] = np.maximum(marks[joint], mark)
    return marks

"""The judge: a small network that says what stands where, learned from the exact segments of true scenes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from studio.starter.data import Scenes
from studio.starter.render import SEGMENTS
from studio.starter.spec import BACKGROUNDS, COLORS, KINDS, Spec
from studio.training.loop import Plan, Run

CELLS, LEAST_CELLS = 16, 3
TONES = list(COLORS)


class Judge(nn.Module):
    """64 px in; a kind and a colour for each of 16 x 16 cells, 0 for none; a background and its colour for all."""

    def __init__(self, width: int = 72) -> None:
        super().__init__()
        self.stem = nn.Sequential(_block(3, 24, stride=2), _block(24, 48, stride=2), _block(48, width))
        self.wide = nn.ModuleList(_block(width, width, dilation=d) for d in (2, 4, 1))
        self.kind = nn.Conv2d(width, len(KINDS) + 1, 1)
        self.color = nn.Conv2d(width, len(COLORS) + 1, 1)
        self.background = nn.Linear(width * 17, len(BACKGROUNDS))
        self.plain = nn.Linear(width, len(COLORS))

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """pictures: (B, 3, 64, 64), -1 to 1; gives logits."""
        seen = self.stem(pictures)
        for block in self.wide:
            seen = seen + block(seen)
        mean = seen.mean((2, 3))
        return {
            "kind": self.kind(seen),
            "color": self.color(seen),
            "background": self.background(torch.cat([F.adaptive_avg_pool2d(seen, 4).flatten(1), mean], 1)),
            "plain": self.plain(mean),
        }


def _block(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


def shrink(images: np.ndarray) -> Tensor:
    """(N, 128, 128, 3) bytes to what the judge takes."""
    return F.avg_pool2d(torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 127.5 - 1, 2)


@dataclass(frozen=True)
class Truth:
    """Targets of a batch: kind and color (B, 16, 16), 0 for none; background (B,); plain (B,), -1 for none."""

    kind: Tensor
    color: Tensor
    background: Tensor
    plain: Tensor


def truth(segments: np.ndarray, specs: list[Spec], centers: list[list[float]]) -> Truth:
    """What the judge should say of true scenes."""
    kind = np.zeros((len(specs), CELLS, CELLS), np.int64)
    color = np.zeros_like(kind)
    for index, spec in enumerate(specs):
        cells = np.asarray(segments[index])[4::8, 4::8]
        columns = np.arange(CELLS)[None].repeat(CELLS, 0) / CELLS
        for thing, center in zip(spec.things, centers[index], strict=True):
            nearest = np.abs(columns - center) <= np.min([np.abs(columns - c) for c in centers[index]], axis=0)
            here = (cells == SEGMENTS[thing.kind]) & nearest
            kind[index][here] = KINDS.index(thing.kind) + 1
            color[index][here] = TONES.index(thing.color) + 1
    background = torch.tensor([BACKGROUNDS.index(spec.background) for spec in specs])
    plain = torch.tensor([TONES.index(spec.plain) if spec.plain else -1 for spec in specs])
    return Truth(torch.from_numpy(kind), torch.from_numpy(color), background, plain)


def train_judge(work: Path, plan: Plan) -> None:
    """Train on true scenes, some blurred and noisy as a decoder leaves them; writes work/judge.safetensors."""
    scenes = Scenes.open(work / "train")
    torch.manual_seed(0)
    judge = Judge()
    run = Run(plan, judge, work / "runs" / "judge")

    def loss_of(_share: float) -> Tensor:
        rows = np.sort(run.rng.integers(0, len(scenes), plan.batch))
        pictures = shrink(scenes.images[rows])
        if run.rng.random() < 0.4:
            pictures = F.interpolate(F.avg_pool2d(pictures, 2), scale_factor=2, mode="bilinear")
        pictures = pictures + torch.randn_like(pictures) * 0.04 * run.rng.random()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            said = {name: logits.float() for name, logits in judge(pictures).items()}
        told = truth(scenes.segments[rows], [scenes.specs[i] for i in rows], [scenes.centers[i] for i in rows])
        return judge_loss(said, told)

    run.train(loss_of)
    with run.averaged_weights():
        save_file({k: v.contiguous() for k, v in judge.state_dict().items()}, work / "judge.safetensors")


def judge_loss(said: dict[str, Tensor], told: Truth) -> Tensor:
    """Cross-entropy over cells, empty ones at a third, and over the picture."""
    loss = torch.zeros(())
    for logits, target in ((said["kind"], told.kind), (said["color"], told.color)):
        weight = torch.ones(logits.shape[1])
        weight[0] = 0.35
        loss = loss + 2 * F.cross_entropy(logits, target, weight)
    loss = loss + 0.3 * F.cross_entropy(said["background"], told.background)
    if (told.plain >= 0).any():
        loss = loss + 0.3 * F.cross_entropy(said["plain"], told.plain, ignore_index=-1)
    return loss


def load_judge(file: Path) -> Judge:
    """The judge of the pack."""
    judge = Judge()
    judge.load_state_dict(load_file(file))
    return judge.eval()


@torch.no_grad()
def score(judge: Judge, images: np.ndarray, specs: list[Spec]) -> dict[str, float]:
    """Shares from 0 to 1 of what is right in the pictures, (N, 128, 128, 3) bytes, by their specs.

    background: of all pictures. object: things found. color: of things found. object_color: things found in their
    colour. side: of things found whose side was told. all: pictures in which nothing is wrong.
    """
    batches = [judge(shrink(images[i : i + 64])) for i in range(0, len(images), 64)]
    said = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    marks: dict[str, list[bool]] = {k: [] for k in ("background", "object", "color", "object_color", "side", "all")}
    for index, spec in enumerate(specs):
        _mark(marks, {name: logits[index] for name, logits in said.items()}, spec)
    return {name: round(float(np.mean(values)), 3) if values else float("nan") for name, values in marks.items()}


def _mark(marks: dict[str, list[bool]], said: dict[str, Tensor], spec: Spec) -> None:
    kinds, colors = said["kind"].argmax(0), said["color"].softmax(0)
    columns = torch.arange(CELLS).expand(CELLS, CELLS)
    right = int(said["background"].argmax()) == BACKGROUNDS.index(spec.background)
    if spec.plain:
        right = right and int(said["plain"].argmax()) == TONES.index(spec.plain)
    marks["background"].append(right)
    everything = right
    sides = ("left", "right") if len(spec.things) == 2 else (spec.side,) * len(spec.things)
    twins = len(spec.things) == 2 and spec.things[0].kind == spec.things[1].kind
    for thing, side in zip(spec.things, sides, strict=True):
        cells = kinds == KINDS.index(thing.kind) + 1
        if twins:
            cells = cells & ((columns < CELLS // 2) if side == "left" else (columns >= CELLS // 2))
        found = int(cells.sum()) >= LEAST_CELLS
        marks["object"].append(found)
        named = found and int(colors[1:, cells].mean(1).argmax()) == TONES.index(thing.color)
        if found:
            marks["color"].append(named)
            if side in ("left", "right"):
                middle = columns[cells].float().mean().item()
                marks["side"].append((middle < (CELLS - 1) / 2) == (side == "left"))
        marks["object_color"].append(named)
        everything = everything and named
    marks["all"].append(everything)

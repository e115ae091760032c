"""A small network that reads a picture: how near things are, what stands where, and where people have their joints."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

JOINTS = 18
LONGEST = 1024  # pixels that the longer side is read at
SIDE = 128  # pixels that it was trained at; the shorter side of a picture is read at this size
LEAST_PERSON = 40  # pixels of a region that is taken for somebody
LEAST_SURE = 0.15
TOGETHER = 2  # pixels of the answer within which two joints are at one place
PAIRS = ((2, 5), (3, 6), (4, 7), (8, 11), (9, 12), (10, 13), (14, 15), (16, 17))  # a joint and the like one opposite


class Reader(nn.Module):
    """Pictures (B, 3, h, w), -1 to 1, sides multiples of 16; answers at half the size.

    Gives depth (B, 1, h/2, w/2), 0 far to 1 near, segments (B, classes, ..) and joints (B, 18, ..), all as logits.
    """

    def __init__(self, classes: int, widths: Sequence[int] = (24, 48, 96, 128)) -> None:
        super().__init__()
        self.down = nn.ModuleList()
        before = 3
        for width in widths:
            self.down.append(nn.Sequential(_layer(before, width, stride=2), _layer(width, width)))
            before = width
        self.wide = nn.ModuleList(_layer(before, before, dilation=d) for d in (2, 4, 1))
        self.up = nn.ModuleList()
        for width in reversed(widths[:-1]):
            self.up.append(_layer(before + width, width))
            before = width
        self.last = _layer(before, before)
        self.depth = nn.Conv2d(before, 1, 1)
        self.segments = nn.Conv2d(before, classes, 1)
        self.joints = nn.Conv2d(before, JOINTS, 1)

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """The three answers by name."""
        skips, seen = list[Tensor](), pictures
        for block in self.down:
            seen = block(seen)
            skips.append(seen)
        for block in self.wide:
            seen = seen + block(seen)
        for block, skip in zip(self.up, reversed(skips[:-1]), strict=True):
            seen = block(torch.cat([F.interpolate(seen, scale_factor=2.0, mode="bilinear"), skip], 1))
        seen = self.last(seen)
        return {"depth": self.depth(seen), "segments": self.segments(seen), "joints": self.joints(seen)}


@dataclass(frozen=True)
class Reading:
    """What was read of a picture of h x w pixels.

    Fields:
        depth: (h, w), 0 far to 1 near.
        segments: (h, w), the number of each pixel's class.
        people: For each person (18, 3): x and y as fractions of the picture, NaN for a joint that was not found, and
            how sure, 0 to 1.
    """

    depth: NDArray[np.float32]
    segments: NDArray[np.uint8]
    people: list[NDArray[np.float64]]


@torch.inference_mode()
def read(reader: Reader, picture: Image.Image, person: int) -> Reading:
    """Read a picture of any size. person: the number of the class of people."""
    factor = min(SIDE / min(picture.size), LONGEST / max(picture.size))
    width, height = (max(16, round(side * factor / 16) * 16) for side in picture.size)
    small = np.asarray(picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS), dtype=np.float32)
    shown = torch.from_numpy(small / 127.5 - 1).permute(2, 0, 1)[None].to(reader.last[0].weight)
    said = {name: answer.float().cpu() for name, answer in reader(shown).items()}
    full = (picture.height, picture.width)
    depth = F.interpolate(said["depth"].sigmoid(), size=full, mode="bilinear", antialias=False)[0, 0]
    likely = F.interpolate(said["segments"].softmax(1), size=full, mode="bilinear", antialias=False)[0]
    region = (said["segments"][0].argmax(0) == person).numpy()
    people = find_people(said["joints"][0].sigmoid(), region)
    return Reading(depth.numpy(), likely.argmax(0).numpy().astype(np.uint8), people)


def find_people(joints: Tensor, region: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """A skeleton for each region that somebody fills, from left to right.

    Args: joints: (18, h, w), 0 to 1, how likely each joint is at each place; region: (h, w), where people are.
    """
    count, labels, facts, _ = cv2.connectedComponentsWithStats(region.astype(np.uint8), connectivity=8)
    people: list[NDArray[np.float64]] = []
    for number in sorted(range(1, count), key=lambda number: facts[number, cv2.CC_STAT_LEFT]):
        if facts[number, cv2.CC_STAT_AREA] * 4 < LEAST_PERSON:
            continue
        near = cv2.dilate((labels == number).astype(np.uint8), np.ones((5, 5), np.uint8))
        people.append(_skeleton(joints * torch.from_numpy(near).to(joints)))
    return people


def _skeleton(joints: Tensor) -> NDArray[np.float64]:
    """(18, 3), as in Reading, of how likely each joint is at each place, (18, h, w)."""
    width = joints.shape[2]
    sure, at = (part.tolist() for part in joints.flatten(1).max(1))
    for pair in PAIRS:
        if math.dist(*(divmod(at[joint], width) for joint in pair)) <= TOGETHER:
            _part(joints, pair, sure, at)
    found = np.array([((x + 0.5) / width, (y + 0.5) / joints.shape[1]) for y, x in (divmod(i, width) for i in at)])
    found[np.array(sure) < LEAST_SURE] = np.nan
    return np.column_stack([found, sure])


def _part(joints: Tensor, pair: tuple[int, int], sure: list[float], at: list[int]) -> None:
    """Two like joints fell together: move the one that is seen elsewhere, too, and is less wanted where both are."""
    height, width = joints.shape[1:]
    y, x = divmod(at[pair[0]], width)
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    far = (rows - y) ** 2 + (columns - x) ** 2 > TOGETHER**2
    best, places = (joints[list(pair)] * far).flatten(1).max(1)
    moved = int(best[1] * sure[pair[0]] > best[0] * sure[pair[1]])
    if best[moved] >= LEAST_SURE:
        sure[pair[moved]], at[pair[moved]] = best[moved].item(), int(places[moved])


def load_reader(file: Path, classes: int) -> Reader:
    """The reader of a pack. Raises: OSError or RuntimeError, for a file that holds none."""
    reader = Reader(classes)
    reader.load_state_dict({name: tensor.float() for name, tensor in load_file(file).items()})
    return reader.eval()


def _layer(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(8, outputs), nn.SiLU())

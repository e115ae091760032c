"""The sheet of pictures: a row for each control with its map, the picture without and with it, and what is seen."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from studio.control.reader import Reader, find_people
from studio.files import write_whole
from studio.skeleton import rasterise
from studio.starter.annotator import pictures
from studio.starter.maps import depth_map, segment_map
from studio.starter.measure import find_edges
from studio.starter.obedience import depth_and_regions
from studio.starter.render import SEGMENTS, Bytes

TILE, GAP, BLOCK_GAP, LEFT, TOP = 128, 4, 20, 132, 30
PAPER, INK, FAINT = (255, 255, 255), (32, 33, 38), (110, 113, 122)
HEADS = ("map", "without", "with", "seen in it")


@dataclass(frozen=True)
class Strip:
    """A row: maps, off, on and seen, (N, 128, 128, 3) each, of which the first SCENES are shown.

    notes: Said in place of what is seen.
    """

    SCENES: ClassVar[int] = 3

    title: str
    maps: Bytes
    off: Bytes
    on: Bytes
    seen: Bytes | None = None
    notes: list[str] = field(default_factory=list[str])


@torch.no_grad()
def seen_by(reader: Reader | None, measure: str, images: Bytes) -> Bytes:
    """What is seen in pictures (N, s, s, 3), drawn as maps are: edges, or by the reader depth, regions or people."""
    if measure == "edge_f1" or reader is None:
        return np.stack([depth_map(find_edges(image).astype(np.uint8) * 255) for image in images])
    answers = reader(pictures(images))
    depth, regions = depth_and_regions(answers, images.shape[1])
    if measure == "depth_rmse":
        return np.stack([depth_map((row * 255).round().astype(np.uint8)) for row in depth])
    if measure == "miou":
        return np.stack([segment_map(row.astype(np.uint8)) for row in regions])
    person = answers["segments"].argmax(1).numpy() == SEGMENTS["person"]
    found = [find_people(joints.sigmoid(), person[i]) for i, joints in enumerate(answers["joints"])]
    return np.stack([np.asarray(draw_people(people, images.shape[1])) for people in found])


def draw_people(people: Sequence[np.ndarray], side: int) -> Image.Image:
    """The skeletons of people, (18, 3) each, as fractions of the side; NaN where a joint is missing."""
    rows = [np.where(np.isnan(person), 0, person * (side, side, 1)).ravel().tolist() for person in people]
    for row, person in zip(rows, people, strict=True):
        row[2::3] = np.isfinite(person[:, 0]).astype(float).tolist()
    pose = {"canvas_width": side, "canvas_height": side, "people": [{"pose_keypoints_2d": row} for row in rows]}
    return rasterise(pose, side, side)


def write_sheet(strips: Sequence[Strip], file: Path) -> None:
    """Draw the sheet and write it as a PNG."""
    block = len(HEADS) * (TILE + GAP) - GAP
    width = LEFT + Strip.SCENES * (block + BLOCK_GAP)
    sheet = Image.new("RGB", (width, TOP + len(strips) * (TILE + GAP) + BLOCK_GAP - GAP), PAPER)
    pen = ImageDraw.Draw(sheet)
    for scene in range(Strip.SCENES):
        left = LEFT + scene * (block + BLOCK_GAP)
        for column, head in enumerate(HEADS):
            pen.text((left + column * (TILE + GAP), TOP - 8), head, FAINT, font(14), anchor="ls")
        for row, strip in enumerate(strips):
            draw_block(sheet, strip, scene, (left, TOP + row * (TILE + GAP)))
    for row, strip in enumerate(strips):
        lines = strip.title.replace(" T2I", "\nT2I-Adapter").replace(" + ", "\nand ")
        pen.text((16, TOP + row * (TILE + GAP) + TILE // 2), lines, INK, font(16), anchor="lm", spacing=6)
    held = io.BytesIO()
    sheet.save(held, "PNG", optimize=True)
    write_whole(file, held.getvalue())


def draw_block(sheet: Image.Image, strip: Strip, scene: int, at: tuple[int, int]) -> None:
    """One scene of a row."""
    left, top = at
    for column, images in enumerate((strip.maps, strip.off, strip.on, strip.seen)):
        if images is not None:
            sheet.paste(Image.fromarray(images[scene]), (left + column * (TILE + GAP), top))
    if strip.notes:
        middle = left + 3 * (TILE + GAP) + TILE // 2, top + TILE // 2
        ImageDraw.Draw(sheet).text(middle, strip.notes[scene], INK, font(15), anchor="mm", align="center", spacing=6)


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own."""
    return ImageFont.load_default(size)

"""Rendered scenes on disk: arrays that are mapped into memory, and the words beside them."""

import json
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from studio.starter.captions import caption
from studio.starter.render import SIZE, Bytes, make_scene
from studio.starter.scribble import control_image
from studio.starter.shapes import Points
from studio.starter.spec import Spec, Thing

TRAIN_SEED, HELD_OUT_SEED = 0, 10_000_000
CAPTIONS, DRAWINGS, CHUNK = 4, 2, 500
SHAPES = {
    "images": (SIZE, SIZE, 3),
    "outlines": (SIZE, SIZE),
    "segments": (SIZE, SIZE),
    "depths": (SIZE, SIZE),
    "drawings": (DRAWINGS, SIZE, SIZE),
}


@dataclass(frozen=True)
class Scenes:
    """N rendered scenes, uint8: images (N, 128, 128, 3), outlines, segments, depths (N, 128, 128), drawings
    (N, 2, 128, 128).

    captions holds four for each scene; centers the middle of each thing as a fraction of the width; people the
    keypoints of each person, (18, 2), fractions of the side.
    """

    images: Bytes
    outlines: Bytes
    segments: Bytes
    depths: Bytes
    drawings: Bytes
    specs: list[Spec]
    captions: list[list[str]]
    centers: list[list[float]]
    people: list[list[Points]]

    def __len__(self) -> int:
        return len(self.specs)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Map what `render_scenes` wrote."""
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in SHAPES}
        words = [json.loads(line) for line in (folder / "words.jsonl").read_text().splitlines()]
        return cls(
            **arrays,
            specs=[read_spec(w["spec"]) for w in words],
            captions=[w["captions"] for w in words],
            centers=[w["centers"] for w in words],
            people=[[np.array(person) for person in w["people"]] for w in words],
        )


def read_spec(data: dict[str, Any]) -> Spec:
    """A spec from its plain values."""
    return Spec(**data | {"things": tuple(Thing(**thing) for thing in data["things"])})


def render_scenes(folder: Path, count: int, first_seed: int, processes: int = 2) -> None:
    """Render `count` scenes into `folder`, in parallel; what is there already is kept."""
    if (folder / "words.jsonl").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name, shape in SHAPES.items():
        open_memmap(folder / f"{name}.npy", "w+", np.uint8, (count, *shape)).flush()
    jobs = [(folder, start, min(count, start + CHUNK), first_seed) for start in range(0, count, CHUNK)]
    with get_context("spawn").Pool(processes) as pool:
        lines = [line for chunk in pool.imap(_render_chunk, jobs) for line in chunk]
    part = folder / "words.jsonl.part"
    part.write_text("\n".join(lines))
    part.rename(folder / "words.jsonl")


def _render_chunk(job: tuple[Path, int, int, int]) -> list[str]:
    folder, start, end, first_seed = job
    arrays: dict[str, NDArray[Any]] = {name: open_memmap(folder / f"{name}.npy", "r+") for name in SHAPES}
    return [line for index in range(start, end) for line in _render_one(arrays, index, first_seed + index)]


def _render_one(arrays: dict[str, NDArray[Any]], index: int, seed: int) -> Iterator[str]:
    scene, rng = make_scene(seed), random.Random(seed ^ 0x5EED)
    arrays["images"][index] = scene.image
    arrays["outlines"][index] = scene.outline
    arrays["segments"][index] = scene.segments
    arrays["depths"][index] = scene.depth
    for i in range(DRAWINGS):
        arrays["drawings"][index, i] = control_image(scene, rng)
    captions = [caption(scene.spec, rng) for _ in range(CAPTIONS)]
    centers = [round(placed.x, 4) for placed in scene.placed]
    people = [keypoints.round(4).tolist() for keypoints in scene.people]
    yield json.dumps({"spec": asdict(scene.spec), "captions": captions, "centers": centers, "people": people})

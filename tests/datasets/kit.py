"""Pictures for the tests of datasets: each its own, sharp, with much to see."""

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from studio.datasets.importing import Item


def picture(seed: int, size: tuple[int, int] = (96, 96)) -> Image.Image:
    """Coloured squares with hard edges."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", size, tuple(int(v) for v in rng.integers(0, 256, 3)))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        left, top = (int(rng.integers(0, side)) for side in size)
        right, bottom = left + int(rng.integers(2, size[0] // 2)), top + int(rng.integers(2, size[1] // 2))
        draw.rectangle((left, top, right, bottom), fill=tuple(int(v) for v in rng.integers(0, 256, 3)))
    return image


def data(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def fill(folder: Path, count: int = 5, size: tuple[int, int] = (96, 96), caption: str = "a sks cup") -> Path:
    """A healthy dataset."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        picture(seed, size).save(folder / f"{seed}.png")
        if caption:
            (folder / f"{seed}.txt").write_text(caption, "utf-8")
    return folder


def item(name: str, content: bytes) -> Item:
    return Item(name, lambda limit: content[:limit])

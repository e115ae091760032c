"""Pictures to annotate: what each annotator must take, and scenes of which one knows what it draws."""

import numpy as np
from PIL import Image, ImageDraw

SIZES = ((1, 1), (1, 7), (5, 3), (64, 48), (33, 129))


def noise(size: tuple[int, int] = (64, 48), mode: str = "RGB") -> Image.Image:
    """Random colours in any mode that a picture's file may have."""
    width, height = size
    rng = np.random.default_rng(1)
    if mode == "I;16":
        return Image.fromarray(rng.integers(0, 2**16, (height, width), np.uint16))
    if mode == "F":
        return Image.fromarray(rng.normal(128, 200, (height, width)).astype(np.float32))
    channels = {"1": 1, "L": 1, "LA": 2, "RGBA": 4}.get(mode, 3)
    values = rng.integers(0, 256, (height, width, channels), np.uint8)
    made = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
    return Image.fromarray(values.squeeze(2) if channels == 1 else values, made).convert(mode)


MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F")


def square(
    ink: str | tuple[int, ...] = "black", paper: str | tuple[int, ...] = "white", mode: str = "RGB"
) -> Image.Image:
    """A filled square from 32 to 95 on a sheet of 128 pixels."""
    image = Image.new(mode, (128, 128), paper)
    ImageDraw.Draw(image).rectangle((32, 32, 95, 95), fill=ink)
    return image


def grey(image: Image.Image) -> np.ndarray:
    """One channel of a map, (h, w), as whole numbers that do not wrap around."""
    return np.asarray(image)[..., 0].astype(int)

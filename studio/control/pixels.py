"""Pictures as the annotators want them: 8-bit RGB rows, whatever mode a picture has, and back."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
LUMINANCE = np.array((0.299, 0.587, 0.114), np.float32)  # Rec. 601
USUAL_SIDE = 512  # pixels of the shorter side at which lines are as wide as they are named
WORKING_SIDE = 1024  # of the shorter side, where lines are found: a map is shrunk for the picture that follows it


def to_pixels(image: Image.Image) -> Pixels:
    """(h, w, 3) uint8. What is transparent shows white paper; of 16 bits the upper 8 are kept."""
    if image.mode.startswith("I"):
        image = Image.fromarray(np.clip(np.asarray(image).astype(np.int64) >> 8, 0, 255).astype(np.uint8))
    elif image.mode == "F":
        image = Image.fromarray(np.clip(np.nan_to_num(np.asarray(image)), 0, 255).astype(np.uint8))
    elif image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        seen = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen)
    return np.array(image.convert("RGB"))


def to_image(values: NDArray) -> Image.Image:
    """An RGB picture of values from 0 to 255, (h, w) or (h, w, 3); what lies outside is cut off."""
    pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return Image.fromarray(pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2))


def working_pixels(image: Image.Image) -> Pixels:
    """The picture as `to_pixels` gives it, smaller if it is a large photo."""
    import cv2

    pixels = to_pixels(image)
    share = WORKING_SIDE / min(image.size)
    size = (round(image.width * share), round(image.height * share))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA) if share < 1 else pixels


def in_size_of(image: Image.Image, values: NDArray) -> NDArray:
    """What was found on working pixels, (h, w), for every pixel of the picture."""
    import cv2

    found = values.astype(np.float32)
    return found if found.shape[::-1] == image.size else cv2.resize(found, image.size, interpolation=cv2.INTER_LINEAR)


def enlargement(pixels: NDArray) -> float:
    """By how much lines must be wider than on a picture of the usual size, at least 1."""
    return max(1.0, min(pixels.shape[:2]) / USUAL_SIDE)


def blurred(pixels: NDArray, sigma: float) -> NDArray:
    """The values, (h, w, 3), under a Gaussian of `sigma` pixels, as float32; a wide one on a smaller copy."""
    import cv2

    values = pixels.astype(np.float32)
    height, width = values.shape[:2]
    coarser = max(1, int(sigma / 4))  # sigma stays at 4 pixels or more, beside which resizing blurs by nothing
    small = (max(1, width // coarser), max(1, height // coarser))
    if coarser > 1:
        values = cv2.resize(values, small, interpolation=cv2.INTER_AREA)
    values = cv2.GaussianBlur(values, (0, 0), sigma / coarser, borderType=cv2.BORDER_REPLICATE)
    return cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR) if coarser > 1 else values


def darkness(differences: NDArray, least: float, reach: float) -> NDArray:
    """How much darker each pixel is than what surrounds it, (h, w), from the same by colour, (h, w, 3).

    It is the luminance that counts, so that a border has its line on one side; where that differs by less than
    `least` for `reach` pixels around, the colour that differs most: red beside a green as light.
    """
    import cv2

    seen = (differences @ LUMINANCE).reshape(differences.shape[:2]).astype(np.float32)
    side = 2 * round(reach) + 1
    near = cv2.dilate(np.abs(seen), np.ones((side, side), np.uint8))
    return np.where(near > least, seen, differences.max(axis=2))


def check_option(name: str, value: float, low: float, high: float) -> None:
    """Raises: ValueError, if the value is not a number from low to high."""
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}, which is not between {low} and {high}.")

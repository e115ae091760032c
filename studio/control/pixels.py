"""Pictures as the annotators want them: 8-bit RGB rows, whatever mode a picture has, and back."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
USUAL_SIDE = 512  # pixels of the shorter side at which widths of lines and blurs are as they are named


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


def enlargement(pixels: NDArray) -> float:
    """By how much lines must be wider than on a picture of the usual size, at least 1: a map is shrunk later."""
    return max(1.0, min(pixels.shape[:2]) / USUAL_SIDE)


def blurred(pixels: NDArray, sigma: float) -> NDArray:
    """The values, (h, w, 3), under a Gaussian of `sigma` pixels, as float32."""
    import cv2

    return cv2.GaussianBlur(pixels.astype(np.float32), (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)


def check_option(name: str, value: float, low: float, high: float) -> None:
    """Raises: ValueError, if the value is not a number from low to high."""
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}, which is not between {low} and {high}.")

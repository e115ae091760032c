"""Where a picture may change: masks, the part that is made anew, and how it is put back. Plain pixels, no torch.

A mask is a picture of mode L that is 255 where the picture may change and 0 where it is kept. A box is left, top, right
and bottom, in pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter

from studio.errors import InvalidRequestError

SURROUNDINGS = {"original": "edge", "fill": "blur", "noise": "noise", "nothing": "edge"}
OVERLAP = 8
LARGEST = 8192
GREY = 127.5

Box = tuple[int, int, int, int]
Size = tuple[int, int]
Values = NDArray[np.float32]


@dataclass(frozen=True)
class Window:
    """Which part of a picture is made: `box` of one that measures `whole`, at `size`; sizes are width and height."""

    whole: Size
    box: Box
    size: Size

    def seen(self, image: Image.Image, scaling: Image.Resampling = Image.Resampling.LANCZOS) -> Image.Image:
        """What a picture that measures `whole` shows in the box, at `size`."""
        part = image if self.box == (0, 0, *image.size) else image.crop(self.box)
        return part if part.size == self.size else part.resize(self.size, scaling)


def opaque(image: Image.Image) -> Image.Image:
    """The picture in RGB; what is transparent shows white paper."""
    return _on_paper(image, "white").convert("RGB")


def on_black(image: Image.Image) -> Image.Image:
    """The picture in RGB; what is transparent is black, which is nothing on a map or a mask."""
    return _on_paper(image, "black").convert("RGB")


def changeable(image: Image.Image, size: Size) -> Image.Image:
    """A mask of that size (width, height): 255 where the picture is more white than black, and transparent is black."""
    grey = on_black(image).convert("L")
    fitted = grey if grey.size == size else grey.resize(size)
    return fitted.point([0] * 128 + [255] * 128)


def feathered(mask: Image.Image, blur: int) -> Image.Image:
    """The mask with soft borders: a Gaussian of `blur` pixels; 0 leaves them hard."""
    return mask.filter(ImageFilter.GaussianBlur(blur)) if blur else mask


def region(mask: Image.Image, padding: int, size: Size) -> Box:
    """The part of the picture to make anew, for a generation of that size (width, height).

    It is what the mask touches, `padding` pixels wider on every side, and as much more as gives it the aspect of
    `size`; at the borders of the picture it is shifted, and a picture that is too small for the aspect bounds it.
    diffusers calls it the crop region of `padding_mask_crop`; A1111 calls this "only masked". An empty mask gives the
    whole picture.
    """
    touched = mask.getbbox()
    if touched is None:
        return (0, 0, *mask.size)
    left, top, right, bottom = touched
    left, right = max(0, left - padding), min(mask.width, right + padding)
    top, bottom = max(0, top - padding), min(mask.height, bottom + padding)
    aspect = size[0] / size[1]
    if (right - left) / (bottom - top) > aspect:
        top, bottom = _spread(top, bottom, (right - left) / aspect, mask.height)
    else:
        left, right = _spread(left, right, (bottom - top) * aspect, mask.width)
    return left, top, right, bottom


def put_back(source: Image.Image, made: Image.Image, soft: Image.Image, box: Box) -> Image.Image:
    """The source with what was made of its part `box` laid over it, as far as the soft mask says.

    Where the mask is 0 the pixels are the source's own, bit for bit. diffusers calls this `apply_overlay`.
    """
    width, height = box[2] - box[0], box[3] - box[1]
    part = made if made.size == (width, height) else made.resize((width, height), Image.Resampling.LANCZOS)
    whole = source.copy()
    whole.paste(part, box[:2], soft.crop(box))
    return whole


def begun_from(picture: Image.Image, mask: Image.Image, fill: str) -> Image.Image:
    """The picture that a generation begins with: under the mask its own pixels, or its blurred surroundings ("fill").

    The other fills replace latents, not pixels, so the picture is as it was for them.
    """
    return surrounded(picture, mask) if fill == "fill" else picture


def surrounded(picture: Image.Image, mask: Image.Image) -> Image.Image:
    """The picture with everything under the mask painted over in the colours around it, softer farther inside."""
    pixels = np.asarray(picture.convert("RGB"), np.float32)
    kept = (np.asarray(mask.convert("L")) < 128)[..., None].astype(np.float32)
    if not kept.any():
        return Image.new("RGB", picture.size, (round(GREY),) * 3)
    return Image.fromarray(np.clip(np.rint(_pulled(pixels, kept)), 0, 255).astype(np.uint8))


def grow(picture: Image.Image, sides: Sequence[int], surroundings: str = "edge") -> Image.Image:
    """The picture on a larger canvas, for outpainting.

    Args:
        sides: Pixels more at the left, top, right and bottom, 0 or more.
        surroundings: What the new area shows: "edge", the outermost pixels again; "blur", the same softly; "noise".
    Returns: RGB; the picture's own pixels are as they were.
    Raises: InvalidRequestError, if the canvas would be larger than 8192 pixels a side or a side is below 0.
    """
    own = opaque(picture)
    left, top, right, bottom = check_sides(sides, own.size)
    edges = np.pad(np.asarray(own), ((top, bottom), (left, right), (0, 0)), "edge")
    canvas = Image.fromarray(edges)
    if surroundings == "blur":
        canvas = surrounded(canvas, grown_mask(None, own.size, sides, overlap=0))
    elif surroundings == "noise":
        canvas = Image.fromarray(np.random.default_rng(0).integers(0, 256, edges.shape, np.uint8))
    canvas.paste(own, (left, top))
    return canvas


def grown_mask(mask: Image.Image | None, size: Size, sides: Sequence[int], *, overlap: int = OVERLAP) -> Image.Image:
    """The mask of the larger canvas: what is new, `overlap` pixels of the picture beside it, and what was painted.

    mask: of the picture, whose `size` is width and height; None if nothing is painted.
    """
    left, top, right, bottom = check_sides(sides, size)
    canvas = Image.new("L", (size[0] + left + right, size[1] + top + bottom), 255)
    kept = [inset if side else 0 for side, inset in zip((left, top, right, bottom), [overlap] * 4, strict=True)]
    box = (left + kept[0], top + kept[1], left + size[0] - kept[2], top + size[1] - kept[3])
    if box[0] < box[2] and box[1] < box[3]:
        canvas.paste(0, box)
    if mask is not None:
        painted = Image.new("L", canvas.size, 0)
        painted.paste(changeable(mask, size), (left, top))
        canvas = ImageChops.lighter(canvas, painted)
    return canvas


def check_sides(sides: Sequence[int], size: Size) -> Box:
    """The four numbers, if the canvas can be made. Raises: InvalidRequestError."""
    if len(sides) != 4 or any(side < 0 for side in sides):
        raise _wrong_frame(f"its sides grow by {', '.join(map(str, sides))[:60]}")
    left, top, right, bottom = sides
    width, height = size[0] + left + right, size[1] + top + bottom
    if max(width, height) > LARGEST:
        raise _wrong_frame(f"it would measure {width} x {height} pixels, and {LARGEST} a side are the most")
    return left, top, right, bottom


def _wrong_frame(what: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"The frame cannot be used: {what}.",
        field="outpaint",
        hint="Give the pixels to add at the left, top, right and bottom, 0 or more each.",
    )


def _spread(low: int, high: int, wanted: float, limit: int) -> tuple[int, int]:
    """A stretch of the wanted length around low to high, within 0 to limit."""
    more = int(wanted - (high - low))
    length = min(high - low + more, limit)
    start = min(max(low - more // 2, 0), limit - length)
    return start, start + length


def _pulled(values: Values, known: Values) -> Values:
    """(h, w, 3) with a value everywhere: what is not known from a coarser copy of what is, and so on."""
    if known.all():
        return values
    height, width = (max(1, (side + 1) // 2) for side in values.shape[:2])
    weight = _scaled(known, (width, height), Image.Resampling.BOX)
    coarse = _scaled(values * known, (width, height), Image.Resampling.BOX) / np.maximum(weight, 1e-6)
    filled = _pulled(coarse, (weight > 0).astype(np.float32))
    smooth = _scaled(filled, (values.shape[1], values.shape[0]), Image.Resampling.BILINEAR)
    return values * known + smooth * (1 - known)


def _scaled(values: Values, size: Size, resampling: Any) -> Values:
    planes = [Image.fromarray(values[..., i]).resize(size, resampling) for i in range(values.shape[2])]
    return np.stack([np.asarray(plane) for plane in planes], axis=2)


def _on_paper(image: Image.Image, paper: str) -> Image.Image:
    if image.mode not in ("RGBA", "LA", "PA") and "transparency" not in image.info:
        return image
    seen = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", seen.size, paper), seen)

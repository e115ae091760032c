"""Foreign bytes to a plain picture: limits are checked on the header, before a pixel is decoded."""

import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageCms, ImageFile, ImageOps

from studio.errors import AssetError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
)
PLAIN_MODES = ("L", "RGB", "RGBA")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a picture may measure: pixels a side, pixels in all, bytes of the file, frames of an animation."""

    side: int = 8192
    pixels: int = 64 * 2**20
    bytes: int = 96 * 2**20
    frames: int = 1000


def decode_image(data: bytes, limits: Limits) -> Image.Image:
    """Read a picture: upright, mode L, RGB or RGBA, the first frame of an animation.

    Raises: AssetError, saying what was found, for anything too large, broken or not a picture.
    """
    if len(data) > limits.bytes:
        raise AssetError(f"The file has {len(data) / 2**20:.0f} MB; at most {limits.bytes // 2**20} MB are read.")
    image = open_header(BytesIO(data))
    try:
        _check_frames(image, data, limits)
        check_size(image.size, limits)
        image.load()
        return to_plain(_in_srgb(ImageOps.exif_transpose(image)))
    except BROKEN as error:
        raise AssetError(f"The picture is damaged or incomplete ({error}).", hint="Save or export it again.") from error


def open_header(file: BinaryIO) -> ImageFile.ImageFile:
    """The picture's header; no pixel is decoded. Raises: AssetError, if it is none of the formats that we read."""
    Image.init()
    head = file.read(1024)
    file.seek(0)
    for name in FORMATS:
        factory, accept = Image.OPEN[name]
        if accept is not None and accept(head[:16]) is not True:
            continue
        try:
            return factory(file, "")  # type: ignore[return-value]
        except BROKEN as error:
            raise AssetError(f"The {name} picture is damaged or incomplete ({error}).") from error
    raise AssetError(_what_else(head))


def check_size(size: tuple[int, int], limits: Limits) -> None:
    """Refuse a picture that is too large to decode."""
    width, height = size
    if min(size) < 1 or max(size) > limits.side or width * height > limits.pixels:
        raise AssetError(
            f"The picture measures {width} x {height} pixels; at most {limits.side} a side and "
            f"{limits.pixels // 10**6} million in all are read.",
            hint="Make it smaller first.",
        )


def to_plain(image: Image.Image) -> Image.Image:
    """The same picture as L, RGB or RGBA without any metadata; transparency is kept."""
    if image.mode.startswith("I"):
        image = _from_16_bit(image)
    elif image.mode in ("LA", "La", "PA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
    elif image.mode == "1":
        image = image.convert("L")
    elif image.mode not in PLAIN_MODES:
        image = image.convert("RGB")
    plain = image.copy()
    plain.info = {}
    return plain


def _in_srgb(image: Image.Image) -> Image.Image:
    """A photo in the colours of the web, by its own colour profile; one without, or with a broken one, as it is."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "CMYK"):
        return image
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        target = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))  # pyright: ignore
        return ImageCms.profileToProfile(image, source, target, outputMode="RGB") or image
    except (OSError, ImageCms.PyCMSError):
        return image


def _from_16_bit(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    return Image.fromarray(np.clip(values >> 8, 0, 255).astype(np.uint8))


def _check_frames(image: ImageFile.ImageFile, data: bytes, limits: Limits) -> None:
    frames = count_gif_frames(data, limits.frames) if image.format == "GIF" else getattr(image, "n_frames", 1)
    if frames > limits.frames:
        raise AssetError(
            f"The animation has more than {limits.frames} frames.", hint="Save the frame you want as a PNG picture."
        )


def count_gif_frames(data: bytes, limit: int) -> int:
    """Frames of a GIF file, counted from its block structure without decoding; counting ends just above `limit`."""
    at, frames = 13 + _color_table(data[10]), 0
    while at < len(data) and frames <= limit:
        kind = data[at]
        if kind == 0x2C and at + 9 < len(data):
            frames += 1
            at = _after_blocks(data, at + 11 + _color_table(data[at + 9]))
        elif kind == 0x21:
            at = _after_blocks(data, at + 2)
        else:
            break
    return frames


def _color_table(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _after_blocks(data: bytes, at: int) -> int:
    while at < len(data) and data[at]:
        at += data[at] + 1
    return at + 1


def _what_else(head: bytes) -> str:
    if not head:
        return "The file is empty."
    head = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith(b"<svg") or (head.startswith((b"<?xml", b"<!")) and b"<svg" in head):
        return "That is an SVG drawing, which has no pixels; export it as PNG first."
    return "That file is not a picture of a kind that the studio reads."

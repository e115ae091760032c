"""Finished pictures as PNG files that carry their settings, and settings out of pictures of any program.

Two text chunks: `parameters`, the text other programs read, and `maquette`, our params as JSON.
"""

import json
import math
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, ImageFile
from PIL.PngImagePlugin import PngInfo

from studio import __version__
from studio.errors import AssetError, InvalidRequestError
from studio.gallery.decode import BROKEN, open_header
from studio.gallery.infotext import PictureSettings, read_infotext, write_infotext
from studio.params import GenerationParams

APP = "Maquette"
EXIF_IFD, USER_COMMENT = 0x8769, 0x9286
NO_SETTINGS = "This picture carries no settings."


@dataclass(frozen=True, kw_only=True)
class Made:
    """What a picture of ours says about itself.

    params are those of this one picture (a count of 1, its own seed), so that they alone make it again; created is in
    seconds since 1970; seconds are wall times by phase.
    """

    params: GenerationParams
    owner: str = ""
    job_id: str = ""
    created: float = 0.0
    seconds: Mapping[str, float] = field(default_factory=dict[str, float])
    warnings: tuple[str, ...] = ()


def encode_png(image: Image.Image, made: Made) -> bytes:
    """The file of a finished picture, pixels untouched."""
    chunks = PngInfo()
    chunks.add_text("parameters", sound_text(write_infotext(made.params)))
    body = {"app": APP, "version": __version__, **asdict(made)}
    chunks.add_text("maquette", json.dumps(body, allow_nan=False))
    buffer = BytesIO()
    image.save(buffer, "PNG", pnginfo=chunks)
    return buffer.getvalue()


def read_made(source: Path | bytes) -> Made | None:
    """What a picture of ours says about itself; None for any other. Raises: AssetError, if it cannot be read."""
    with _opened(source) as header:
        return _made(_text(header, "maquette"))


def picture_size(source: Path | bytes) -> tuple[int, int]:
    """Width and height, from the header alone. Raises: AssetError."""
    with _opened(source) as header:
        return header.size


def read_png(source: Path | bytes, has_asset: Callable[[str], bool] | None = None) -> PictureSettings:
    """The settings that made a picture; our own win where both texts are there.

    Args:
        has_asset: Tells which assets are here; what names others is left out with a note. None: not checked.

    Raises: AssetError, if it is no picture; InvalidRequestError, if it carries no settings.
    """
    with _opened(source) as header:
        ours, text = _text(header, "maquette"), _text(header, "parameters") or _user_comment(header)
    if made := _made(ours):
        settings = PictureSettings(made.params.to_request())
    elif text:
        settings = read_infotext(text)
    else:
        raise InvalidRequestError(
            NO_SETTINGS, field="picture", hint="Drop one that was saved by an image generator, not a screenshot."
        )
    if ours and not made:
        settings = replace(settings, notes=(*settings.notes, "The studio's own settings in it could not be read."))
    return _here(settings, has_asset) if has_asset else settings


def _here(settings: PictureSettings, has_asset: Callable[[str], bool]) -> PictureSettings:
    request, notes = settings.request, list(settings.notes)
    controls = tuple(unit for unit in request.controls if has_asset(unit.map))
    if len(controls) < len(request.controls):
        notes.append("A control picture is not in this studio's folder, so it is left out.")
    if request.init_image and not has_asset(request.init_image):
        notes.append("The picture that this one was made from is not in this studio's folder; choose it again.")
        request = replace(request, init_image=None, mask_image=None)
    if request.mask_image and not has_asset(request.mask_image):
        notes.append("The mask is not in this studio's folder, so it is left out.")
        request = replace(request, mask_image=None)
    return PictureSettings(replace(request, controls=controls), tuple(notes))


def _made(text: str) -> Made | None:
    try:
        body: Any = json.loads(text)
        params = GenerationParams.from_dict(body["params"])
        created = float(body.get("created", 0))
        owner, job_id = sound_text(str(body["owner"])), sound_text(str(body["job_id"]))
        return Made(params=params, owner=owner, job_id=job_id, created=created if math.isfinite(created) else 0.0)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, InvalidRequestError):
        return None


@contextmanager
def _opened(source: Path | bytes) -> Generator[ImageFile.ImageFile]:
    try:
        with source.open("rb") if isinstance(source, Path) else BytesIO(source) as file:
            yield open_header(file)
    except OSError as error:
        name = source.name if isinstance(source, Path) else "The picture"
        raise AssetError(f"{name} cannot be read: {error.strerror or error}.") from error


def _text(header: ImageFile.ImageFile, key: str) -> str:
    value = header.info.get(key, "")
    return value if isinstance(value, str) else ""


def _user_comment(header: ImageFile.ImageFile) -> str:
    try:
        # a PNG's own getexif decodes every pixel to find what stands behind them
        raw = Image.Image.getexif(header).get_ifd(EXIF_IFD).get(USER_COMMENT, b"")
    except BROKEN:
        return ""
    if isinstance(raw, str):
        return raw
    kind, body = bytes(raw[:8]), bytes(raw[8:])
    if kind != b"UNICODE\0":
        return body.decode("utf-8", "replace")
    texts = [body.decode(order, "replace") for order in ("utf-16-be", "utf-16-le")]
    return max(texts, key=lambda text: sum(c.isascii() for c in text))


def sound_text(text: str) -> str:
    """Text that a PNG chunk and a database can hold: no NUL, no half of a surrogate pair."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()

"""What is seen of a picture once, and remembered until its file changes: size, content, sharpness, fingerprint."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from studio.datasets.folder import Picture, on_white, open_picture
from studio.errors import AssetError
from studio.files import write_whole

GRID = 8  # the fingerprint: so many squares a side, each with its mean colour
SHARP_SIDE = 256  # pixels of the longer side at which sharpness is measured
VERSION = 1
THREADS = 2


@dataclass(frozen=True, kw_only=True)
class Look:
    """What is known of one picture.

    Fields:
        content: The sha256 of its file. width, height: upright, pixels. clear: whether some of it is transparent.
        blur: How much of its fine detail is left when it is blurred once more: about 0.1 in a sharp picture, near 1
            in a blurred one.
        print: Mean colours of GRID x GRID squares, 0 to 255, as hexadecimal digits.
        trouble: Why it cannot be used; then the rest is empty.
    """

    content: str = ""
    width: int = 0
    height: int = 0
    clear: bool = False
    blur: float = 0.0
    print: str = ""
    trouble: str = ""

    @property
    def colors(self) -> NDArray[np.int16]:
        """The fingerprint as numbers, (GRID * GRID * 3,)."""
        return np.frombuffer(bytes.fromhex(self.print), np.uint8).astype(np.int16)


def look_at(path: Path) -> Look:
    """Read the whole picture; never raises what is wrong with it."""
    try:
        image = open_picture(path)
    except AssetError as error:
        return Look(trouble=error.sentence())
    with path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    clear = image.mode == "RGBA" and image.getchannel("A").getextrema()[0] != 255
    plain = on_white(image)
    return Look(
        content=content,
        width=image.width,
        height=image.height,
        clear=clear,
        blur=round(blur_of(plain), 4),
        print=plain.resize((GRID, GRID), Image.Resampling.BOX).tobytes().hex(),
    )


def blur_of(image: Image.Image) -> float:
    """The variance of the Laplacian of the picture blurred once more, over that of the picture as it is; 0 for a plain
    area, which has nothing to be sharp.

    Source: Crété et al., "The blur effect", SPIE 2007: a second blur changes a blurred picture little.
    """
    grey = image.convert("L")
    grey.thumbnail((SHARP_SIDE, SHARP_SIDE), Image.Resampling.BOX)
    detail, left = (_laplacian(one) for one in (grey, grey.filter(ImageFilter.GaussianBlur(1.5))))
    return 0.0 if detail < 1.0 else left / detail


def _laplacian(grey: Image.Image) -> float:
    values = np.asarray(grey, np.float32)
    if min(values.shape) < 3:
        return 0.0
    middle = values[1:-1, 1:-1]
    around = values[:-2, 1:-1] + values[2:, 1:-1] + values[1:-1, :-2] + values[1:-1, 2:]
    return float((4 * middle - around).var())


class Looks:
    """What was seen of one dataset's pictures, kept in a file. Args: file: where; it may be deleted at any time."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._known = _read(file)

    def known(self, pictures: Iterable[Picture]) -> dict[str, Look]:
        """By name, what is known already and still true; no picture is opened."""
        pairs = [(one.name, self._known.get(one.name), _signature(one.path)) for one in pictures]
        return {name: row[1] for name, row, now in pairs if row is not None and row[0] == now}

    def all(self, pictures: Iterable[Picture]) -> dict[str, Look]:
        """By name, in the order of the pictures; those that are new or changed are looked at, and remembered."""
        given = list(pictures)
        known = self.known(given)
        new = [one for one in given if one.name not in known]
        with ThreadPoolExecutor(THREADS) as pool:
            seen = dict(zip([one.name for one in new], pool.map(_look_at, new), strict=True))
        rows = known | seen
        if seen or len(rows) != len(self._known):
            self._known = {one.name: (_signature(one.path), rows[one.name]) for one in given}
            self._write()
        return {one.name: rows[one.name] for one in given}

    def _write(self) -> None:
        rows = {name: [signature, asdict(look)] for name, (signature, look) in self._known.items()}
        write_whole(self.file, json.dumps({"version": VERSION, "rows": rows}).encode())


def _look_at(picture: Picture) -> Look:
    return look_at(picture.path)


def _signature(path: Path) -> str:
    with suppress(OSError):
        found = path.stat()
        return f"{found.st_mtime_ns:x}-{found.st_size:x}"
    return ""


def _read(file: Path) -> dict[str, tuple[str, Look]]:
    try:
        data: Any = json.loads(file.read_bytes())
        if data["version"] != VERSION:
            return {}
        rows = cast(Mapping[str, Any], data["rows"])
        return {name: (str(signature), Look(**look)) for name, (signature, look) in rows.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}

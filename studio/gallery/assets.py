"""Pictures and editor data by content: the id of an asset is the sha256 of its file."""

import hashlib
import json
import re
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from studio.errors import AssetError
from studio.files import write_whole
from studio.gallery.decode import BROKEN, Limits, check_size, decode_image, to_plain
from studio.params import asset_path

ASSET_ID = re.compile(r"[0-9a-f]{64}")


class AssetStore:
    """The folder `assets/ab/<sha256>.png` (or .json). What is put in twice is kept once; nothing is ever changed."""

    def __init__(self, root: Path, limits: Limits | None = None) -> None:
        self.root = root
        self.limits = limits or Limits()

    def put_image(self, source: Image.Image | bytes | Path) -> str:
        """Keep a picture as a PNG of mode L, RGB or RGBA, upright, without metadata; its id.

        Raises: AssetError, saying what was found, if it is too large, damaged or no picture; StorageError.
        """
        if isinstance(source, Image.Image):
            check_size(source.size, self.limits)
            image = to_plain(source)
        else:
            image = decode_image(self._read(source) if isinstance(source, Path) else source, self.limits)
        buffer = BytesIO()
        image.save(buffer, "PNG")
        return self._put(buffer.getvalue(), ".png")

    def put_json(self, value: dict[str, Any] | list[Any]) -> str:
        """Keep plain values, such as a drawing's strokes; equal values have equal ids."""
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return self._put(text.encode(), ".json")

    def open_image(self, asset_id: str) -> Image.Image:
        """The picture, decoded. Raises: AssetError, if it is not there or was damaged on disk."""
        try:
            with Image.open(self._existing(asset_id, ".png"), formats=("PNG",)) as image:
                image.load()
                return image
        except BROKEN as error:
            raise AssetError(
                f"The picture {asset_id[:12]} was damaged on the disk ({error}).", hint="Add it again."
            ) from error

    def open_json(self, asset_id: str) -> dict[str, Any] | list[Any]:
        """The values that `put_json` kept. Raises: AssetError, if they are not there or were damaged on disk."""
        try:
            return json.loads(self._existing(asset_id, ".json").read_bytes())
        except (OSError, ValueError) as error:
            raise AssetError(f"The data {asset_id[:12]} was damaged on the disk ({error}).") from error

    def path(self, asset_id: str, suffix: str = ".png") -> Path:
        """Where that asset lies, there or not. Raises: AssetError, if the id is no sha256."""
        if not ASSET_ID.fullmatch(asset_id):
            raise AssetError(f"{asset_id[:70]!r} is not the id of a picture.", hint="Ids have 64 digits, 0-9 and a-f.")
        return asset_path(self.root, asset_id, suffix)

    def exists(self, asset_id: str, suffix: str = ".png") -> bool:
        """Whether that asset is here."""
        return bool(ASSET_ID.fullmatch(asset_id)) and asset_path(self.root, asset_id, suffix).is_file()

    def _existing(self, asset_id: str, suffix: str) -> Path:
        path = self.path(asset_id, suffix)
        if not path.is_file():
            raise AssetError(f"The picture {asset_id[:12]} is not here.", hint="Add it again.")
        return path

    def _read(self, path: Path) -> bytes:
        try:
            with path.open("rb") as file:
                return file.read(self.limits.bytes + 1)
        except OSError as error:
            raise AssetError(f"{path.name} cannot be read: {error.strerror or error}.") from error

    def _put(self, data: bytes, suffix: str) -> str:
        asset_id = hashlib.sha256(data).hexdigest()
        path = asset_path(self.root, asset_id, suffix)
        if not path.is_file():
            write_whole(path, data)
        return asset_id

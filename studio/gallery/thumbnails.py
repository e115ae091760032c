"""Small WebP copies of finished pictures."""

from io import BytesIO
from pathlib import Path

from PIL import Image

from studio.errors import AssetError
from studio.files import write_whole
from studio.gallery.decode import Limits, decode_image

SIDE = 384
QUALITY = 85


def write_thumbnail(image: Image.Image, path: Path) -> None:
    """Keep a copy of at most SIDE pixels a side. Raises: StorageError."""
    small = image.copy()
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    small.save(buffer, "WEBP", quality=QUALITY)
    write_whole(path, buffer.getvalue())


def make_thumbnail(picture: Path, path: Path) -> None:
    """The same from the file of a picture. Raises: AssetError, if that is gone or damaged; StorageError."""
    try:
        data = picture.read_bytes()
    except OSError as error:
        raise AssetError(f"The picture {picture.name} is no longer there.", hint="Delete its entry.") from error
    write_thumbnail(decode_image(data, Limits()), path)

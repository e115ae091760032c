"""Datasets as front ends see them, and the small pictures that they show."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image

from studio.datasets.doctor import Finding
from studio.datasets.folder import Picture, content_of, open_mask, open_picture
from studio.datasets.store import Entry
from studio.files import write_whole
from studio.gallery.thumbnails import write_thumbnail

Plain = dict[str, Any]
LABELS = {
    "duplicates": "A copy of another",
    "near-duplicates": "Nearly the same as another",
    "identical": "The same as all others",
    "blurred": "Looks blurred",
    "tiny": "Too small",
    "cropped": "Much is cut off",
    "alpha": "Transparent in places",
    "unlabelled": "No caption",
    "trigger": "Lacks the word that calls it",
}
QUIET = 0.35  # how light is shown what a mask leaves out
LOOKED_AT = 768  # pixels of the longer side that an annotator is shown


def link(name: str, kind: str, file: str) -> str:
    """Where a file of a dataset is fetched. kind: thumbs, files or masks."""
    return f"api/v1/datasets/{quote(name, safe='')}/{kind}/{quote(file)}"


def summary(name: str, entries: Sequence[Entry], pictures: Sequence[Picture], said: Sequence[Finding]) -> Plain:
    """A row of the list. entries: the pictures that were looked at already, which the warnings are about."""
    good = [entry.picture for entry in entries if not entry.look.trouble] or list(pictures)
    captions = sum(1 for entry in entries if entry.caption)
    cover = link(name, "thumbs", good[0].name) if good else ""
    return {"name": name, "pictures": len(pictures), "captions": captions, "warnings": len(said), "cover": cover}


def view(name: str, entries: Sequence[Entry], said: Sequence[Finding]) -> Plain:
    """All of a dataset: {name, pictures, doctor}."""
    rows = [_row(name, entry, said, len(entries)) for entry in entries]
    return {"name": name, "pictures": rows, "doctor": [asdict(finding) for finding in said]}


def _row(name: str, entry: Entry, said: Sequence[Finding], count: int) -> Plain:
    picture, look = entry.picture, entry.look
    kinds = Counter(one.kind for one in said if picture.name in one.files and len(one.files) < count)
    trouble = [{"kind": kind, "text": LABELS[kind]} for kind in kinds if kind in LABELS]
    return {
        "file": picture.name,
        "width": look.width,
        "height": look.height,
        "caption": entry.caption or "",
        "mask": picture.mask is not None,
        "thumb": link(name, "thumbs", picture.name),
        "trouble": [{"kind": "corrupt", "text": look.trouble}] if look.trouble else trouble,
    }


def thumbnail(picture: Picture, folder: Path) -> Path:
    """A small WebP of it, made if it is not there; what a mask leaves out is pale.

    Raises: AssetError, if the picture cannot be read; StorageError.
    """
    path = folder / f"{content_of(picture.path)[:32]}{content_of(picture.mask)[:16]}.webp"
    if not path.is_file():
        image = open_picture(picture.path)
        image.thumbnail((LOOKED_AT, LOOKED_AT))
        write_thumbnail(_paled(picture, image), path)
    return path


def _paled(picture: Picture, image: Image.Image) -> Image.Image:
    if picture.mask is None:
        return image
    mask = open_mask(picture, image)
    assert mask is not None, "it has a file"
    white = Image.new("RGB", image.size, "white")
    plain = image.convert("RGB")
    return Image.composite(plain, Image.blend(white, plain, QUIET), mask.resize(image.size))


def looked_at(picture: Picture) -> bytes:
    """A PNG of it as annotators are shown it. Raises: AssetError."""
    image = open_picture(picture.path)
    image.thumbnail((LOOKED_AT, LOOKED_AT))
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def mask_png(picture: Picture, folder: Path) -> Path | None:
    """A PNG of its mask, as large as the picture; None without one. Raises: AssetError; StorageError."""
    if picture.mask is None:
        return None
    path = folder / f"{content_of(picture.path)[:32]}{content_of(picture.mask)[:16]}-mask.png"
    if not path.is_file():
        image = open_picture(picture.path)
        mask = open_mask(picture, image)
        assert mask is not None, "it has a file"
        buffer = BytesIO()
        mask.resize(image.size).save(buffer, "PNG")
        write_whole(path, buffer.getvalue())
    return path

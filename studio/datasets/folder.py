"""A dataset on the disk: any folder of pictures, with captions, masks and control maps beside them.

Captions are NAME.txt, or NAME.caption, beside NAME.png. Masks are NAME-masklabel.png, or NAME.png in a folder `masks`;
control maps are NAME-map.png, or NAME.png in a folder `map`. A file that is named so and whose picture is not there is
a picture itself: none is ever lost to its name.

Source: -masklabel.png is OneTrainer's way, .caption one of sd-scripts'.
"""

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from studio.errors import AssetError
from studio.gallery.decode import Limits, decode_image

PICTURES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".gif", ".bmp")
UNREAD = (".tif", ".tiff", ".heic", ".heif", ".avif", ".jxl", ".psd", ".svg")  # named as pictures, and not read
CAPTIONS = (".txt", ".caption")  # the first that is there counts
MASK, MAP = ("-masklabel", "masks"), ("-map", "map")
SKIPPED = ("__MACOSX",)
LIMITS = Limits()


@dataclass(frozen=True)
class Picture:
    """One picture: its path in the dataset, with slashes; its file; the files of its mask and map, if there are."""

    name: str
    path: Path
    mask: Path | None = None
    map: Path | None = None

    @property
    def captions(self) -> tuple[Path, ...]:
        """Where its caption may lie."""
        return tuple(self.path.with_suffix(suffix) for suffix in CAPTIONS)


def list_pictures(folder: Path) -> list[Picture]:
    """Every picture of the folder and of those in it, by name; hidden files are left out."""
    found = {name: folder / name for name in _walk(folder) if is_picture(name)}
    stems = {stem_of(name) for name in found}
    masks = _beside(found, stems, MASK)
    maps = _beside(found, stems, MAP)
    taken = {*masks.values(), *maps.values()}
    return [
        Picture(name, found[name], *(found.get(of.get(stem_of(name), "")) for of in (masks, maps)))
        for name in sorted(found)
        if name not in taken
    ]


def is_picture(name: str) -> bool:
    """Whether a file of that name is a picture, or would be one if we could read it."""
    return name.lower().endswith(PICTURES + UNREAD)


def stem_of(name: str) -> str:
    """The name without the file's ending."""
    return name[: len(name) - len(Path(name).suffix)]


def owners(name: str, kind: tuple[str, str]) -> list[str]:
    """The pictures, without their endings, whose mask (or map) a file of that name would be."""
    ending, home = kind
    stem = stem_of(name)
    parent, _, last = stem.rpartition("/")
    above, _, here = parent.rpartition("/")
    found = [stem[: -len(ending)]] if last.endswith(ending) and last != ending else []
    found += [f"{above}/{last}" if above else last] if here == home else []
    return found + ([stem.removeprefix(f"{home}/")] if stem.startswith(f"{home}/") else [])


def open_picture(path: Path) -> Image.Image:
    """The picture upright, mode L, RGB or RGBA, the first frame of an animation.

    Raises: AssetError, saying what is wrong with it.
    """
    try:
        with path.open("rb") as file:
            return decode_image(file.read(LIMITS.bytes + 1), LIMITS)
    except OSError as error:
        raise AssetError(f"{path.name} cannot be read: {error.strerror or error}.") from error


def open_mask(picture: Picture, shown: Image.Image) -> Image.Image | None:
    """What counts of the picture, mode L, of any size: its mask's file, else its transparency; None is all of it.

    Raises: AssetError, if the mask cannot be read.
    """
    if picture.mask is not None:
        return mask_of(open_picture(picture.mask))
    return shown.getchannel("A") if _is_clear(shown) else None


def mask_of(image: Image.Image) -> Image.Image:
    """A mask as it was painted, mode L: what is not transparent counts, or where nothing is, what is light."""
    return image.getchannel("A") if _is_clear(image) else image.convert("L")


def on_white(image: Image.Image) -> Image.Image:
    """The picture in RGB; what is transparent is white, as cut-out pictures are shown."""
    if image.mode != "RGBA":
        return image.convert("RGB")
    sheet = Image.new("RGB", image.size, "white")
    sheet.paste(image, mask=image.getchannel("A"))
    return sheet


def content_of(path: Path | None) -> str:
    """The sha256 of a file; "" without one, or if it cannot be read."""
    if path is None:
        return ""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def content_id(pictures: Iterable[Picture], caption: Callable[[Picture], str | None]) -> str:
    """The sha256 of what is taught: the pictures' bytes, captions, masks and maps, whatever the files are called."""
    rows = [
        repr((content_of(one.path), caption(one) or "", content_of(one.mask), content_of(one.map))) for one in pictures
    ]
    return hashlib.sha256("\n".join(sorted(rows)).encode("utf-8", "surrogatepass")).hexdigest()


def _is_clear(image: Image.Image) -> bool:
    return image.mode == "RGBA" and image.getchannel("A").getextrema()[0] != 255


def _walk(folder: Path) -> Iterable[str]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(one for one in folders if not one.startswith(".") and one not in SKIPPED)
        inside = Path(parent).relative_to(folder)
        yield from ((inside / file).as_posix() for file in files if not file.startswith("."))


def _beside(found: Iterable[str], stems: set[str], kind: tuple[str, str]) -> dict[str, str]:
    """Picture without its ending -> the file that belongs to it."""
    pairs = [(owner, name) for name in sorted(found) for owner in owners(name, kind)]
    return {owner: name for owner, name in reversed(pairs) if owner in stems and owner != stem_of(name)}

"""Pictures, captions and masks into a dataset: from files, from zip archives, from folders. Each is whole or absent."""

import hashlib
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from studio.datasets.captions import CAPTION_BYTES, decoded
from studio.datasets.folder import CAPTIONS, LIMITS, MAP, MASK, is_picture, owners, stem_of
from studio.errors import AssetError, InvalidRequestError, StorageError, StudioError
from studio.files import write_whole
from studio.gallery.decode import decode_image

PICTURES_MAX = 10_000  # in one dataset
ENTRIES_MAX = 50_000  # in one archive
UNPACKED_MAX = 8 * 2**30  # bytes that one archive may hold
DEEPEST = 8
WRONG = re.compile(r'[\x00-\x1f\x7f<>:"|?*\ud800-\udfff]')


@dataclass(frozen=True)
class Item:
    """A file to take in: its name, with slashes, and how to read at most so many bytes of it."""

    name: str
    read: Callable[[int], bytes]


@dataclass
class Added:
    """What came of an import: names of pictures that are new, and why others are not. captions, masks: how many."""

    added: list[str] = field(default_factory=list[str])
    skipped: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    captions: int = 0
    masks: int = 0


@dataclass
class Intake:
    """One import into a folder. stems: what was given -> what it is called now, without the endings."""

    folder: Path
    have: dict[str, str]
    made: Added = field(default_factory=Added)
    stems: dict[str, str] = field(default_factory=dict[str, str])


def take_in(folder: Path, have: Iterable[str], items: Iterable[Item]) -> Added:
    """Put the items into the folder: pictures as they are, captions and masks to the pictures that they belong to.

    A picture of a name that is taken gets a number after it; one that is there already is skipped.

    Args:
        have: Names of the pictures that are there.
    Raises: StorageError, if the disk is full; what was added before stays.
    """
    intake = Intake(folder, {stem_of(name).casefold(): name for name in have})
    later = list[Item]()
    stems = set[str]()
    for item in items:
        name = safe_name(item.name)
        if name is None:
            intake.made.skipped.append((item.name[:200], "Its name leads out of the folder."))
            continue
        later.append(Item(name, item.read))
        stems |= {stem_of(name)} if is_picture(name) else set()
    known = stems | {stem_of(name) for name in intake.have.values()}
    ranked = sorted(later, key=lambda item: _is_beside(item.name, known))  # pictures first
    for item in ranked:
        _guarded(intake, item, _take_beside if _is_beside(item.name, known) else _take_picture)
    return intake.made


def safe_name(name: str) -> str | None:
    """The name as it may be used in a folder, with odd characters replaced; None if it leads out of it."""
    flat = name.replace("\\", "/")
    parts = [part for part in flat.split("/") if part not in ("", ".")]
    if flat.startswith("/") or re.match(r"[A-Za-z]:/", flat) or ".." in parts or not parts or len(parts) > DEEPEST:
        return None
    clean = [WRONG.sub("_", part).strip(" ") for part in parts]
    kept = [part.rstrip(".") or "_" for part in clean]
    last = PurePosixPath(kept[-1])
    return "/".join([*(part[:100] for part in kept[:-1]), last.stem[:100] + last.suffix[:20]])


def files_of(folder: Path) -> Iterator[Item]:
    """Everything in a folder of this machine. Raises: InvalidRequestError, if there is none."""
    if not folder.is_dir():
        raise InvalidRequestError(
            f"There is no folder {str(folder)[:200]!r}.", field="path", hint="Give its whole path on this machine."
        )
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not _is_hidden(name):
            yield Item(name, lambda limit, path=path: _read_file(path, limit))


def unpacked(name: str, file: BinaryIO) -> Iterator[Item]:
    """Everything in a zip archive; a folder that all of it lies in is left out of the names.

    Nothing is trusted that the archive says of itself: sizes are counted while unpacking.

    Raises: AssetError, if it is no zip archive, is locked, or holds too much.
    """
    try:
        archive = zipfile.ZipFile(file)
        rows = [row for row in archive.infolist() if not row.is_dir() and not _is_hidden(row.filename)]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise AssetError(f"{name[:80]} is no zip archive that can be read ({error}).", hint="Pack it again.") from error
    if len(rows) > ENTRIES_MAX:
        raise AssetError(f"{name[:80]} holds {len(rows)} files; at most {ENTRIES_MAX} are read.", hint="Split it.")
    top = _common_top([row.filename for row in rows])
    left = [UNPACKED_MAX]
    for row in rows:
        yield Item(row.filename[len(top) :], lambda limit, row=row: _unpack(archive, row, min(limit, left[0]), left))


def _unpack(archive: zipfile.ZipFile, row: zipfile.ZipInfo, limit: int, left: list[int]) -> bytes:
    if row.flag_bits & 1:
        raise AssetError("It is locked with a password.", hint="Unpack it yourself, and add the folder.")
    if limit <= 0:
        raise AssetError(f"The archive holds more than {UNPACKED_MAX // 2**30} GB.", hint="Split it.")
    try:
        with archive.open(row) as file:
            data = file.read(limit)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, ValueError) as error:
        raise AssetError(f"It is damaged in the archive ({error}).", hint="Pack it again.") from error
    left[0] -= len(data)
    return data


def _guarded(intake: Intake, item: Item, take: Callable[[Intake, Item], None]) -> None:
    """Note what cannot be used; a full disk ends the import."""
    try:
        take(intake, item)
    except StorageError:
        raise
    except StudioError as error:
        intake.made.skipped.append((item.name, error.sentence()))


def _take_picture(intake: Intake, item: Item) -> None:
    if not is_picture(item.name):
        kind = "a caption without its picture" if item.name.lower().endswith(CAPTIONS) else "no picture"
        raise AssetError(f"That is {kind}.", hint="")
    if len(intake.have) >= PICTURES_MAX:
        raise AssetError(f"A dataset holds at most {PICTURES_MAX} pictures.", hint="Make another one.")
    data = item.read(LIMITS.bytes + 1)
    decode_image(data, LIMITS)
    name, is_new = _free_name(intake, item.name, data)
    intake.stems[stem_of(item.name)] = stem_of(name)
    if not is_new:
        raise AssetError("It is here already.", hint="")
    write_whole(intake.folder / name, data)
    intake.have[stem_of(name).casefold()] = name
    intake.made.added.append(name)


def _free_name(intake: Intake, name: str, data: bytes) -> tuple[str, bool]:
    """The name, or one with a number, and True; the name of the file of just these bytes, if one is so called."""
    stem, number = stem_of(name), 1
    suffix = name[len(stem) :]
    while (there := intake.have.get(stem.casefold())) is not None and not _holds(intake.folder / there, data):
        number += 1
        stem = f"{stem_of(name)} ({number})"
    return (stem + suffix, True) if there is None else (there, False)


def _holds(path: Path, data: bytes) -> bool:
    """Whether the file has just these bytes."""
    try:
        if path.stat().st_size != len(data):
            return False
        return hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(data).digest()
    except OSError:
        return False


def _is_beside(name: str, known: set[str]) -> bool:
    """Whether it is a caption, a mask or a map of one of the pictures."""
    if name.lower().endswith(CAPTIONS):
        return stem_of(name) in known
    return is_picture(name) and any(owner in known and owner != stem_of(name) for owner in _owners(name))


def _owners(name: str) -> list[str]:
    return [*owners(name, MASK), *owners(name, MAP)]


def _take_beside(intake: Intake, item: Item) -> None:
    if item.name.lower().endswith(CAPTIONS):
        stem = _stem_now(intake, [stem_of(item.name)])
        text = decoded(item.read(CAPTION_BYTES))
        write_whole(intake.folder / f"{stem}{item.name[len(stem_of(item.name)) :]}", text.encode("utf-8", "replace"))
        intake.made.captions += 1
        return
    stem = _stem_now(intake, _owners(item.name))
    kind = MASK if any(intake.stems.get(one, one) == stem for one in owners(item.name, MASK)) else MAP
    data = item.read(LIMITS.bytes + 1)
    decode_image(data, LIMITS)
    suffix = item.name[len(stem_of(item.name)) :]
    write_whole(intake.folder / f"{stem}{kind[0]}{suffix}", data)
    intake.made.masks += kind is MASK


def _stem_now(intake: Intake, given: list[str]) -> str:
    """What the picture is called here that a file belongs to. Raises: AssetError, if it was not taken."""
    for stem in given:
        if stem in intake.stems:
            return intake.stems[stem]
        if (there := intake.have.get(stem.casefold())) is not None:
            return stem_of(there)
    raise AssetError("Its picture could not be used.", hint="")


def _read_file(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except OSError as error:
        raise AssetError(f"It cannot be read: {error.strerror or error}.", hint="") from error


def _is_hidden(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return any((part.startswith(".") and part != "..") or part in ("__MACOSX", "Thumbs.db") for part in parts)


def _common_top(names: list[str]) -> str:
    """The folder, with its slash, in which all names lie; "" if there is none."""
    tops = {name.partition("/")[0] for name in names}
    top = next(iter(tops), "")
    alone = len(tops) == 1 and all("/" in name for name in names) and top not in ("", "..", MASK[1], MAP[1])
    return f"{top}/" if alone else ""

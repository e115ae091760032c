"""Walking the folders of models: what may be a model, and what is known of it without opening a file."""

import hashlib
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from studio.library.roots import Place
from studio.library.sidecars import SIDECARS

log = logging.getLogger("studio.library")
SINGLE_FILES = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin")
DESCRIPTIONS = ("model_index.json", "config.json")
DESCRIBED = (".json", ".safetensors", ".txt")  # what a folder's content is told by
DEPTH = 10  # people sort their models into folders
PARTS_DEPTH = 3  # of folders in a diffusers folder


@dataclass(frozen=True, kw_only=True)
class Found:
    """A file or folder that may be a model.

    Fields:
        location: Where it lies, as the system names it; most are never opened and need no `path`.
        bytes: Of all of its files.
        modified: When the newest of its files was written, in seconds since 1970.
        signature: Changes when one of its files does: sizes, times, inodes.
        sidecars: The files that others have put beside it, by what they end in; `beside` changes when one of them does.
    """

    location: str
    place: Place
    is_folder: bool
    bytes: int
    modified: float
    signature: str
    sidecars: dict[str, Path]
    beside: str

    @property
    def path(self) -> Path:
        """Where it lies."""
        return Path(self.location)


@dataclass
class _Walk:
    """seen: device and inode of what was met, so that links make no loops and list nothing twice."""

    place: Place
    seen: set[tuple[int, int]] = field(default_factory=set[tuple[int, int]])


def walk(places: Iterable[Place]) -> Iterator[Found]:
    """Everything that may be a model, in the order of the places; no file is opened."""
    seen: set[tuple[int, int]] = set()
    for place in places:
        yield from _look(_Walk(place, seen), place.folder, 0)


def files_of(path: Path) -> list[Path]:
    """The files that make up a model, sorted; parts may be links to those of another. Weights that are pickles count in
    folders that hold no others.

    Raises: FileNotFoundError, if it is gone.
    """
    if not path.is_dir():
        path.stat()
        return [path]
    found: list[Path] = []
    for folder, folders, names in os.walk(path, followlinks=True):
        depth = len(Path(folder).relative_to(path).parts)
        folders[:] = [name for name in folders if depth < PARTS_DEPTH and not _leads_back(folder, name)]
        weights = ".safetensors" if any(name.endswith(".safetensors") for name in names) else ".bin"
        found += [Path(folder, name) for name in names if name.endswith((*DESCRIBED, weights))]
    return sorted(file for file in found if file.is_file())


def has_changed(path: Path, size: int, modified: float) -> bool:
    """Whether a model's files are others than those that were found, by size and time; not for one that is gone."""
    try:
        stats = [file.stat() for file in files_of(path)]
    except OSError:
        return False
    return bool(stats) and (sum(s.st_size for s in stats), max(s.st_mtime_ns for s in stats) / 1e9) != (size, modified)


def _leads_back(folder: str, name: str) -> bool:
    """Whether that is a link to the folder that it lies in, or to one above."""
    link = os.path.join(folder, name)
    return os.path.islink(link) and Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(link))


def _look(walk: _Walk, folder: Path, depth: int) -> Iterator[Found]:
    """The models in a folder. One without a description is looked into."""
    names = _listing(folder)
    for name, entry in names.items():
        if name.startswith("."):
            continue
        try:
            if entry.is_dir():
                yield from _folder(walk, entry, names, depth)
            elif found := _single(walk, entry, names):
                yield found
        except OSError as error:  # a link to itself, or gone since the folder was listed
            log.info("%s is left out: %s", entry.path, error)


def _folder(walk: _Walk, entry: os.DirEntry[str], names: dict[str, os.DirEntry[str]], depth: int) -> Iterator[Found]:
    if not _is_new(walk, entry):
        return
    path = Path(entry.path)
    described = [name for name in DESCRIPTIONS if os.path.isfile(os.path.join(entry.path, name))]
    if described:
        yield _folder_model(walk.place, path, names)
    nested = _look(walk, path, depth + 1) if depth < DEPTH and not described else iter(())
    if DESCRIPTIONS[0] in described:  # a download may hold the same model as single files, too
        nested = _files_only(walk, path)
    count = 0
    for found in nested:
        count += 1
        yield found
    if not described and not count and walk.place.kind == "checkpoint":
        yield _folder_model(walk.place, path, names)  # somebody put something there: say what is missing


def _files_only(walk: _Walk, folder: Path) -> Iterator[Found]:
    names = _listing(folder)
    for entry in names.values():
        try:
            if found := _single(walk, entry, names):
                yield found
        except OSError as error:
            log.info("%s is left out: %s", entry.path, error)


def _single(walk: _Walk, entry: os.DirEntry[str], names: dict[str, os.DirEntry[str]]) -> Found | None:
    """A file that may be a model; no pipe or device, which would be waited for when it is opened. Raises: OSError."""
    if not walk.place.files or not entry.name.lower().endswith(SINGLE_FILES):
        return None
    return _file(walk.place, entry, names) if entry.is_file() and _is_new(walk, entry) else None


def _listing(folder: Path) -> dict[str, os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry for entry in sorted(entries, key=lambda entry: entry.name)}
    except FileNotFoundError:
        return {}
    except OSError as error:
        log.warning("%s cannot be read: %s", folder, error)
        return {}


def _stat(entry: os.DirEntry[str]) -> os.stat_result:
    found = entry.stat()
    return found if found.st_ino else os.stat(entry.path)  # Windows leaves the inode out of listings


def _is_new(walk: _Walk, entry: os.DirEntry[str]) -> bool:
    stat = _stat(entry)
    place = (stat.st_dev, stat.st_ino)
    if place in walk.seen:
        return False
    walk.seen.add(place)
    return True


def _file(place: Place, entry: os.DirEntry[str], names: dict[str, os.DirEntry[str]]) -> Found:
    stat = _stat(entry)
    stem = os.path.splitext(entry.name)[0]
    sidecars, beside = _sidecars(stem, names)
    configuration = _stat_of(names.get(f"{stem}.yaml"))  # a part of what a checkpoint is
    more = "" if configuration is None else f" {configuration.st_mtime_ns}"
    return Found(
        location=entry.path,
        place=place,
        is_folder=False,
        bytes=stat.st_size,
        modified=stat.st_mtime_ns / 1e9,
        signature=f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ino}{more}",
        sidecars=sidecars,
        beside=beside,
    )


def _folder_model(place: Place, path: Path, names: dict[str, os.DirEntry[str]]) -> Found:
    stats = [(file, file.stat()) for file in files_of(path)]
    lines = [f"{file.relative_to(path)} {s.st_size} {s.st_mtime_ns} {s.st_ino}" for file, s in stats]
    sidecars, beside = _sidecars(path.name, names)
    return Found(
        location=str(path),
        place=place,
        is_folder=True,
        bytes=sum(stat.st_size for _, stat in stats),
        modified=max((stat.st_mtime_ns for _, stat in stats), default=0) / 1e9,
        signature=hashlib.sha256(os.fsencode("\n".join(lines))).hexdigest(),
        sidecars=sidecars,
        beside=beside,
    )


def _sidecars(stem: str, names: dict[str, os.DirEntry[str]]) -> tuple[dict[str, Path], str]:
    """The sidecars of a model among the names of its folder, and what changes when they do."""
    there = {suffix: names[stem + suffix] for suffix in SIDECARS if stem + suffix in names}
    found = {suffix: (entry.path, stat) for suffix, entry in there.items() if (stat := _stat_of(entry))}
    beside = " ".join(f"{suffix} {stat.st_size} {stat.st_mtime_ns}" for suffix, (_, stat) in found.items())
    return {suffix: Path(path) for suffix, (path, _) in found.items()}, beside


def _stat_of(entry: os.DirEntry[str] | None) -> os.stat_result | None:
    """What is known of a file beside a model; None for a link to nowhere: the model is there without it."""
    try:
        return None if entry is None else entry.stat()
    except OSError:
        return None

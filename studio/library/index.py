"""Every model that the studio can see, by name and by content."""

import difflib
import hashlib
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

from studio.database import Database
from studio.errors import ModelNotFoundError, StorageError
from studio.library.card import Card
from studio.library.identify import DESCRIPTIONS, Identity, guess_control_kind, identify_folder
from studio.messages import ModelLocation
from studio.params import GenerationParams
from studio.settings import BUILTIN, Settings

log = logging.getLogger("studio.library")
MIGRATIONS = (
    """
    CREATE TABLE hashes (
        path TEXT PRIMARY KEY, bytes INTEGER NOT NULL, modified INTEGER NOT NULL, sha256 TEXT NOT NULL
    );
    """,
)
SINGLE_FILES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
OTHER_STUDIOS = {  # where A1111 and ComfyUI keep the same kinds
    "checkpoints": ("models/Stable-diffusion", "models/checkpoints", "models/diffusers", "checkpoints"),
    "controlnet": (
        "models/ControlNet",
        "models/controlnet",
        "extensions/sd-webui-controlnet/models",
        "controlnet",
    ),
}
KINDS = {"checkpoints": "checkpoint", "controlnet": "controlnet"}
DEPTH = 3  # people sort their models into folders
AT_ONCE = 1 << 29  # larger models are hashed when they are first used, so that a start does not wait for them
HASHED = (".json", ".safetensors", ".txt")
BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """One model. bytes counts all of its files.

    Fields:
        id: Its content: equal files have equal ids, wherever they lie. "" while nobody has used a large model yet, and
            for one that cannot be used.
    """

    name: str
    path: Path
    kind: str
    base: str
    variant: str
    control_kind: str
    prediction_type: str
    format: str
    precision: str
    bytes: int
    usable: bool
    reason: str
    id: str
    card: Card | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the rows of `models list --json`."""
        return {**asdict(self), "path": str(self.path)}


class Library:
    """The models of the starter pack, of the data folder and of folders that are read in place."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._lock = Lock()
        self._entries: list[ModelEntry] = []
        self._hashes = _open_hashes(settings.paths.library_db)
        self.refresh()

    def refresh(self) -> None:
        """Look at the folders again."""
        found: dict[tuple[str, str], ModelEntry] = {}
        places: set[tuple[int, int]] = set()
        for path, kind in self._candidates():
            try:
                stat = path.stat()
                if (place := (stat.st_dev, stat.st_ino)) in places:
                    continue
                entry = self._entry(path, kind)
            except OSError as error:
                log.warning("%s cannot be read: %s", path, error)
                continue
            places.add(place)
            number, name = 1, entry.name
            while (entry.kind, entry.name) in found:
                number += 1
                entry = replace(entry, name=f"{name} ({number})")
            found[entry.kind, entry.name] = entry
        with self._lock:
            self._entries = list(found.values())

    def entries(self, kind: str | None = None) -> list[ModelEntry]:
        """Every model, or those of one kind, in the order of the folders."""
        with self._lock:
            return [entry for entry in self._entries if kind in (None, entry.kind)]

    def find(self, name: str, kind: str) -> ModelEntry:
        """The model of that name, with its id. Raises: ModelNotFoundError, naming those that are spelled alike."""
        names = {entry.name: entry for entry in self.entries(kind)}
        if name in names:
            return self._with_id(names[name])
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or list(names)[:5]
        hint = f"Did you mean {' or '.join(near)}?" if near else ModelNotFoundError.hint
        raise ModelNotFoundError(f"There is no {kind} {name[:80]!r}.", hint=hint)

    def control_model_for(self, kind: str, base: str) -> ModelEntry:
        """The first usable control model of that kind for the base model. Raises: ModelNotFoundError."""
        models = [e for e in self.entries("controlnet") if e.control_kind == kind and e.usable]
        for entry in models:
            if entry.base == base:
                return self._with_id(entry)
        others = ", ".join(f"{e.name} ({e.base})" for e in models)
        raise ModelNotFoundError(
            f"There is no {kind} control model for {base}.",
            hint=f"Those here are for other base models: {others}."
            if others
            else "Put one into data/models/controlnet.",
        )

    def location(self, entry: ModelEntry) -> ModelLocation:
        """The model as the worker is told of it."""
        card = asdict(entry.card) if entry.card else {}
        return ModelLocation(entry.name, entry.id, str(entry.path), entry.kind, entry.base, card)

    def locate(self, params: GenerationParams) -> dict[str, ModelLocation]:
        """Every model that the params name, by content id. Raises: ModelNotFoundError, for one that is gone."""
        wanted = [(params.checkpoint, params.checkpoint_id), *((c.model, c.model_id) for c in params.controls)]
        by_id = {entry.id: entry for entry in self.entries() if entry.id}
        for name, content in wanted:
            if content not in by_id:
                by_id |= {e.id: e for e in map(self._with_id, self.entries()) if e.name == name}
            if content not in by_id:
                raise ModelNotFoundError(f"The model {name} is not here any more, or its files have changed.")
        return {content: self.location(by_id[content]) for _, content in wanted}

    def _candidates(self) -> Iterator[tuple[Path, str]]:
        """Each folder and file that may be a model, with the kind that its place is for."""
        for path in _listed(BUILTIN / "assets" / "starter", 0):
            yield path, ""
        for kind, others in OTHER_STUDIOS.items():
            folders = [self.settings.paths.models / kind]
            folders += [root / place for root in self.settings.models_from for place in others]
            for folder in folders:
                for path in _listed(folder, DEPTH):
                    yield path, KINDS[kind]

    def _entry(self, path: Path, kind: str) -> ModelEntry:
        if path.is_file():
            reason = "Single files cannot be loaded yet: put a diffusers folder of this model beside it."
            identity = Identity(kind=kind, control_kind=_control_kind(path, kind), reason=reason)
        else:
            identity = identify_folder(path)
        files = _files(path)
        entry = ModelEntry(
            name=self._name(path, identity),
            path=path,
            kind=identity.kind,
            base=identity.base,
            variant=identity.variant,
            control_kind=identity.control_kind,
            prediction_type=identity.prediction_type,
            format="single file" if path.is_file() else "diffusers",
            precision=identity.precision,
            bytes=sum(file.stat().st_size for file in files),
            usable=identity.usable,
            reason=identity.reason,
            id="",
            card=identity.card,
        )
        known = entry.bytes <= AT_ONCE or all(self._known_hash(file) for file in files)
        return replace(entry, id=self._content_id(path, files)) if entry.usable and known else entry

    def _with_id(self, entry: ModelEntry) -> ModelEntry:
        """The entry with its id: a large model is read from end to end when it is first used."""
        if entry.id or not entry.usable:
            return entry
        try:
            found = replace(entry, id=self._content_id(entry.path, _files(entry.path)))
        except OSError as error:
            raise ModelNotFoundError(f"{entry.name} cannot be read: {error}.") from error
        with self._lock:
            self._entries = [found if other == entry else other for other in self._entries]
        return found

    def _name(self, path: Path, identity: Identity) -> str:
        if identity.card is not None:
            return identity.card.name
        return path.stem if path.is_file() else path.name

    def _content_id(self, root: Path, files: list[Path]) -> str:
        lines = [
            f"{file.relative_to(root).as_posix()} {self._hash(file)}" for file in files if file.name != "card.json"
        ]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def _known_hash(self, file: Path) -> str:
        """The hash from the cache; "" if the file is new there or has changed."""
        stat = file.stat()
        key = (str(file), stat.st_size, stat.st_mtime_ns)
        with self._hashes.read() as tx:
            row = tx.execute("SELECT sha256 FROM hashes WHERE path = ? AND bytes = ? AND modified = ?", key).fetchone()
        return "" if row is None else str(row["sha256"])

    def _hash(self, file: Path) -> str:
        if known := self._known_hash(file):
            return known
        stat = file.stat()
        digest = hashlib.sha256()
        with file.open("rb") as stream:
            while block := stream.read(BLOCK):
                digest.update(block)
        row = (str(file), stat.st_size, stat.st_mtime_ns, digest.hexdigest())
        with self._hashes.write() as tx:
            tx.execute("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?, ?)", row)
        return digest.hexdigest()


def _listed(folder: Path, depth: int) -> list[Path]:
    """The models of a folder; folders without a description are looked into, `depth` levels down."""
    try:
        found = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")] if folder.is_dir() else []
    except OSError as error:
        log.warning("%s cannot be read: %s", folder, error)
        return []
    models: list[Path] = []
    for path in found:
        if not path.is_dir():
            models += [path] if path.suffix.lower() in SINGLE_FILES and depth else []
        elif depth and not any((path / name).is_file() for name in DESCRIPTIONS):
            models += _listed(path, depth - 1) or [path]
        else:
            models.append(path)
    return models


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file() and file.suffix in HASHED)


def _control_kind(path: Path, kind: str) -> str:
    return guess_control_kind(path.stem) if kind == "controlnet" else ""


def _open_hashes(file: Path) -> Database:
    """library.db is a cache: a damaged one is thrown away and made again."""
    try:
        return Database(file, MIGRATIONS)
    except StorageError:
        for name in (file.name, f"{file.name}-wal", f"{file.name}-shm"):
            file.with_name(name).unlink(missing_ok=True)
        return Database(file, MIGRATIONS)

"""Every model that the studio can see, by name and by content."""

import difflib
import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from studio.database import Database
from studio.errors import ModelNotFoundError, StorageError
from studio.library.card import Card
from studio.library.identify import Identity, identify_folder
from studio.messages import ModelLocation
from studio.params import GenerationParams
from studio.settings import BUILTIN, Settings

MIGRATIONS = (
    """
    CREATE TABLE hashes (
        path TEXT PRIMARY KEY, bytes INTEGER NOT NULL, modified INTEGER NOT NULL, sha256 TEXT NOT NULL
    );
    """,
)
SINGLE_FILES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
OTHER_STUDIOS = {  # where A1111 and ComfyUI keep the same kinds
    "checkpoints": ("models/Stable-diffusion", "models/checkpoints", "checkpoints"),
    "controlnet": ("models/ControlNet", "models/controlnet", "controlnet"),
}
HASHED = (".json", ".safetensors", ".txt")
BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """One model. id is its content: equal files have equal ids, wherever they lie. bytes counts all of its files."""

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
        found: dict[str, ModelEntry] = {}
        for path in self._candidates():
            entry = self._entry(path)
            found.setdefault(f"{entry.kind}/{entry.name}", entry)
        with self._lock:
            self._entries = list(found.values())

    def entries(self, kind: str | None = None) -> list[ModelEntry]:
        """Every model, or those of one kind, in the order of the folders."""
        with self._lock:
            return [entry for entry in self._entries if kind in (None, entry.kind)]

    def find(self, name: str, kind: str) -> ModelEntry:
        """The model of that name. Raises: ModelNotFoundError, naming those that are spelled alike."""
        names = {entry.name: entry for entry in self.entries(kind)}
        if name in names:
            return names[name]
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or list(names)[:5]
        hint = f"Did you mean {' or '.join(near)}?" if near else ModelNotFoundError.hint
        raise ModelNotFoundError(f"There is no {kind} {name[:80]!r}.", hint=hint)

    def control_model_for(self, kind: str, base: str) -> ModelEntry:
        """The first usable control model of that kind for the base model. Raises: ModelNotFoundError."""
        models = [e for e in self.entries("controlnet") if e.control_kind == kind and e.usable]
        for entry in models:
            if entry.base == base:
                return entry
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
        by_id = {entry.id: entry for entry in self.entries()}
        for name, content in wanted:
            if content not in by_id:
                raise ModelNotFoundError(f"The model {name} is not here any more, or its files have changed.")
        return {content: self.location(by_id[content]) for _, content in wanted}

    def _candidates(self) -> Iterator[Path]:
        yield from _listed(BUILTIN / "assets" / "starter", folders_only=True)
        for kind, others in OTHER_STUDIOS.items():
            yield from _listed(self.settings.paths.models / kind)
            for root in self.settings.models_from:
                for place in others:
                    yield from _listed(root / place)

    def _entry(self, path: Path) -> ModelEntry:
        if path.is_file():
            reason = "Single files cannot be loaded yet: put a diffusers folder of this model beside it."
            identity, files = Identity(reason=reason), [path]
        else:
            identity = identify_folder(path)
            files = sorted(file for file in path.rglob("*") if file.is_file() and file.suffix in HASHED)
        return ModelEntry(
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
            id=self._content_id(path, files) if identity.usable else "",
            card=identity.card,
        )

    def _name(self, path: Path, identity: Identity) -> str:
        if identity.card is not None:
            return identity.card.name
        return path.stem if path.is_file() else path.name

    def _content_id(self, root: Path, files: list[Path]) -> str:
        lines = [
            f"{file.relative_to(root).as_posix()} {self._hash(file)}" for file in files if file.name != "card.json"
        ]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def _hash(self, file: Path) -> str:
        stat = file.stat()
        key = (str(file), stat.st_size, stat.st_mtime_ns)
        with self._hashes.read() as tx:
            row = tx.execute("SELECT sha256 FROM hashes WHERE path = ? AND bytes = ? AND modified = ?", key).fetchone()
        if row is not None:
            return row["sha256"]
        digest = hashlib.sha256()
        with file.open("rb") as stream:
            while block := stream.read(BLOCK):
                digest.update(block)
        with self._hashes.write() as tx:
            tx.execute("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?, ?)", (*key, digest.hexdigest()))
        return digest.hexdigest()


def _listed(folder: Path, *, folders_only: bool = False) -> list[Path]:
    if not folder.is_dir():
        return []
    found = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    wanted = [path for path in found if path.is_dir() or (path.suffix in SINGLE_FILES and not folders_only)]
    return [path for path in wanted if not path.name.endswith(".part")]


def _open_hashes(file: Path) -> Database:
    """library.db is a cache: a damaged one is thrown away and made again."""
    try:
        return Database(file, MIGRATIONS)
    except StorageError:
        for name in (file.name, f"{file.name}-wal", f"{file.name}-shm"):
            file.with_name(name).unlink(missing_ok=True)
        return Database(file, MIGRATIONS)

"""Every model that the studio can see, by name and by content."""

import difflib
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from studio.errors import MissingError, ModelNotFoundError, StorageError
from studio.library.cache import Cache
from studio.library.control_kinds import OTHER_NAMES, REFERENCE, TECHNIQUES, UNION_KINDS
from studio.library.entry import ModelEntry, entries_of, entry_of
from studio.library.hashes import Hashes
from studio.library.notes import Note, Notes
from studio.library.roots import builtin_place, model_places
from studio.library.rules.upscaler import Described, confirmed
from studio.library.scan import scan
from studio.library.search import Page, Query, search
from studio.library.walk import has_changed
from studio.library.words import base_word
from studio.messages import ModelLocation
from studio.params import GenerationParams
from studio.settings import Settings

log = logging.getLogger("studio.library")


@dataclass(frozen=True)
class _Shelf:
    """The models at one moment."""

    entries: tuple[ModelEntry, ...] = ()
    by_name: dict[tuple[str, str], ModelEntry] = field(default_factory=dict[tuple[str, str], ModelEntry])
    by_key: dict[str, ModelEntry] = field(default_factory=dict[str, ModelEntry])

    @classmethod
    def of(cls, entries: Iterable[ModelEntry]) -> "_Shelf":
        kept = tuple(entries)
        return cls(kept, {(e.kind, e.name): e for e in kept}, {e.key: e for e in kept})


class Library:
    """The models of the starter pack, of the data folder and of folders that are read in place.

    Calls may come from any thread. Reading sees one moment; changes come one after the other.
    """

    def __init__(
        self,
        settings: Settings,
        notes: Notes | None = None,
        *,
        look: bool = True,
        reading: Callable[[str, int, int], object] = lambda _name, _done, _total: None,
    ) -> None:
        """Open library.db and look at the folders. Raises: StorageError.

        Args:
            notes: What the person added; None shows the models as they were found.
            look: False takes what the last scan found, and looks only at the starter pack.
            reading: Told how far a model is that is read for the first time: its name, the bytes so far and in all.
        """
        self.settings, self.notes = settings, notes
        self.cache = Cache(settings.paths.library_db)
        self.hashes = Hashes(self.cache, lambda path, done, total: reading(self._name_of(path), done, total))
        self._changing = threading.RLock()
        self._shelf = _Shelf()
        if look:
            self.refresh()
        else:
            scan(self.cache, [builtin_place()])
            self.load()

    def refresh(self) -> None:
        """Look at the folders again, here and now. Raises: StorageError."""
        scan(self.cache, model_places(self.settings))
        self.load()

    def load(self) -> None:
        """Take what a scan has found. Raises: StorageError."""
        places = model_places(self.settings)
        with self._changing:
            notes = {} if self.notes is None else self.notes.all()
            self._shelf = _Shelf.of(entries_of(self.cache.rows(place.folder for place in places), notes))

    def entries(self, kind: str | None = None) -> list[ModelEntry]:
        """Every model, or those of one kind, in the order of the folders."""
        return [entry for entry in self._shelf.entries if kind in (None, entry.kind)]

    def search(self, query: Query, *, guest: bool = False) -> Page:
        """The models that a query asks for, by pages."""
        return search(self._shelf.entries, query, guest=guest)

    def get(self, key: str) -> ModelEntry:
        """The model of that key. Raises: MissingError."""
        if (entry := self._shelf.by_key.get(key)) is None:
            raise MissingError("There is no such model here any more.", hint="Look at the list again.")
        return entry

    def copies(self, entry: ModelEntry) -> list[ModelEntry]:
        """Other files of the same content, as far as it is known."""
        alike = [e for e in self._shelf.entries if e.fingerprint == entry.fingerprint and e.path != entry.path]
        return [e for e in alike if not (e.id and entry.id) or e.id == entry.id]

    def find(self, name: str, kind: str) -> ModelEntry:
        """The model of that name. Raises: ModelNotFoundError, naming those that are spelled alike."""
        if (entry := self._shelf.by_name.get((kind, name))) is not None:
            return entry
        names = [entry.name for entry in self.entries(kind)]
        near = difflib.get_close_matches(name[:200], names, n=3, cutoff=0.4) or names[:5]
        hint = f"Did you mean {' or '.join(near)}?" if near else ModelNotFoundError.hint
        raise ModelNotFoundError(f"There is no {kind} {name[:80]!r}.", hint=hint)

    def control_model(self, name: str) -> ModelEntry:
        """The ControlNet, T2I-Adapter or IP-Adapter of that name. Raises: ModelNotFoundError."""
        known = (self._shelf.by_name.get((kind, name)) for kind in TECHNIQUES)
        return next(filter(None, known), None) or self.find(name, "controlnet")

    def control_model_for(self, kind: str, base: str) -> ModelEntry:
        """The first usable control model of that kind for the base model. Raises: ModelNotFoundError.

        ControlNets come first, then union models, then T2I-Adapters; for "reference" it is an IP-Adapter.
        """
        if fitting := self.control_models(kind, base):
            return fitting[0]
        models = [e for e in self._controls(kind) if e.usable]
        others = ", ".join(f"{e.name} ({base_word(e.base)})" for e in models[:5])
        what = "IP-Adapter" if kind == REFERENCE else f"{kind} ControlNet"
        raise ModelNotFoundError(
            f"There is no {what} for {base_word(base)}.",
            hint=f"Those here are for other base models: {others}."
            if others
            else f"Put one into data/models/{'ip_adapter' if kind == REFERENCE else 'controlnet'}.",
        )

    def control_models(self, kind: str, base: str) -> list[ModelEntry]:
        """The usable models that a map of that kind controls for the base model, best first."""
        return [e for e in self._controls(kind) if e.usable and e.base == base]

    def _controls(self, kind: str) -> list[ModelEntry]:
        """Models that a map of that kind controls, best first."""
        if kind == REFERENCE:
            return self.entries("ip_adapter")
        names = (kind, *OTHER_NAMES.get(kind, ()))
        nets, adapters = self.entries("controlnet"), self.entries("t2i_adapter")
        own = [e for e in nets if e.control_kind in names]
        union = [e for e in nets if e.control_kind == "union" and kind in UNION_KINDS]
        return [*own, *union, *(e for e in adapters if e.control_kind in names)]

    def image_encoder_for(self, adapter: ModelEntry) -> ModelEntry:
        """The usable image encoder whose features the IP-Adapter reads. Raises: ModelNotFoundError."""
        for entry in self.entries("image_encoder"):
            wanted = zip(adapter.features, entry.features, strict=False)
            if entry.usable and entry.features and all(a in (0, b) for a, b in wanted):
                return entry
        width = next((w for w in adapter.features if w), 0)
        raise ModelNotFoundError(
            f"{adapter.name} needs an image encoder whose features are {width} wide, and there is none.",
            hint="Put the encoder that belongs to it into data/models/image_encoders.",
        )

    def content_id(self, entry: ModelEntry) -> str:
        """The model's id. One that nobody has used yet is read from end to end first, or what is left of it after
        `start_hashing`; so is one whose files were replaced since the last scan. One that is gone keeps its id.

        Raises: ModelNotFoundError, if it cannot be read.
        """
        replaced = has_changed(entry.path, entry.bytes, entry.modified)
        if entry.id and not replaced:
            return entry.id
        try:
            content = self.hashes.content_id(entry.path)
            if not replaced:
                self.cache.set_content(entry.path, entry.fingerprint, content)
        except (OSError, StorageError) as error:
            raise ModelNotFoundError(f"{entry.name} cannot be read: {error}.") from error
        self._replace({entry.path: {"id": content}})
        return content

    def start_hashing(self, entries: Iterable[ModelEntry]) -> bool:
        """Begin to read models whose ids are not known; returns at once. Returns: whether there were any."""
        waiting = [entry for entry in entries if not entry.id]
        for entry in waiting:
            self.hashes.start(entry.path)
        return bool(waiting)

    def location(self, entry: ModelEntry) -> ModelLocation:
        """The model as the worker is told of it. Raises: ModelNotFoundError, if it cannot be read."""
        card = asdict(entry.card) if entry.card else {}
        return ModelLocation(entry.name, self.content_id(entry), str(entry.path), entry.kind, entry.base, card)

    def locate(self, params: GenerationParams) -> dict[str, ModelLocation]:
        """Every model that the params name, by content id. Raises: ModelNotFoundError, for one that is gone."""
        by_id = {entry.id: entry for entry in self.entries() if entry.id}
        for content, name in params.models().items():
            if content not in by_id:
                unread = [e for e in self.entries() if e.name == name and e.usable and not e.id]
                by_id |= {self.content_id(entry): entry for entry in unread}
            if content not in by_id:
                raise ModelNotFoundError(f"The model {name} is not here any more, or its files have changed.")
        found = {content: self.location(by_id[content]) for content in params.models()}
        for content, name in params.models().items():
            if found[content].id != content:
                raise ModelNotFoundError(
                    f"The files of the model {name} have changed.", hint="Ask for the picture anew."
                )
        return found

    def change(self, key: str, changes: Mapping[str, Any]) -> ModelEntry:
        """Change a model's note. Raises: MissingError; StorageError."""
        assert self.notes is not None
        with self._changing:
            before = self.get(key)
            note = self.notes.change(before.fingerprint, changes)
            if "kind" in changes:
                self.load()  # names are told apart within a kind
            else:
                self._renote(before.fingerprint, note)
            return self.get(key)

    def may_upscale(self, entry: ModelEntry) -> bool:
        """Whether the worker should be asked what it is: an upscaler, or something unknown among upscalers."""
        if entry.asked or entry.is_folder or entry.kind not in ("upscaler", "unknown"):
            return False
        folders = (place.folder for place in model_places(self.settings) if place.kind == "upscaler")
        return entry.kind == "upscaler" or any(entry.path.is_relative_to(folder) for folder in folders)

    def confirm(self, path: Path, fingerprint: str, said: Described) -> str:
        """Keep what spandrel said of a model; its key, "" for one that is gone or has changed. Raises: StorageError."""
        with self._changing:
            row = self.cache.row(path)
            if row is None or row.fingerprint != fingerprint:
                return ""
            identity = confirmed(row.identity, said)
            self.cache.set_identity(path, fingerprint, identity)
            if identity.kind != row.identity.kind:
                self.load()  # names are told apart within a kind
            else:
                notes = {} if self.notes is None else self.notes.all()
                self._renote(fingerprint, notes.get(fingerprint, Note()))
            return next((entry.key for entry in self._shelf.entries if entry.path == path), "")

    def mark_used(self, ids: Iterable[str], at: float) -> None:
        """Note that the models of these content ids were used at a time, for the order of the list."""
        wanted = set(ids)
        used = [entry for entry in self._shelf.entries if entry.id in wanted]
        if self.notes is None or not used:
            return
        try:
            self.notes.used({entry.fingerprint for entry in used}, at)
        except StorageError as error:
            log.warning("%s", error)
        self._replace({entry.path: {"last_used": at} for entry in used})

    def _name_of(self, path: Path) -> str:
        return next((entry.name for entry in self._shelf.entries if entry.path == path), path.name)

    def _renote(self, fingerprint: str, note: Note) -> None:
        changed: dict[Any, dict[str, Any]] = {}
        for entry in self._shelf.entries:
            if entry.fingerprint == fingerprint and (row := self.cache.row(entry.path)) is not None:
                changed[entry.path] = vars(entry_of(row, note, entry.name, entry.key))
        self._replace(changed)

    def _replace(self, changed: Mapping[Any, Mapping[str, Any]]) -> None:
        """Put fields of some entries, by path, in the place of their old ones."""
        with self._changing:
            self._shelf = _Shelf.of(
                replace(entry, **changed[entry.path]) if entry.path in changed else entry
                for entry in self._shelf.entries
            )

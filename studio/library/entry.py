"""One model as the studio shows and uses it: what was found, what sidecars say, and what the person says."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from studio.library.cache import Row
from studio.library.card import Card
from studio.library.hashes import short_hash
from studio.library.notes import Note

GENERIC = frozenset(  # file names that say nothing: then the folder's name is the model's
    {
        "adapter_model",
        "diffusion_pytorch_model",
        "diffusion_pytorch_model.fp16",
        "learned_embeds",
        "model",
        "model.fp16",
        "pytorch_lora_weights",
        "pytorch_model",
    }
)


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """One model. bytes counts all of its files.

    Fields:
        id: Its content: equal files have equal ids, wherever they lie. "" while nobody has needed it: `content_id`.
        key: Names it to front ends; its fingerprint, with a number if there are several copies.
        modified, last_used: In seconds since 1970.
        root: The place that it was found in, as a person calls it.
        evidence: How we know what it is.
        corrected: What the person corrected, such as base.
        family, scale, channels: Of an upscaler: its architecture, by how much a side grows, its channels in and out.
        features: How wide an image encoder's projected and hidden features are, or those that an IP-Adapter reads.
        asked: Whether the worker has looked at it, too.
        old: Whether that was found by older rules, and is being looked at again.
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
    key: str = ""
    fingerprint: str = ""
    evidence: str = ""
    width: int = 0
    family: str = ""
    scale: int = 0
    channels: tuple[int, ...] = ()
    features: tuple[int, ...] = ()
    asked: bool = False
    favourite: bool = False
    tags: tuple[str, ...] = ()
    notes: str = ""
    description: str = ""
    trigger_words: tuple[str, ...] = ()
    corrected: tuple[str, ...] = ()
    preview: Path | None = None
    root: str = ""
    modified: float = 0.0
    last_used: float | None = None
    is_folder: bool = False
    old: bool = False
    words: str = ""

    @property
    def sha256(self) -> str:
        """A file's hash; "" while it is not known, and for a folder."""
        return "" if self.is_folder else self.id

    @property
    def has_preview(self) -> bool:
        """Whether there is a picture of what it does."""
        return self.preview is not None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the rows of `models list --json`."""
        left_out = ("words", "preview", "fingerprint")
        plain = {name: value for name, value in vars(self).items() if name not in left_out}
        hashes = {"sha256": self.sha256, "short_hash": short_hash(self.sha256), "has_preview": self.has_preview}
        return plain | hashes | {"path": shown(self.path), "card": None if self.card is None else asdict(self.card)}


def entries_of(rows: Iterable[Row], notes: Mapping[str, Note]) -> list[ModelEntry]:
    """The models of these rows, in their order; equal names and equal keys are told apart by numbers."""
    plain, names, keys = Note(), _Numbers(), _Numbers()
    found: list[ModelEntry] = []
    for row in rows:
        note = notes.get(row.fingerprint, plain)
        name = _name(row)
        number = names.next((note.corrections.get("kind", row.identity.kind), name))
        copy = keys.next((row.fingerprint, ""))
        key = row.fingerprint if copy == 1 else f"{row.fingerprint}-{copy}"
        found.append(entry_of(row, note, name if number == 1 else f"{name} ({number})", key))
    return found


def entry_of(row: Row, note: Note, name: str, key: str) -> ModelEntry:
    """The model of a row. What the person says wins over the header, and the header over sidecars."""
    identity, said, corrected = row.identity, row.said, note.corrections
    base, evidence = identity.base, identity.evidence
    if said.base and identity.allows(said.base):
        base, evidence = said.base, f"{evidence} The file beside it names its base model.".strip()
    base = corrected.get("base", base)
    prediction_type = corrected.get("prediction_type", identity.prediction_type)
    words = identity.trigger_words or said.trigger_words
    return ModelEntry(
        name=name,
        path=row.path,
        kind=corrected.get("kind", identity.kind),
        base=base,
        variant=identity.variant,
        control_kind=corrected.get("control_kind", identity.control_kind),
        prediction_type=prediction_type,
        format=identity.format,
        precision=identity.precision,
        bytes=row.bytes,
        usable=identity.usable,
        reason=identity.reason,
        id=row.content,
        card=_card(identity.card, base, prediction_type),
        key=key,
        fingerprint=row.fingerprint,
        evidence=evidence,
        width=identity.width,
        family=identity.family,
        scale=identity.scale,
        channels=identity.channels,
        features=identity.features,
        asked=identity.asked,
        favourite=note.favourite,
        tags=note.tags,
        notes=said.notes if note.notes is None else note.notes,
        description=said.description,
        trigger_words=words if note.trigger_words is None else note.trigger_words,
        corrected=tuple(corrected),
        preview=row.preview,
        root=row.root,
        modified=row.modified,
        last_used=note.last_used,
        is_folder=row.is_folder,
        old=row.old,
        words=_words(row, name, note),
    )


def shown(path: Path | str) -> str:
    """A path or name as text that any answer can hold: bytes that are no UTF-8 become question marks in a diamond."""
    return os.fsencode(path).decode("utf-8", "replace")


class _Numbers:
    """Counts how often something came."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], int] = {}

    def next(self, what: tuple[str, str]) -> int:
        self._last[what] = number = self._last.get(what, 0) + 1
        return number


def _name(row: Row) -> str:
    if row.is_folder:
        return row.identity.card.name if row.identity.card else shown(row.path.name)
    stem = row.path.stem
    says_nothing = stem.lower() in GENERIC and row.path.parent != row.folder
    return shown(row.path.parent.name if says_nothing else stem)


def _card(card: Card | None, base: str, prediction_type: str) -> Card | None:
    if card is None or (card.base, card.prediction_type) == (base, prediction_type):
        return card
    return replace(card, base=base, prediction_type=prediction_type or card.prediction_type)


def _words(row: Row, name: str, note: Note) -> str:
    """What a search looks at, in small letters."""
    said = row.said
    texts = (name, shown(row.path.name), row.identity.control_kind, said.title, *said.trigger_words, *note.tags)
    own = (*(note.trigger_words or ()), note.notes or "")
    return "\n".join(filter(None, (*texts, *row.identity.trigger_words, *own))).casefold()

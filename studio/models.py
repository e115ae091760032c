"""What a front end may do with the list of models; guests see those that can be used, and never a path."""

import hashlib
import html
import logging
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from studio.access import LOCAL_USER, User, require
from studio.errors import AssetError, InvalidRequestError, MissingError, ModelNotFoundError, StorageError
from studio.gallery.thumbnails import make_thumbnail
from studio.library.background import Scanner
from studio.library.download.fetch import Arrived
from studio.library.entry import ModelEntry, shown
from studio.library.fit import fits, misfit
from studio.library.hashes import short_hash
from studio.library.header import HeaderError
from studio.library.identify import header_of
from studio.library.index import Library
from studio.library.notes import CORRECTABLE
from studio.library.rules.upscaler import Described
from studio.library.scan import Progress
from studio.library.search import SORTS, Query
from studio.messages import Identified

log = logging.getLogger("studio.library")

KINDS = (
    "checkpoint",
    "diffusers",
    "vae",
    "taesd",
    "controlnet",
    "t2i_adapter",
    "ip_adapter",
    "image_encoder",
    "lora",
    "embedding",
    "hypernetwork",
    "upscaler",
    "unknown",
)
BASE = re.compile(r"sd1|sd2|sdxl|sdxl-refiner|unknown|starter-[0-9a-z-]{1,60}")
CONTROL_KIND = re.compile(r"[a-z0-9_]{0,40}")
PREDICTION_TYPES = ("", "epsilon", "v_prediction", "sample")
DAMAGED = ("damaged", "cut short", "cannot be read", "missing", "is empty", "web page", "download it again")
TAG, BREAK = re.compile(r"</?[a-zA-Z][^<>]*>"), re.compile(r"(?i)<(br|/p|/li|/h\d|/div)\s*/?>")
TAGS, TAG_MAX, NOTES_MAX = 200, 200, 20_000
ROW = (
    "key",
    "name",
    "kind",
    "base",
    "variant",
    "control_kind",
    "prediction_type",
    "format",
    "precision",
    "bytes",
    "usable",
    "reason",
    "favourite",
    "tags",
    "has_preview",
    "old",
)


class Models:
    """The models as front ends see them. `publish` tells everybody how a scan goes."""

    def __init__(self, library: Library, thumbnails: Path, publish: Callable[[dict[str, Any]], None]) -> None:
        self.library, self.thumbnails = library, thumbnails
        self._tell: Callable[[Progress], None] = lambda progress: publish(scan_event(progress))
        self.scanner = Scanner(library.settings, library.load, self._tell)
        self.ask: Callable[[str, str], None] = lambda _path, _mark: None  # the worker, once there is one

    def page(self, query: Query, user: User, checkpoint: str = "") -> dict[str, Any]:
        """A page of rows, how many there are, and counts by kind and base. Raises: InvalidRequestError.

        Args:
            checkpoint: A name; rows then tell whether they fit it.
        """
        if query.sort not in SORTS:
            raise InvalidRequestError(
                f"There is no order {query.sort!r}.", field="sort", hint=f"Choose one of: {', '.join(SORTS)}."
            )
        found = self.library.search(query, guest=not user.may("models"))
        chosen = self._checkpoint(checkpoint)
        rows = [row_view(entry, user) | {"fits": _goes_with(entry, chosen)} for entry in found.rows]
        return {"models": rows, "total": found.total, "counts": found.counts}

    def details(self, key: str, user: User, checkpoint: str = "") -> dict[str, Any]:
        """Everything about one model, and why it cannot be used with that checkpoint. Raises: MissingError."""
        entry, chosen = self._get(key, user), self._checkpoint(checkpoint)
        if user.may("models") and self.library.may_upscale(entry):
            self.ask(str(entry.path), entry.fingerprint)
        words: dict[str, Any] = {"trigger_words": list(entry.trigger_words), "fits": _goes_with(entry, chosen)}
        if chosen is not None and not words["fits"]:
            others = self.library.entries(entry.kind)
            words["misfit"] = refusal.sentence() if (refusal := misfit(entry, chosen, others)) else ""
        if not user.may("models"):
            return row_view(entry, user) | words
        return (
            row_view(entry, user)
            | words
            | {
                "path": shown(entry.path),
                "root": entry.root,
                "sha256": entry.sha256,
                "short_hash": short_hash(entry.sha256),
                "evidence": entry.evidence,
                "family": entry.family,
                "scale": entry.scale,
                "channels": list(entry.channels),
                "way_out": way_out(entry),
                "description": plain_text(entry.description),
                "notes": entry.notes,
                "corrected": list(entry.corrected),
                "duplicates": [shown(other.path) for other in self.library.copies(entry)],
                "last_used": entry.last_used,
                "modified": entry.modified,
                "tensors": count_tensors(entry),
            }
        )

    def change(self, key: str, changes: Mapping[str, Any], user: User) -> dict[str, Any]:
        """Write notes, tags and the like, or correct what was guessed; the row afterwards.

        Raises: ForbiddenError; MissingError; InvalidRequestError, naming the field; StorageError.
        """
        require(user, "models")
        return row_view(self.library.change(key, checked(changes)), user)

    def preview(self, key: str, user: User) -> Path:
        """A small WebP of the model's preview, without what the picture's file says. Raises: MissingError."""
        entry = self._get(key, user)
        missing = MissingError(f"{entry.name} has no preview.", hint="Put NAME.preview.png beside the model.")
        if entry.preview is None:
            raise missing
        try:
            stat = entry.preview.stat()
            mark = hashlib.sha256(f"{entry.key} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()
            small = self.thumbnails / "models" / f"{mark}.webp"
            if not small.exists():
                make_thumbnail(entry.preview, small)
        except (OSError, AssetError) as error:
            raise missing from error
        return small

    def scan(self, user: User) -> None:
        """Look at the folders again; returns at once, and events tell how it goes. Raises: ForbiddenError."""
        require(user, "models")
        self.scanner.start()

    def arrived(self, model: Arrived) -> dict[str, Any] | None:
        """Look at the folders after a model was put there, and tell everybody; its row, or None if it is no model.

        What was read on the way is not read again for its id. Raises: OSError, StorageError.
        """
        for file, sha256 in model.hashes.items():
            self.library.hashes.keep(file, sha256)
        self.library.refresh()
        entries = self.library.entries()
        self._tell(Progress("done", done=len(entries), total=len(entries), found=len(entries)))
        entry = next((entry for entry in entries if entry.path == model.path), None)
        return None if entry is None else row_view(entry, LOCAL_USER)

    def identified(self, said: Identified) -> str:
        """Keep what the worker found out about a model; its key, or "" if there is nothing new."""
        if not said.looked:
            return ""
        try:
            found = Described(said.family, said.scale, said.channels)
            return self.library.confirm(Path(said.path), said.mark, found)
        except StorageError as error:  # it is asked again when somebody looks again
            log.warning("%s", error)
            return ""

    def _checkpoint(self, name: str) -> ModelEntry | None:
        """The checkpoint of that name, if it is here."""
        try:
            return self.library.find(name, "checkpoint") if name else None
        except ModelNotFoundError:
            return None

    def _get(self, key: str, user: User) -> ModelEntry:
        entry = self.library.get(key)
        if not entry.usable and not user.may("models"):
            raise MissingError("There is no such model here any more.", hint="Look at the list again.")
        return entry


def row_view(entry: ModelEntry, user: User) -> dict[str, Any]:
    """A model's row; what the owner wrote is not for guests."""
    row = {name: getattr(entry, name) for name in ROW} | {"tags": list(entry.tags)}
    return row if user.may("models") else row | {"favourite": False, "tags": []}


def _goes_with(entry: ModelEntry, checkpoint: ModelEntry | None) -> bool:
    """Whether a model that can be used fits the checkpoint; checkpoints need not fit each other. Embeddings tell it
    before they can be used."""
    said = entry.usable or entry.kind == "embedding"
    return checkpoint is None or not said or entry.kind == "checkpoint" or fits(entry, checkpoint)


def plain_text(text: str) -> str:
    """A description without HTML: sites write theirs with tags."""
    if not TAG.search(text):
        return text
    broken = TAG.sub("", BREAK.sub("\n", text))
    return re.sub(r"\n\s*\n+", "\n", html.unescape(broken)).strip()


def scan_event(progress: Progress) -> dict[str, Any]:
    """A scan's progress as everybody is told of it."""
    event = {name: getattr(progress, name) for name in ("state", "done", "total", "found")}
    return {"type": "scan", **event}


def way_out(entry: ModelEntry) -> str:
    """What to do about a model that cannot be used; "" for one that can."""
    if entry.usable:
        return ""
    if "models convert" in entry.reason:
        return f"Try: python launch.py models convert {shlex.quote(shown(entry.path))}"
    if any(word in entry.reason for word in DAMAGED):
        return "Get the file again; where it came from, its size and hash can be compared."
    if " yet" in entry.reason:
        return "It can stay where it is: it is in the list when a later version can use it."
    if "no kind that is known" in entry.reason:
        return "It can stay where it is. If you know what it is, say so below, and it is listed among its like."
    if entry.kind == "unknown":
        return "It can stay where it is."
    return "Choose another model of this kind; the list can be narrowed to those that can be used."


def count_tensors(entry: ModelEntry) -> int:
    """How many tensors a file holds; 0 if it cannot be told, and for a folder."""
    try:
        return 0 if entry.is_folder else len(header_of(entry.path).tensors)
    except (HeaderError, OSError):
        return 0


def checked(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Changes of a note whose values make sense. Raises: InvalidRequestError, naming the field."""
    return {name: _value(name, value) for name, value in changes.items()}


def _value(name: str, value: Any) -> Any:
    if name == "favourite" and isinstance(value, bool):
        return value
    if name == "notes" and isinstance(value, str) and len(value) <= NOTES_MAX:
        return _clean(value)
    if name in ("tags", "trigger_words"):
        return _texts(name, value)
    if name in CORRECTABLE and (value is None or (isinstance(value, str) and _is_correction(name, value))):
        return value
    known = ("favourite", "tags", "notes", "trigger_words", *CORRECTABLE)
    if name not in known:
        hint = f"Known: {', '.join(known)}."
        raise InvalidRequestError(f"A model has no field {name[:40]!r}.", field=name[:40], hint=hint)
    raise InvalidRequestError(f"{name} cannot be {str(value)[:60]!r}.", field=name, hint=_allowed(name))


def _is_correction(name: str, value: str) -> bool:
    checks: dict[str, Callable[[str], object]] = {
        "kind": KINDS.__contains__,
        "base": BASE.fullmatch,
        "control_kind": CONTROL_KIND.fullmatch,
        "prediction_type": PREDICTION_TYPES.__contains__,
    }
    return bool(checks[name](value))


def _allowed(name: str) -> str:
    allowed = {
        "favourite": "Use true or false.",
        "notes": f"Use text of at most {NOTES_MAX:,} characters.",
        "kind": f"Choose one of: {', '.join(KINDS)}; null takes a correction back.",
        "base": "Choose sd1, sd2, sdxl, sdxl-refiner or unknown; null takes a correction back.",
        "control_kind": "Use a short word such as scribble; null takes a correction back.",
        "prediction_type": "Choose epsilon, v_prediction or sample; null takes a correction back.",
    }
    return allowed.get(name, f"Use a list of at most {TAGS} texts of at most {TAG_MAX} characters.")


def _texts(name: str, value: Any) -> list[str]:
    """Texts without repeats, stripped. Raises: InvalidRequestError."""
    parts = cast(list[Any], value) if isinstance(value, list) else [None]
    if len(parts) > TAGS or not all(isinstance(part, str) and len(part) <= TAG_MAX for part in parts):
        raise InvalidRequestError(f"{name} is no list of short texts.", field=name, hint=_allowed(name))
    return list(dict.fromkeys(text for part in parts if (text := _clean(part).strip())))


def _clean(text: str) -> str:
    """Text that the database can hold: JSON may carry halves of characters."""
    return text.encode("utf-8", "replace").decode()

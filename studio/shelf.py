"""The shelf: every LoRA, hypernetwork and embedding, what each fits, and why the rest does not."""

from dataclasses import dataclass
from typing import Any

from studio.access import User
from studio.errors import MissingError, StudioError
from studio.library.entry import ModelEntry
from studio.library.fit import fits, misfit
from studio.library.index import Library
from studio.models import row_view
from studio.stacking import is_called

KINDS = ("lora", "embedding", "hypernetwork")
NOTES_SHOWN = 300


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to show of the shelf. text: words that name, tags, notes or trigger words hold; kind: one of KINDS, or "";
    checkpoint: a name; fitting: only what can be used with it."""

    text: str = ""
    kind: str = ""
    checkpoint: str = ""
    fitting: bool = True
    offset: int = 0
    limit: int = 60


@dataclass(frozen=True)
class Shelf:
    """Looks through the library for whoever composes a stack."""

    library: Library

    def page(self, wanted: Wanted, user: User) -> dict[str, Any]:
        """Some adapters, those that fit first, with a star first and then by name; how many there are, and do not fit.

        Rows are those of the models with `trigger_words`, `notes`, `fits`, and for one that does not fit `why`.
        """
        words, chosen = wanted.text.casefold().split(), self._checkpoint(wanted.checkpoint)
        found = [e for e in self.library.entries() if e.kind in KINDS and wanted.kind in ("", e.kind)]
        found = [e for e in found if _holds(e, words, user)]
        fitting = [e for e in found if _fits(e, chosen)]
        rest = [] if wanted.fitting else [e for e in found if not _fits(e, chosen)]
        shown = [*sorted(fitting, key=_order), *sorted(rest, key=_order)]
        rows = shown[wanted.offset : wanted.offset + wanted.limit]
        return {
            "adapters": [self.row(entry, chosen, user) for entry in rows],
            "total": len(shown),
            "misfits": len(found) - len(fitting),
        }

    def one(self, kind: str, name: str, checkpoint: str, user: User) -> dict[str, Any]:
        """The row of an adapter by its name. Raises: MissingError."""
        entries = [e for e in self.library.entries(kind if kind in KINDS else "lora") if is_called(e, name)]
        if not user.may("models"):
            entries = [e for e in entries if e.usable]
        if not entries:
            raise MissingError(f"{name[:80]} is not here.", hint="Look at the shelf for what is.")
        exact = next((e for e in entries if e.name == name), entries[0])
        return self.row(exact, self._checkpoint(checkpoint), user)

    def row(self, entry: ModelEntry, checkpoint: ModelEntry | None, user: User) -> dict[str, Any]:
        """One adapter as front ends show it."""
        own = user.may("models")
        about = {
            "family": entry.family,
            "trigger_words": list(entry.trigger_words),
            "notes": entry.notes[:NOTES_SHOWN] if own else "",
            "fits": _fits(entry, checkpoint),
        }
        return row_view(entry, user) | about | ({} if about["fits"] else {"why": self._why(entry, checkpoint)})

    def _why(self, entry: ModelEntry, checkpoint: ModelEntry | None) -> str:
        if not entry.usable:
            return entry.reason
        refusal = misfit(entry, checkpoint) if checkpoint else None
        return str(refusal) if refusal else ""

    def _checkpoint(self, name: str) -> ModelEntry | None:
        try:
            return self.library.find(name, "checkpoint") if name else None
        except StudioError:
            return None


def _fits(entry: ModelEntry, checkpoint: ModelEntry | None) -> bool:
    return entry.usable and (checkpoint is None or fits(entry, checkpoint))


def _order(entry: ModelEntry) -> tuple[bool, str]:
    return not entry.favourite, entry.name.casefold()


def _holds(entry: ModelEntry, words: list[str], user: User) -> bool:
    """Whether it has all of the words; a guest finds usable ones, by their names alone."""
    if user.may("models"):
        return all(word in entry.words for word in words)
    return entry.usable and all(word in entry.name.casefold() for word in words)

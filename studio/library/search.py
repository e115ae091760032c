"""Searching and paging through the models, as somebody types. Ten thousand are a few milliseconds: no index is kept."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from studio.library.entry import ModelEntry

SORTS: dict[str, Callable[[ModelEntry], Any]] = {
    "name": lambda entry: entry.name.casefold(),
    "size": lambda entry: -entry.bytes,
    "used": lambda entry: -(entry.last_used or 0.0),
    "added": lambda entry: -entry.modified,
}


@dataclass(frozen=True, kw_only=True)
class Query:
    """What to look for; "" and None leave a filter out. sort is one of SORTS.

    Fields:
        text: Words that must all occur, in any order: in names, tags, notes, trigger words.
        kind: "checkpoint" means those in folders, too.
    """

    text: str = ""
    kind: str = ""
    base: str = ""
    usable: bool | None = None
    favourite: bool | None = None
    sort: str = "name"
    offset: int = 0
    limit: int = 60


@dataclass(frozen=True)
class Page:
    """Some of the models that were found. counts: {"kind": {name: how many}, "base": {...}}, each of them as if its own
    filter were off, so that a front end can say what another choice would show."""

    rows: list[ModelEntry]
    total: int
    counts: dict[str, dict[str, int]]


def search(entries: Sequence[ModelEntry], query: Query, *, guest: bool = False) -> Page:
    """The page of the models that the query asks for; a guest finds usable ones, by their names alone.

    Raises: KeyError, for an unknown sort.
    """
    words = query.text.casefold().split()
    if guest:
        query = replace(query, favourite=None)
        matching = [e for e in entries if e.usable and _passes(e, query) and _holds(e.name.casefold(), words)]
    else:
        matching = [e for e in entries if _passes(e, query) and _holds(e.words, words)]
    of_base = [e for e in matching if query.base in ("", e.base)]
    of_kind = [e for e in matching if query.kind in ("", e.kind)]
    found = [e for e in of_base if query.kind in ("", e.kind)]
    by_name = sorted(found, key=SORTS["name"])
    ordered = by_name if query.sort == "name" else sorted(by_name, key=SORTS[query.sort])
    counts = {"kind": Counter(e.kind for e in of_base), "base": Counter(e.base for e in of_kind)}
    return Page(
        rows=ordered[query.offset : query.offset + query.limit],
        total=len(ordered),
        counts={name: dict(sorted(counter.items())) for name, counter in counts.items()},
    )


def _holds(text: str, words: Sequence[str]) -> bool:
    return all(word in text for word in words)


def _passes(entry: ModelEntry, query: Query) -> bool:
    return query.usable in (None, entry.usable) and query.favourite in (None, entry.favourite)

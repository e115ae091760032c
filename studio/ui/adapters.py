"""The stack of adapters as the form holds it: how much each counts, in which order, and which are off.

A stack is {"solo": name of a row or "", "rows": [{"on", and the fields of an adapter but its id}]}. A row is named by
kind and name, and stands once.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from studio.errors import InvalidRequestError
from studio.params import ADAPTERS_MAX, AdapterRef, GenerationRequest

Stack = dict[str, Any]
FIELDS = ("name", "kind", "weight", "text_weight", "blocks", "start", "end", "curve", "rank")


def empty_stack() -> Stack:
    """Nothing on it."""
    return {"solo": "", "rows": []}


def name_of(row: Mapping[str, Any]) -> str:
    """What a row is called in its stack."""
    return f"{row['kind']}:{row['name']}"


def clean_stack(value: object) -> Stack:
    """A stack from a draft or a page: rows that can be read, each once."""
    given = value if isinstance(value, Mapping) else {}
    listed = given.get("rows")
    rows: dict[str, dict[str, Any]] = {}
    for row in (listed if isinstance(listed, list) else ())[:ADAPTERS_MAX]:
        if (clean := _row(row)) is not None:
            rows.setdefault(name_of(clean), clean)
    solo = given.get("solo")
    return {"solo": solo if solo in rows else "", "rows": list(rows.values())}


def counted(stack: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The adapters of a request, in order: the one that is heard alone, or those that are on."""
    solo = stack["solo"]
    rows = [row for row in stack["rows"] if (name_of(row) == solo if solo else row["on"])]
    return [{name: row[name] for name in FIELDS} for row in rows]


def stack_of(refs: Iterable[AdapterRef]) -> Stack:
    """The stack for a request's adapters; what stands twice has the sum of its weights."""
    rows: dict[str, dict[str, Any]] = {}
    for ref in refs:
        row = {name: getattr(ref, name) for name in FIELDS} | {"on": True, "blocks": [list(b) for b in ref.blocks]}
        if (twin := rows.get(name_of(row))) is not None:
            twin["weight"] = max(-4.0, min(4.0, twin["weight"] + row["weight"]))
        else:
            rows[name_of(row)] = row
    return {"solo": "", "rows": list(rows.values())}


def _row(row: object) -> dict[str, Any] | None:
    """A row that can be asked for; None for one that cannot."""
    if not isinstance(row, Mapping):
        return None
    given = {name: row[name] for name in FIELDS if name in row}
    try:
        (ref,) = GenerationRequest.from_dict({"adapters": [given]}).adapters
    except InvalidRequestError:
        return None
    return stack_of([ref])["rows"][0] | {"on": row.get("on") is not False}

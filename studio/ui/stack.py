"""The stack of controls: how much each tab's drawing counts, in which order, and which are left out.

A stack is {"solo": kind or "", "units": [{"kind", "on", and the fields of a control that are set beside the canvas}]}.
A unit with a "map" is a finished one without a tab of its own, as a picture's settings or the command line bring it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from typing import Any

from studio.params import CONTROL_MODES, ControlUnit

SET = ("conditioning_scale", "control_guidance_start", "control_guidance_end", "mode")
TEXTS = ("model", "mask", "resize_mode")
SCALES = {"regions": 0.5}
"""How a row begins where that is not as trained: half of the prompt, which tells of the whole, and half of the region's
own words. Of the pack's checkpoint this keeps most things in their places: tests/starter/test_regions.py."""
NUMBERS = {"conditioning_scale": (0.0, 2.0), "control_guidance_start": (0.0, 1.0), "control_guidance_end": (0.0, 1.0)}
MOST = 20

Stack = dict[str, Any]
Row = dict[str, Any]


def fresh_row(kind: str) -> Row:
    """A unit as it begins: on, and as trained."""
    unit = ControlUnit(kind=kind, map="", conditioning_scale=SCALES.get(kind, 1.0))
    return {"kind": kind, "on": True, **{name: getattr(unit, name) for name in SET}}


def fresh_stack(kinds: Iterable[str]) -> Stack:
    """A unit for each tab, in their order."""
    return {"solo": "", "units": [fresh_row(kind) for kind in kinds]}


def clean_stack(value: object, kinds: Iterable[str]) -> Stack:
    """A stack from a draft: rows that can be read, one for each tab; what cannot be read begins anew."""
    given = value if isinstance(value, Mapping) else {}
    listed = given.get("units")
    rows = [clean for row in (listed if isinstance(listed, list) else ())[:MOST] if (clean := _row(row)) is not None]
    with_tab = {row["kind"]: row for row in rows if "map" not in row}
    tabs = list(kinds)
    kept = [row for row in rows if "map" in row or (row["kind"] in tabs and with_tab[row["kind"]] is row)]
    kept += [fresh_row(kind) for kind in tabs if kind not in with_tab]
    solo = given.get("solo")
    return {"solo": solo if any(name_of(row) == solo for row in kept) else "", "units": kept}


def name_of(row: Mapping[str, Any]) -> str:
    """What a unit is called in its stack: its kind; with its map, where it is a finished one."""
    return f"{row['kind']}:{row['map']}" if "map" in row else row["kind"]


def counted(stack: Mapping[str, Any]) -> list[Row]:
    """The units that count, in order: the one that is heard alone, or those that are not left out."""
    units, solo = stack["units"], stack["solo"]
    return [row for row in units if (name_of(row) == solo if solo else row["on"])]


def settings(row: Mapping[str, Any], unit: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The fields of a control unit that a row sets: all of a finished one.

    unit: What the tab made; a conditioning_scale that it has already is a share of the row's.
    """
    fields = {name: value for name, value in row.items() if name not in ("on", "kind")}
    share = (unit or {}).get("conditioning_scale", 1.0)
    return fields | {"conditioning_scale": min(2.0, fields["conditioning_scale"] * share)}


def row_of(unit: ControlUnit, *, several: bool = False) -> Row:
    """The row that stands for a unit with a tab; of several, each has its own scale, and the row that of all."""
    kept = {name: text for name in TEXTS if (text := getattr(unit, name)) != getattr(_plain(unit), name)}
    row = {"kind": unit.kind, "on": True, **{name: getattr(unit, name) for name in SET}, **kept}
    return row | {"conditioning_scale": 1.0} if several else row


def _plain(unit: ControlUnit) -> ControlUnit:
    return ControlUnit(kind=unit.kind, map=unit.map)


def finished_row(unit: ControlUnit) -> Row:
    """The row of a unit without a tab; models are chosen anew when the checkpoint is another."""
    changed = {field.name for field in fields(unit) if getattr(unit, field.name) != getattr(_plain(unit), field.name)}
    whole = {name: value for name, value in asdict(unit).items() if name in changed | {"kind", "map"}}
    return {**row_of(unit), **{name: value for name, value in whole.items() if name not in ("model_id", "encoder_id")}}


def _row(row: object) -> Row | None:
    if not isinstance(row, Mapping) or not isinstance(row.get("kind"), str):
        return None
    if isinstance(row.get("map"), str):
        return dict(row)  # read as a control when a picture is asked for, and refused there by name
    clean = fresh_row(row["kind"]) | {"on": row.get("on") is not False}
    for name, (low, high) in NUMBERS.items():
        number = row.get(name)
        if isinstance(number, int | float) and not isinstance(number, bool) and low <= number <= high:
            clean[name] = float(number)
    clean["mode"] = row["mode"] if row.get("mode") in CONTROL_MODES else clean["mode"]
    return clean | {name: text for name in TEXTS if isinstance(text := row.get(name), str) and text}

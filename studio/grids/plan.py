"""Which pictures a grid needs, in the order in which expensive things change least."""

import csv
import itertools
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast, get_args, get_type_hints

from studio.errors import InvalidRequestError
from studio.params import GenerationRequest

AXES_MAX, CELLS_MAX = 3, 150
WORDS, FOLLOW, ADAPTER = "words", "conditioning_scale", "adapters."
NEVER = ("controls", "adapters", "init_image", "mask_image", "count")
COSTS = {"checkpoint": 0, "vae": 1, ADAPTER: 2, FOLLOW: 3}
CHEAP = 4
SAYS = {
    "guidance_scale": "guidance",
    "num_inference_steps": "steps",
    "negative_prompt": "leave out",
    FOLLOW: "follow",
}
FIELDS = tuple(name for name in get_type_hints(GenerationRequest) if name not in NEVER)


@dataclass(frozen=True, kw_only=True)
class Axis:
    """What changes along one side of a grid.

    Fields:
        field: A field of a request; "adapters.NAME", the weight of that adapter; "conditioning_scale", of every
            control; or "words", which puts each value where the first one stands in the prompts.
        values: At least one; plain values as JSON has them.
    """

    field: str
    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        is_adapter = self.field.startswith(ADAPTER) and self.field != ADAPTER
        if self.field not in (*FIELDS, WORDS, FOLLOW) and not is_adapter:
            known = ", ".join((*FIELDS, WORDS, FOLLOW, f"{ADAPTER}NAME"))
            raise InvalidRequestError(
                f"A grid cannot change {self.field[:60]!r}.", field="axes", hint=f"Choose one of: {known}."
            )
        if not self.values:
            raise InvalidRequestError(f"The axis {self.field} has no values.", field="axes", hint="Give one at least.")

    @property
    def cost(self) -> int:
        """How much it takes to go from one value to another; the lower the dearer."""
        return COSTS[ADAPTER] if self.field.startswith(ADAPTER) else COSTS.get(self.field, CHEAP)

    @property
    def label(self) -> str:
        """What it is called on the sheet."""
        if self.field.startswith(ADAPTER):
            return self.field.removeprefix(ADAPTER)
        return SAYS.get(self.field, self.field.replace("_", " "))

    @property
    def labels(self) -> list[str]:
        """What its values are called."""
        return [f"{value:g}" if isinstance(value, float) else str(value) for value in self.values]


@dataclass(frozen=True)
class Cell:
    """One picture of a grid. place: which value of each axis it has."""

    place: tuple[int, ...]
    request: GenerationRequest


def plan(request: GenerationRequest, axes: Sequence[Axis]) -> list[Cell]:
    """Every picture, checkpoints outermost, then autoencoders, adapters, controls, and what is cheap.

    Raises: InvalidRequestError, naming the field, for a value that cannot be, and for too many pictures.
    """
    count = 1
    for axis in axes:
        count *= len(axis.values)
    if not 1 <= len(axes) <= AXES_MAX or count > CELLS_MAX:
        raise InvalidRequestError(
            f"A grid of {len(axes)} axes with {count} pictures is not made.",
            field="axes",
            hint=f"Take one to {AXES_MAX} axes, and at most {CELLS_MAX} pictures.",
        )
    order = sorted(range(len(axes)), key=lambda at: axes[at].cost)
    cells: list[Cell] = []
    for chosen in itertools.product(*(range(len(axes[at].values)) for at in order)):
        place = dict(zip(order, chosen, strict=True))
        values: dict[str, Any] = request.to_dict() | {"count": 1}
        for at in order:
            values = _changed(values, axes[at], axes[at].values[place[at]])
        cells.append(Cell(tuple(place[at] for at in range(len(axes))), GenerationRequest.from_dict(values)))
    return cells


def read_axis(field: str, text: str) -> Axis:
    """An axis from what a person types: values with commas between them; one that holds a comma is put in quotes.

    Raises: InvalidRequestError, naming a value that is no number where one is needed.
    """
    parts = [part.strip() for row in csv.reader([text], skipinitialspace=True) for part in row]
    kinds = _kinds(field)
    return Axis(field=field, values=tuple(_value(part, field, kinds) for part in parts if part))


def _kinds(field: str) -> tuple[type, ...]:
    if field.startswith(ADAPTER) or field == FOLLOW:
        return (float,)
    hint = get_type_hints(GenerationRequest).get(field, str)
    return get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def _value(part: str, field: str, kinds: tuple[type, ...]) -> Any:
    if str in kinds:
        return part
    try:
        return int(part) if int in kinds else float(part)
    except ValueError:
        raise InvalidRequestError(
            f"{part[:40]!r} is no number, which {field} needs.", field="axes", hint="Write them as 1, 2, 3."
        ) from None


def _changed(values: dict[str, Any], axis: Axis, value: Any) -> dict[str, Any]:
    """The request's values with the axis' one put in."""
    if axis.field == WORDS:
        return values | _with_words(values, str(axis.values[0]), str(value))
    if axis.field == FOLLOW:
        units = cast(Sequence[Mapping[str, Any]], values.get("controls", ()))
        return values | {"controls": [{**unit, FOLLOW: value} for unit in units]}
    if not axis.field.startswith(ADAPTER):
        return values | {axis.field: value}
    name, refs = axis.field.removeprefix(ADAPTER), cast(Sequence[dict[str, Any]], values.get("adapters", ()))
    if all(ref["name"] != name for ref in refs):
        refs = [*refs, {"name": name}]
    return values | {"adapters": [ref | {"weight": value} if ref["name"] == name else ref for ref in refs]}


def _with_words(values: Mapping[str, Any], old: str, new: str) -> dict[str, str]:
    texts = {name: str(values.get(name, "")) for name in ("prompt", "negative_prompt")}
    if not any(old in text for text in texts.values()):
        raise InvalidRequestError(
            f"The words {old[:60]!r} stand in neither prompt.",
            field="axes",
            hint="The first value is replaced by each.",
        )
    return {name: text.replace(old, new) for name, text in texts.items()}


def axes_of(value: object) -> list[Axis]:
    """Axes from JSON: [{"field", "values": [...]}], or "text" in place of values. Raises: InvalidRequestError."""
    rows = cast(list[Any], value) if isinstance(value, list) else [None]
    return [_axis(row) for row in rows]


def _axis(row: object) -> Axis:
    given: Mapping[str, Any] = cast(Mapping[str, Any], row) if isinstance(row, Mapping) else {}
    field, values, text = given.get("field"), given.get("values"), given.get("text")
    if isinstance(field, str) and isinstance(text, str):
        return read_axis(field, text)
    if not isinstance(field, str) or not isinstance(values, list):
        raise InvalidRequestError(
            "An axis has a field and values.", field="axes", hint='Give {"field": "guidance_scale", "values": [3, 5]}.'
        )
    return Axis(field=field, values=tuple(cast(list[Any], values)))

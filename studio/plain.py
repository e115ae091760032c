"""Plain values, as JSON and TOML hold them, read into frozen dataclasses."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from types import UnionType
from typing import Any, cast, get_args, get_origin, get_type_hints

from studio.errors import InvalidRequestError


def read_plain(cls: Any, data: Any, what: str) -> Any:
    """A frozen dataclass from what JSON or TOML gives; `what` names it for people.

    Fields may be text, numbers, true or false, None, tuples of these, and dataclasses.
    Raises: InvalidRequestError, naming the field, for unknown and missing fields, wrong types and numbers that are not
        finite.
    """
    if not isinstance(data, Mapping):
        raise InvalidRequestError(f"The {what} is not an object with named fields.", field=what)
    values, hints = cast(Mapping[str, Any], data), get_type_hints(cls)
    if unknown := sorted(set(values) - set(hints)):
        raise InvalidRequestError(
            f"Unknown field {unknown[0]!r}.", field=str(unknown[0]), hint=f"Known fields: {', '.join(hints)}."
        )
    required = {f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING}
    if missing := sorted(required - set(values)):
        raise InvalidRequestError(f"The field {missing[0]!r} is missing.", field=missing[0])
    return cls(**{name: _value(hints[name], value, name) for name, value in values.items()})


def _value(hint: Any, value: Any, field: str) -> Any:
    if get_origin(hint) is UnionType:
        if value is None:
            return None
        hint = next(arg for arg in get_args(hint) if arg is not type(None))
    if get_origin(hint) is tuple:
        return _items(hint, value, field)
    if is_dataclass(hint):
        return read_plain(hint, value, field)
    return _scalar(hint, value, field)


def _items(hint: Any, value: Any, field: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise InvalidRequestError(f"{field} must be a list, found {value!r:.60}.", field=field)
    items, args = cast(Sequence[Any], value), get_args(hint)
    if args[-1] is Ellipsis:
        return tuple(_value(args[0], item, field) for item in items)
    if len(items) != len(args):
        raise InvalidRequestError(f"{field} must hold {len(args)} values, found {len(items)}.", field=field)
    return tuple(_value(arg, item, field) for arg, item in zip(args, items, strict=True))


def _scalar(hint: Any, value: Any, field: str) -> Any:
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if hint is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise InvalidRequestError(f"{field} must be {words[hint]}, found {value!r:.60}.", field=field)
    if hint is float and not math.isfinite(value):
        raise InvalidRequestError(f"{field} must be a finite number, found {value}.", field=field)
    return value

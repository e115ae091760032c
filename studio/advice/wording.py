"""Values of settings as a person writes them, the same in a sentence as in the field that shows them."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, cast

DIGITS = 6
SMALL = 1e-6  # smaller numbers are shown with an exponent, as a browser's field shows them


def written(value: Any) -> str:
    """8.0 is "8", 5e-05 is "0.00005", 2e-07 is "2e-7", True is "yes", a list its items, and nothing is "none"."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return _number(value)
    if isinstance(value, list | tuple):
        return ", ".join(written(one) for one in cast(Sequence[Any], value)) or "none"
    return str(value) or "none"


def _number(value: float) -> str:
    text = f"{value:.{DIGITS}g}" if isinstance(value, float) else str(value)
    if "e" not in text or abs(value) >= SMALL:
        return format(Decimal(text), "f")
    mantissa, _, exponent = text.partition("e")
    return f"{mantissa}e{int(exponent)}"

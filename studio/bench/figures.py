"""A measured value and its bar."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.errors import InvalidRequestError
from studio.settings import BUILTIN

SCENES = 200  # of an exam


@dataclass(frozen=True)
class Figure:
    """One measured value. bar: None for information only; better: "lower" or "higher"; error: its standard error."""

    value: float
    unit: str
    bar: float | None = None
    better: str = "lower"
    error: float | None = None

    @property
    def ok(self) -> bool:
        """Whether the bar is reached."""
        if self.bar is None:
            return True
        return self.value <= self.bar if self.better == "lower" else self.value >= self.bar

    def to_dict(self) -> dict[str, Any]:
        """The row of the JSON report."""
        plain = {"value": float(f"{self.value:.6g}"), "bar": self.bar, "better": self.better}
        known = {} if self.error is None else {"standard_error": float(f"{self.error:.3g}")}
        return plain | {"ok": self.ok, "unit": self.unit} | known


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a suite may be told.

    Fields:
        pack: The starter pack that is measured.
        scenes: How many; pictures: a file for a sheet of them.
        parts: Only these, of a suite that has parts; none are all.
    """

    pack: Path = BUILTIN / "assets" / "starter"
    scenes: int = SCENES
    pictures: Path | None = None
    parts: tuple[str, ...] = ()

    def chosen(self, known: Sequence[str]) -> list[str]:
        """The parts to measure, in the suite's order. Raises: InvalidRequestError, for one that it does not have."""
        if unknown := [name for name in self.parts if name not in known]:
            has = f"Choose: {', '.join(known)}." if known else "It has none; measure it whole."
            raise InvalidRequestError(f"This suite has no part {unknown[0]!r}.", field="part", hint=has)
        return [name for name in known if not self.parts or name in self.parts]

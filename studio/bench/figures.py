"""A measured value and its bar."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One measured value. bar: None for information only; better: "lower" or "higher"."""

    value: float
    unit: str
    bar: float | None = None
    better: str = "lower"

    @property
    def ok(self) -> bool:
        """Whether the bar is reached."""
        if self.bar is None:
            return True
        return self.value <= self.bar if self.better == "lower" else self.value >= self.bar

    def to_dict(self) -> dict[str, Any]:
        """The row of the JSON report."""
        plain = {"value": float(f"{self.value:.6g}"), "bar": self.bar, "better": self.better}
        return plain | {"ok": self.ok, "unit": self.unit}

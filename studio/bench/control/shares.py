"""Means over scenes, shares that are made of them, and their standard errors."""

from collections.abc import Callable

import numpy as np

from studio.bench.figures import Figure
from studio.starter.obedience import Values

DRAWS = 1000


def measured(values: Values, unit: str) -> Figure:
    """The mean of N scenes with its standard error, for information."""
    return Figure(float(values.mean()), unit, error=float(values.std(ddof=1) / len(values) ** 0.5))


def resampled(value: Callable[..., float], *columns: Values) -> float:
    """The standard error of what is made of columns (N,), a row a scene: its spread when scenes are drawn anew.

    Half the range of the middle 68 %, since a share has a far tail when what it divides by comes near to nothing.
    Source: Efron, Bootstrap Methods, 1979.
    """
    count = len(columns[0])
    rows = np.random.default_rng(0).integers(0, count, (DRAWS, count))
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = np.array([value(*(column[chosen] for column in columns)) for chosen in rows])
    low, high = np.percentile(drawn[np.isfinite(drawn)], (16, 84))
    return float(high - low) / 2


def gain(both: float, alone: float, off: float) -> float:
    """What is gained with another control beside it, over what is gained alone."""
    return (both - off) / (alone - off)

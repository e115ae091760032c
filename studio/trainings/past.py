"""What earlier runs tell of a new one: how long it will take."""

from collections.abc import Iterable
from typing import Any

from studio.training_pace import MEASURE, STEP, Pace
from studio.training_params import TrainingParams
from studio.trainings.run import Run

LIKE = (
    "method",
    "base",
    "batch",
    "accumulation",
    "resolution",
    "precision",
    "gradient_checkpointing",
    "rank",
    "conv_rank",
)
FEWEST = 10  # steps below which a pace says little


def estimate(params: TrainingParams, runs: Iterable[Run]) -> dict[str, Any] | None:
    """Seconds by the pace of the last run of the same shape, and how much memory it took; None without one."""
    alike = [run for run in runs if run.step >= FEWEST and run.seconds and _same(params, run.params)]
    if not alike:
        return None
    last = max(alike, key=lambda run: run.created)
    step, memory = last.seconds / last.step, (last.estimate or {}).get("bytes")
    told = last.pace or {}
    costs = {**told.get("costs", {}), STEP: step}
    seconds = float(told.get("before", 0.0)) + Pace(costs).left(params, 0)
    text = f"As {last.params.name} took {step:.2g} seconds a step."
    if told:
        text = f"{text[:-1]}, and {costs.get(MEASURE, 0.0):.2g} for scores at a step."
    return {"seconds": seconds, "bytes": memory, "ok": True, "text": text}


def _same(one: TrainingParams, other: TrainingParams) -> bool:
    return all(getattr(one, name) == getattr(other, name) for name in LIKE)

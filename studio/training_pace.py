"""How long a run takes: what each of its parts costs, measured as it happens, and how many of them are still due."""

import math
from dataclasses import dataclass, field

from studio.training_params import TrainingParams

STEP, MEASURE, SAMPLE, SAVE, LATE_SAVE = "step", "measure", "sample", "save", "late_save"
FRESH = {STEP: 0.1}  # the share of what was measured last in the cost of a part
FRESH_ELSE = 0.5


@dataclass
class Pace:
    """What a run has cost so far.

    Fields:
        costs: Seconds of one step, measurement (with its scores), round of samples, save, and save at a step that is
            not measured, which is scored by itself. What has not happened yet is missing, or expected.
        spent: Seconds of all of each so far.
    """

    costs: dict[str, float] = field(default_factory=dict[str, float])
    spent: dict[str, float] = field(default_factory=dict[str, float])

    def expect(self, part: str, seconds: float) -> None:
        """What it will cost by what is known beforehand; what was measured counts more."""
        if part not in self.spent:
            self.costs[part] = seconds

    def took(self, part: str, seconds: float) -> None:
        """It has happened, and took so long."""
        share = FRESH.get(part, FRESH_ELSE)
        known = self.costs.get(part, seconds)
        self.costs[part] = known + share * (seconds - known)
        self.spent[part] = self.spent.get(part, 0.0) + seconds

    def left(self, params: TrainingParams, step: int, *, marked: bool = False) -> float:
        """Seconds to the end of a run that has taken `step` steps. marked: with what is due after the last of them."""
        count = {**due(params, step + marked), STEP: params.steps - step}
        cost = {LATE_SAVE: self.costs.get(SAVE, 0.0) + self.costs.get(MEASURE, 0.0), **self.costs}
        return sum(times * cost.get(part, 0.0) for part, times in count.items())


def due(params: TrainingParams, step: int) -> dict[str, int]:
    """How often each part is due after `step` steps and later: all but steps at the last one, too."""
    last, first = params.steps, max(step, 1)
    saves = _times(params.save_every, first, last)
    both = math.lcm(params.save_every, params.measure_every)
    measured = _times(both, first, last)
    return {
        STEP: max(0, last - step),
        MEASURE: _times(params.measure_every, step, last),
        SAMPLE: _times(params.sample_every, first, last),
        SAVE: measured,
        LATE_SAVE: saves - measured,
    }


def _times(every: int, first: int, last: int) -> int:
    """Multiples of `every` from `first` to before `last`, and the last; 0 has no multiples."""
    if first > last:
        return 0
    return 1 + ((last - 1) // every - (first - 1) // every if every else 0)

"""What a run does when it fails: how it goes on after numbers that are none, and with less memory than it asked for."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from studio.errors import OutOfMemoryError, TrainingError
from studio.training.step import Found, Manner

FAILURES = 4  # at one place, each with half the rate of the one before
WILD = 25.0  # a loss that no sound model has: one that says nothing at all loses about 1
FP16_SCALE, STEADY = 65536.0, 2000  # a scale of the loss to begin with, and the good steps after which it doubles


@dataclass
class Recovery:
    """How a run has learned to go on; kept in its state.

    Fields:
        rate: A factor on the learning rate, halved after each failure.
        failures, failed_at: How often in a row, and the last step that failed; getting past it ends the row.
        saving_memory: Gradient checkpointing was turned on. pieces: batches are cut in so many.
        scale, steady: Of the loss, and how many steps it held.
    """

    rate: float = 1.0
    failures: int = 0
    failed_at: int = -1
    saving_memory: bool = False
    pieces: int = 1
    scale: float = 1.0
    steady: int = 0

    @property
    def manner(self) -> Manner:
        """How a step is carried out now."""
        return Manner(self.pieces, self.scale)

    @property
    def stuck(self) -> bool:
        """It failed so often at one place that the state that it went back to may be spoilt itself."""
        return self.failures > FAILURES / 2

    def rows(self, batch: int) -> int:
        """How many pictures of a batch fit into memory at once."""
        return math.ceil(batch / self.pieces)

    def passed(self, step: int) -> None:
        """A step went well."""
        if step > self.failed_at:
            self.failures = 0
        self.steady += 1
        if self.steady >= STEADY and 1 < self.scale < FP16_SCALE:
            self.scale, self.steady = self.scale * 2, 0

    def rescaled(self, found: Found) -> bool:
        """Whether only the scale of the loss was too large; it is halved then, and the step can be taken again."""
        if not math.isfinite(found.loss) or self.scale <= 1:
            return False
        self.scale, self.steady = self.scale / 2, 0
        return True

    def slow_down(self, step: int, found: Found) -> None:
        """Halve the rate. Raises: TrainingError, if that was done too often at one place already."""
        self.failures += 1
        self.failed_at = max(step, self.failed_at)
        if self.failures > FAILURES:
            raise TrainingError(
                f"{trouble_of(found)} at step {step + 1}{_of(found.pictures)}, and it failed {FAILURES} times before,"
                " though the learning rate was halved each time.",
                hint="Look at those pictures, and start again with a lower learning rate or precision fp32.",
            )
        self.rate /= 2

    def tighten(self, batch: int, save_memory: Callable[[], bool]) -> str:
        """One rung down to less memory. Returns: what was done.

        Args:
            save_memory: Turns gradient checkpointing on; False where it was on or nothing can do it.
        Raises: OutOfMemoryError, if nothing is left to be done.
        """
        if not self.saving_memory:
            self.saving_memory = True
            if save_memory():
                return "gradient checkpointing is on"
        if self.pieces >= batch:
            raise OutOfMemoryError(
                "There is too little memory to train on even one picture at a time.",
                hint="Choose a lower resolution or rank, the optimizer adafactor or adamw8bit, or another method.",
            )
        self.pieces *= 2
        return f"batches of {batch} are taken {self.rows(batch)} at a time"


def trouble_of(found: Found) -> str:
    """Why the optimizer may not use a step; "" if it may."""
    if not math.isfinite(found.loss):
        return "The loss was no number"
    if found.loss > WILD:
        return f"The loss was {found.loss:.3g} (a model that says nothing has about 1)"
    return "" if math.isfinite(found.norm) else "The gradient was no number"


def _of(pictures: Sequence[str]) -> str:
    more = f" and {len(pictures) - 3} more" if len(pictures) > 3 else ""
    return f" ({', '.join(pictures[:3])}{more})" if pictures else ""

"""What a generation says from its first step to its last."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from studio.prompts.compose import split_and
from studio.prompts.schedule import Span, schedule


@dataclass(frozen=True)
class Line:
    """One of the prompts that AND joins: its weight, and its words until which step, from 1."""

    weight: float
    spans: Sequence[Span]


@dataclass(frozen=True)
class Script:
    """The lines of a prompt, and its negative prompt's one line."""

    told: Sequence[Line]
    untold: Line

    def texts(self) -> Iterator[str]:
        """Every text that is said, in order; some perhaps more than once."""
        return (text for line in (*self.told, self.untold) for _, text in line.spans)


def read_script(prompt: str, negative_prompt: str, steps: int) -> Script:
    """Split the prompt at AND, and each part and the negative prompt at the steps at which they change.

    steps: How many run, at least 1.
    """
    told = [Line(weight, schedule(part, steps)) for part, weight in split_and(prompt)]
    return Script(told, Line(1.0, schedule(negative_prompt, steps)))

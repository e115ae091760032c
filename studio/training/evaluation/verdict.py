"""Whether to go on: still learning, best about here, or memorising, from what was measured so far.

Each question is asked of changes that have an error of their own. Losses of pictures that were held out are compared
part by part, with the same noise at the same timestep, and pictures by the same seed: what differs between parts falls
out, so that even one picture that is held out says when its loss has turned.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from studio.training.evaluation.scores import Scale, Scores
from studio.training.evaluation.sight import Values

LEARNING, BEST, MEMORISING = "learning", "best", "memorising"
# Thresholds are between what long runs of the starter's four subjects showed at a quarter of their best length, at it
# and at five times as much: tests/training/evaluation/series.py has them, and python launch.py bench --suite training
# measures them anew.
# A held-out loss was at 1.05 to 1.87 times its least at the best length, and at 2.0 to 3.1 or more at last.
CLIMB = 1.9
FALL = 0.01  # of a held-out loss: less in the last quarter of the run is nothing
GROWS = 0.08  # of the way to the subject's own pictures, in the last third of the run
DROP = 0.15  # of the worth below its best, where nothing is held out
TIE = 0.1  # of the worth: a few pictures tell no finer
SURE = 2.0  # standard errors that a change must be beyond
TEXTS = {
    LEARNING: "Still learning: more steps still help with pictures that it was not shown, or make it more alike."
    " Step {best} is best so far.",
    BEST: "Best about here: more steps add little, and it does not yet repeat the training pictures. Step {best} is"
    " best.",
    MEMORISING: "Memorising: it knows the training pictures better, and new ones much worse. Step {best} was best.",
}


@dataclass(frozen=True)
class Measured:
    """One measurement of a run.

    Fields:
        step: After how many steps. scores: of pictures; None where nothing scores them.
        train_loss, held_loss: At fixed noise and timesteps; None where nothing is held out, or it was not measured.
        parts: What held_loss is the mean of: always the same pictures, noise and timesteps in the same order.
    """

    step: int
    scores: Scores | None = None
    train_loss: float | None = None
    held_loss: float | None = None
    parts: tuple[float, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """verdict: "learning", "best" or "memorising"; text: the same in a sentence; best_step: the best so far."""

    verdict: str
    text: str
    best_step: int


@dataclass(frozen=True)
class Change:
    """From one measurement to another. error: standard, of paired differences; 0 where there are no pairs."""

    mean: float
    error: float = 0.0

    def beyond(self, bar: float) -> bool:
        """Whether it is above the bar by more than chance."""
        return self.mean - SURE * self.error > bar


def verdict(history: Sequence[Measured], scale: Scale | None, saved: Sequence[int] = ()) -> Verdict:
    """What the measurements so far say, in order of their steps, the first of the base model or near it.

    Args:
        scale: None without a CLIP; the losses decide then.
        saved: Steps that are kept: where there are any, the best is one of them.
    Raises: ValueError, without any measurement.
    """
    if not history:
        raise ValueError("there is no measurement")
    found, best = state(history, scale), best_step(history, scale, saved)
    return Verdict(found, TEXTS[found].format(best=best), best)


def state(history: Sequence[Measured], scale: Scale | None) -> str:
    """The verdict alone. Only two measurements in a row that say so are a run that memorises."""
    told = _losses(history) or history
    ends = [i + 1 for i, one in enumerate(history) if any(one is other for other in told)][-2:]
    said = [by_heart(history[:end], scale) for end in ends]
    if said == [True, True]:
        return MEMORISING
    if said[-1]:
        return BEST
    return LEARNING if len(history) < 2 or falls(history) or grows(history, scale) else BEST


def best_step(history: Sequence[Measured], scale: Scale | None, saved: Sequence[int] = ()) -> int:
    """The step to keep: the one decision for the verdict, the page and the result.

    Of states that do not know their pictures by heart the one that is worth most, or the last of those after it that
    are worth about as much and, for all that can be told, no less alike. Without a CLIP the one with the least held-out
    loss; without that the last.
    """
    kept = [i for i, one in enumerate(history) if one.step in saved] or list(range(len(history)))
    fair = [i for i in kept if not by_heart(history[: i + 1], scale)] or kept
    if scale is not None and all(one.scores for one in history):
        return history[_most_worth(history, scale, fair)].step
    losses = {i: loss for i in fair if (loss := history[i].held_loss) is not None}
    return history[min(losses, key=lambda i: losses[i]) if losses else fair[-1]].step


def _most_worth(history: Sequence[Measured], scale: Scale, among: Sequence[int]) -> int:
    worth, alike = _smoothed(history, scale.worth), _smoothed(history, scale.progress)
    top = max(among, key=lambda i: (worth[i], i))
    less = [alike[top] - alike[i] - _error(history[top], history[i], scale) for i in range(len(history))]
    return max(i for i in among if i == top or (i > top and worth[i] > worth[top] - TIE and less[i] <= 0))


def _error(before: Measured, now: Measured, scale: Scale) -> float:
    """The standard error of how much more of the way to the subject's own pictures one is than the other."""
    if before.scores is None or now.scores is None:
        return 0.0
    return _paired(before.scores.each, now.scores.each) / scale.way


def by_heart(history: Sequence[Measured], scale: Scale | None) -> bool:
    """Whether what was measured last says that the training pictures are known by heart.

    The held-out loss has climbed far above its least, and pictures grow no more alike; where nothing is held out, what
    a state is worth has dropped.
    """
    if known := _losses(history):
        least = min(known, key=lambda one: one.held_loss or 0.0)
        climbed, bar = change(least, known[-1]), float(np.log(CLIMB))
        return climbed.mean > bar and climbed.beyond(bar / 2) and not grows(history, scale)
    if scale is None or len(history) < 2 or not all(one.scores for one in history):
        return False
    worth = _smoothed(history, scale.worth)
    return bool(worth[-1] < worth.max() - DROP)


def falls(history: Sequence[Measured]) -> bool:
    """Whether the held-out loss still falls: from what it was at three quarters of the steps."""
    known = _losses(history)
    if len(known) < 2:
        return False
    before = _before(known, 3 / 4)
    change_now = change(before, known[-1])
    return Change(-change_now.mean, change_now.error).beyond(FALL)


def grows(history: Sequence[Measured], scale: Scale | None) -> bool:
    """Whether pictures still grow more alike, from what they were at two thirds of the steps.

    More alike than the subject's own pictures are to each other is not more of the subject: it does not count.
    """
    scored = [one for one in history if one.scores is not None]
    if scale is None or len(scored) < 2:
        return False
    before, now = _before(scored, 2 / 3), scored[-1]
    was, now_is = (min(1.0, scale.progress(one.scores)) for one in (before, now) if one.scores is not None)
    return now_is - was > max(GROWS, SURE * _error(before, now, scale))


def change(before: Measured, now: Measured) -> Change:
    """Of the logarithm of the held-out loss."""
    assert before.held_loss is not None, "callers look for losses"
    assert now.held_loss is not None, "callers look for losses"
    ratio = max(now.held_loss, 1e-12) / max(before.held_loss, 1e-12)
    return Change(float(np.log(ratio)), _paired(np.log(before.parts or [1.0]), np.log(now.parts or [1.0])))


def _paired(before: Sequence[float] | Values, now: Sequence[float] | Values) -> float:
    """The standard error of the mean difference of pairs; 0 where there are none."""
    if len(before) != len(now) or len(now) < 2:
        return 0.0
    return float(np.std(np.subtract(now, before), ddof=1) / np.sqrt(len(now)))


def _losses(history: Sequence[Measured]) -> list[Measured]:
    return [one for one in history if one.held_loss is not None]


def _before(history: Sequence[Measured], share: float) -> Measured:
    """The last measurement in that share of the steps; at least the first one, and not the last."""
    early = [one for one in history[:-1] if one.step <= share * history[-1].step]
    return early[-1] if early else history[0]


def _smoothed(history: Sequence[Measured], value: Callable[[Scores], float]) -> Values:
    return smoothed([value(one.scores) for one in history if one.scores is not None])


def smoothed(values: Sequence[float]) -> Values:
    """Each with half of its neighbours: a few pictures say little alone."""
    row = np.asarray(values, float)
    if len(row) < 3:
        return row
    padded = np.concatenate([row[:1], row, row[-1:]])
    return padded[:-2] / 4 + padded[1:-1] / 2 + padded[2:] / 4

"""What is measured of a run, as functions of what a CLIP saw: rows of length one, (N, D) each."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from studio.training.evaluation.sight import Values

DIGITS = 4
# Of the base's obedience, which is counted in full: a CLIP reads less of a place where the subject is large. In runs of
# the starter a judge found the places in all pictures still when this had fallen to 0.65, in a style's to 0.5.
ENOUGH = 0.6
MOST = 1.5  # of the way, more than which counts no more
HARM = 0.25  # what a whole turn of the kind counts against a state that is wholly the subject


@dataclass(frozen=True)
class Scores:
    """What one state of a run shows. Cosines, -1 to 1; None where it cannot be measured.

    Fields:
        similarity: How like the subject's pictures those are that were asked for it. Source: CLIP-I of DreamBooth,
            arXiv:2208.12242, section 4.1, the mean over all pairs.
        nearest: How like one of them each is that is likest.
        obedience: How like the rest of the prompt the same pictures are; CLIP-T of the same source.
        drift: How far pictures of the kind, asked without the trigger, went from the base model's: 0 is not at all.
        each: The similarity of each picture, always of the same prompts and seeds in the same order.
    """

    similarity: float
    nearest: float
    obedience: float | None
    drift: float
    each: tuple[float, ...] = ()

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """The scores of plain values."""
        return cls(**{**data, "each": tuple(data.get("each", ()))})

    def to_dict(self) -> dict[str, Any]:
        """Plain values, rounded; without `each`."""
        told = {name: value for name, value in asdict(self).items() if name != "each"}
        return {name: None if value is None else round(value, DIGITS) for name, value in told.items()}


@dataclass(frozen=True)
class Scale:
    """What the scores are read by.

    Fields:
        base: The scores of the base model.
        among: How like each other the subject's own pictures are: the similarity that a run may reach.
        twins: How like its likest other each of them is: who is nearer than that copies.
    """

    base: Scores
    among: float
    twins: float

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """The scale of plain values."""
        return cls(**{**data, "base": Scores.of(data["base"])})

    def progress(self, scores: Scores) -> float:
        """The share of the way from the base model to the subject's own pictures; may be below 0 and above 1."""
        return (scores.similarity - self.base.similarity) / self.way

    @property
    def way(self) -> float:
        """From the base model's likeness to that of the subject's own pictures; never nothing."""
        return max(1e-3, self.among - self.base.similarity)

    def obeys(self, scores: Scores) -> float:
        """Obedience as a share of ENOUGH of the base model's, at most 1."""
        if scores.obedience is None or self.base.obedience is None or self.base.obedience <= 0:
            return 1.0
        return min(1.0, max(0.0, scores.obedience / (ENOUGH * self.base.obedience)))

    def worth(self, scores: Scores) -> float:
        """One number to choose a state by: it should be the subject, obey the words and leave the rest alone."""
        return min(MOST, self.progress(scores)) * self.obeys(scores) - HARM * scores.drift


def similarity(made: Values, subject: Values) -> float:
    """Mean cosine over all pairs."""
    return float((made @ subject.T).mean())


def each(made: Values, subject: Values) -> tuple[float, ...]:
    """Of each its mean cosine with the subject's."""
    return tuple(round(float(value), DIGITS + 1) for value in (made @ subject.T).mean(1))


def nearest(made: Values, subject: Values) -> float:
    """Mean cosine of each with the likest of the subject's."""
    return float((made @ subject.T).max(1).mean())


def agreement(made: Values, others: Values) -> float:
    """Mean cosine of each with its own other."""
    return float((made * others).sum(1).mean())


def among(subject: Values) -> tuple[float, float]:
    """Mean cosine of the subject's pictures with each other, and with the likest other; 1 and 1 of a single one."""
    count = len(subject)
    if count < 2:
        return 1.0, 1.0
    pairs = subject @ subject.T
    twins = (pairs - 3 * np.eye(count)).max(1).mean()
    return float((pairs.sum() - pairs.trace()) / (count * (count - 1))), float(twins)

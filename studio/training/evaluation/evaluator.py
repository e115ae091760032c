"""Makes the pictures that a run is judged by, and scores them."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from studio.files import write_whole
from studio.training.evaluation.questions import Questions
from studio.training.evaluation.scores import Scale, Scores, agreement, among, each, nearest, similarity
from studio.training.evaluation.sight import Picture, See, Values

STEPS = 12  # of a picture that is scored: enough to see what it is
Paint = Callable[[Sequence[str], int, Mapping[str, Any]], list[Picture]]


@dataclass
class Evaluator:
    """Scores what a run has learned, the same way at every step and after every resume.

        evaluator = Evaluator(paint, see, Questions.of(params), pictures)
        scale = evaluator.begin(run / "baseline.json")        # before any training; reads the file if it is there
        with method.shown() as more:
            scores = evaluator.score(more)                    # Scores; scores.to_dict() -> similarity, nearest, ...
        told = verdict(history, scale)                        # studio.training.evaluation.verdict

    Fields:
        paint: paint(prompts, seed of the first, more request fields) gives a picture for each prompt.
        see: A CLIP, as `open_sight` makes it.
        questions: What is asked.
        pictures: The subject's, 8-bit RGB (H, W, 3), as many as there are up to a few dozen.
    """

    paint: Paint
    see: See
    questions: Questions
    pictures: Sequence[Picture]
    _subject: Values = field(init=False)
    _kind: Values = field(init=False)

    def __post_init__(self) -> None:
        self._subject = self.see.pictures(self.pictures)

    def begin(self, file: Path) -> Scale:
        """Paint with the base model, once: the scale that scores are read by; kept in `file`."""
        if file.exists():
            kept = json.loads(file.read_text())
            self._kind = np.array(kept["kind"])
            return Scale.of(kept["scale"])
        self._kind = self.see.pictures(self._asked(self.questions.kind, {}))
        scale = Scale(self.score({}), *among(self._subject))
        write_whole(file, json.dumps({"scale": asdict(scale), "kind": self._kind.tolist()}).encode())
        return scale

    def score(self, more: Mapping[str, Any]) -> Scores:
        """Paint and score. more: what a request needs more to show what was learned, as Method.shown yields it."""
        made = self.see.pictures(self._asked(self.questions.subject, more))
        kind = self.see.pictures(self._asked(self.questions.kind, more))
        told = self.see.words(self.questions.plain)
        return Scores(
            similarity=similarity(made, self._subject),
            nearest=nearest(made, self._subject),
            obedience=None if told is None else agreement(made, told),
            drift=1 - agreement(self._kind, kind),
            each=each(made, self._subject),
        )

    def _asked(self, prompts: Sequence[str], more: Mapping[str, Any]) -> list[Picture]:
        return self.paint(prompts, self.questions.seed, more)

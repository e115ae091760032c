"""How a run is judged on its way: scores of its pictures, and the verdict on all measurements so far."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from studio.errors import StudioError
from studio.files import write_whole
from studio.training.data.batches import Batches
from studio.training.evaluation.evaluator import Evaluator, Paint
from studio.training.evaluation.questions import Questions
from studio.training.evaluation.scores import Scale, Scores
from studio.training.evaluation.sight import Picture, open_sight
from studio.training.evaluation.verdict import Measured, best_step, verdict
from studio.training.guiding import Guide
from studio.training.talk import Talk
from studio.training.workplace import Order
from studio.training_params import CONTROL_METHODS

BASELINE, HISTORY = "baseline.json", "measured.json"
PICTURES = 24
BLIND = "There is no CLIP here to score pictures by, so the verdict goes by the loss of held-out pictures alone."
SILENT = "There is no CLIP here to score pictures by, and nothing is held out: without a verdict, look at the samples."


@dataclass
class Judge:
    """Scores by a CLIP, where there is one for the checkpoint; else the losses alone count.

    Fields:
        folder: Of the run. evaluator, scale: None without a CLIP. history: what was measured, in order of the steps.
        saved: Steps whose results can be kept.
        guide, guided: Of a control model: what it shall follow, and the pictures that do.
    """

    folder: Path
    evaluator: Evaluator | None = None
    scale: Scale | None = None
    history: list[Measured] = field(default_factory=list[Measured])
    saved: set[int] = field(default_factory=set[int])
    guide: Guide | None = None
    guided: Callable[[Mapping[str, Any]], list[Picture]] | None = None
    _last: tuple[int, Scores] | None = None
    _told: tuple[int, dict[str, Any]] = field(default_factory=lambda: (-1, dict[str, Any]()))

    @classmethod
    def open(cls, order: Order, paint: Paint, data: Batches, talk: Talk) -> Self:
        """Look at the base model, once; what was measured before a resume is remembered."""
        made = cls(order.folder, history=read_history(order.folder))
        if not order.pack or order.params.method in CONTROL_METHODS:
            if not order.pack:
                talk.say({"event": "warning", "step": 0, "text": BLIND if data.held else SILENT})
            return made
        talk.phase("scoring")
        try:
            eye = open_sight(Path(order.pack))
        except (OSError, ValueError) as error:
            raise StudioError(f"The pack's CLIP cannot be read: {error}.") from error
        made.evaluator = Evaluator(paint, eye, Questions.of(order.params), data.images(PICTURES))
        made.scale = made.evaluator.begin(order.folder / BASELINE)
        return made

    @property
    def share(self) -> float:
        """What scores take, as a share of what `open` took for a run that is new."""
        if self.evaluator is None:
            return 0.0
        asked, kind = self.evaluator.questions, len(self.evaluator.questions.kind)
        return (len(asked.subject) + kind) / (len(asked.subject) + 2 * kind)

    def score(self, step: int, more: Mapping[str, Any]) -> Mapping[str, Any]:
        """Scores of the run as it is, as plain values; none without a CLIP."""
        if self.guided is not None and self.guide is not None:
            self._told = step, {"obedience": self.guide.obedience(self.guided(more))}
        elif self.evaluator is not None:
            self._last = step, self.evaluator.score(more)
            self._told = step, self._last[1].to_dict()
        return self._told[1] if self._told[0] == step else {}

    def known(self, step: int) -> dict[str, Any] | None:
        """The scores of that step, if they were just made; none are to be made without a CLIP."""
        if self.evaluator is None and self.guide is None:
            return {}
        return self._told[1] if self._told[0] == step else None

    def note(self, event: Mapping[str, Any]) -> dict[str, Any] | None:
        """Remember a measurement; the verdict on all so far, or None where nothing can be said."""
        scores = self._last[1] if self._last is not None and self._last[0] == event["step"] else None
        if self.guide is not None or (self.scale is not None and scores is None):
            return None
        losses = event.get("train_loss"), event.get("held_loss")
        self._remember(Measured(event["step"], scores, *losses, tuple(event.get("held_parts", ()))))
        return self.verdict()

    def note_save(self, step: int) -> dict[str, Any] | None:
        """Remember that this step can be kept; the verdict, or None where nothing can be said."""
        self.saved.add(step)
        measured = any(one.step == step for one in self.history)
        if not measured and self._last is not None and self._last[0] == step:
            self._remember(Measured(step, self._last[1]))
        return self.verdict()

    def verdict(self) -> dict[str, Any] | None:
        """The verdict on all so far, or None where nothing tells: without a CLIP, and with nothing held out."""
        tells = self.scale is not None or any(one.held_loss is not None for one in self.history)
        return asdict(verdict(self.history, self.scale, tuple(self.saved))) if self.history and tells else None

    def best(self, saves: Mapping[int, Mapping[str, Any]]) -> int:
        """The save to keep: the verdict's; of a control model the one that obeys most; else the last."""
        if self.guide is not None:
            return max(saves, key=lambda step: (saves[step].get("scores", {}).get("obedience") or 0.0, step))
        self.saved |= saves.keys()
        return best_step(self.history, self.scale, tuple(saves)) if self.history else max(saves)

    def _remember(self, found: Measured) -> None:
        self.history = [*(one for one in self.history if one.step < found.step), found]
        write_whole(self.folder / HISTORY, json.dumps([asdict(one) for one in self.history]).encode())


def read_history(folder: Path) -> list[Measured]:
    """What was measured before."""
    try:
        rows: Sequence[dict[str, Any]] = json.loads((folder / HISTORY).read_bytes())
    except (OSError, ValueError):
        return []
    return [_read(row) for row in rows]


def _read(row: Mapping[str, Any]) -> Measured:
    scores = row.get("scores")
    return Measured(**{**row, "scores": scores and Scores.of(scores), "parts": tuple(row.get("parts", ()))})

"""Whether the verdict is right: each subject at a quarter of its best length, at that, and at five times as much."""

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from studio.advice.defaults import row
from studio.bench.figures import Figure
from studio.bench.training.desk import Desk, Trained
from studio.bench.training.exam import Examiner, Sitting
from studio.starter.obedience import way
from studio.starter.subjects import Subject
from studio.training.evaluation.scores import Scale
from studio.training.evaluation.verdict import BEST, LEARNING, MEMORISING, verdict
from studio.training.judging import BASELINE, read_history

RIGHT = {0.25: LEARNING, 1.0: BEST, 5.0: MEMORISING}
BAR, LONG = 11, 5  # of twelve; times the usual length
MARKS, SAVES = 8, 4  # measurements and saves within the usual length
SEVERAL = 12  # pictures that say how good a state is


@dataclass(frozen=True)
class Long:
    """A run of five times the usual length, whose first steps are those of any shorter one: its rate is constant."""

    subject: Subject
    trained: Trained
    usual: int

    def told(self, steps: int) -> str:
        """The verdict of a run that had ended then."""
        scale = Scale.of(json.loads((self.trained.folder / BASELINE).read_text())["scale"])
        return verdict([one for one in read_history(self.trained.folder) if one.step <= steps], scale).verdict


def verdict_figures(
    desk: Desk, examiner: Examiner, subjects: tuple[Subject, ...], say: Callable[[str], None]
) -> dict[str, Figure]:
    """Train each long, find its best length by the exam, and compare what the verdict said at three lengths; of each
    subject it is told at once, since one takes ten minutes."""
    right = 0
    figures: dict[str, Figure] = {}
    for subject in subjects:
        long = train_long(desk, subject)
        best = best_length(desk, examiner, long)
        said = {share: long.told(round(best * share)) for share in RIGHT}
        right += sum(said[share] == wanted for share, wanted in RIGHT.items())
        figures[f"{subject.name}: best length"] = Figure(best, "steps")
        say(f"  {subject.name}: best at {best} steps; " + ", ".join(f"{at:g} x: {word}" for at, word in said.items()))
    total = len(subjects) * len(RIGHT)
    return {"verdicts that are right": Figure(right, f"of {total}", BAR if total > BAR else None, "higher")} | figures


def train_long(desk: Desk, subject: Subject) -> Long:
    """A LoRA of five times its usual steps."""
    usual = int(row("lora", "starter").values["steps"])
    settings = {
        "steps": LONG * usual,
        "measure_every": usual // MARKS,
        "save_every": usual // SAVES,
        "sample_every": 0,
        "sample_prompts": [],
        "schedule": "constant",
    }
    return Long(subject, desk.press(subject, "lora", settings), usual)


def best_length(desk: Desk, examiner: Examiner, long: Long) -> int:
    """The save of the first `usual` steps whose pictures are most like the true renders and obey as the base's do."""
    sitting = Sitting(long.subject, SEVERAL, examiner)
    base = sitting.sit(None)
    worth: dict[int, float] = {}
    for save in long.trained.run["saves"]:
        if save["step"] > long.usual:
            continue
        made = sitting.sit(desk.at_save(long.trained, save["step"]))
        gained = way(made.like.mean(), base.like.mean(), sitting.true.like.mean())
        worth[save["step"]] = gained * min(1.0, float(np.mean(made.obeys)) / float(np.mean(base.obeys)))
    return max(worth, key=lambda step: worth[step])

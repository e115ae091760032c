"""All figures of the suite `training`: methods, control models, harm, verdicts, estimates, speed, memory, resume."""

import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from studio.bench.control.suite import share
from studio.bench.figures import SCENES, Figure, Options
from studio.bench.training.controls import control_figures
from studio.bench.training.desk import Desk, Trained, open_desk
from studio.bench.training.estimates import estimate_figures
from studio.bench.training.exam import Answers, Examiner, Sitting
from studio.bench.training.memory import memory_figures
from studio.bench.training.naive import naive_figures
from studio.bench.training.resume import TIMES, resume_figures
from studio.bench.training.speed import speed_figures
from studio.bench.training.verdicts import verdict_figures
from studio.errors import InvalidRequestError
from studio.settings import Settings
from studio.starter.obedience import Values, way
from studio.starter.subjects import SUBJECTS, Subject

PICTURES = 96  # of a figure
OBEYS, KEPT = 90.0, 90.0  # per cent of the base's


@dataclass(frozen=True)
class Bar:
    """Of a method. seconds: from press to card; way: per cent, from the base's pictures to true renders."""

    seconds: float
    way: float


BARS = {
    "lora": Bar(180, 50),
    "pivotal": Bar(300, 50),
    "dreambooth": Bar(360, 50),
    "inversion": Bar(300, 33),
    "hypernetwork": Bar(300, 33),
}
KIND, CLASS_METHOD = "kind", "dreambooth"  # whose prior preservation is looked at


@dataclass
class Trial:
    """A desk under examination.

    Fields:
        pack: That of the models that look.
        pictures: Of a figure.
    """

    desk: Desk
    pack: Path
    pictures: int
    _made: dict[tuple[str, str], Trained] = field(default_factory=dict[tuple[str, str], Trained], init=False)

    @cached_property
    def examiner(self) -> Examiner:
        """Who asks and looks."""
        return Examiner(self.desk, self.pack)

    @cached_property
    def sittings(self) -> list[Sitting]:
        """Of each subject."""
        return [Sitting(subject, self.pictures // len(SUBJECTS), self.examiner) for subject in SUBJECTS]

    @cached_property
    def bases(self) -> list[Answers]:
        """The base model's, for each sitting."""
        say("the base model")
        return [sitting.sit(None) for sitting in self.sittings]

    def trained(self, method: str, subject: Subject) -> Trained:
        """What a method made of a subject with its defaults; nothing is trained twice."""
        if (method, subject.name) not in self._made:
            say(f"{method}: {subject.name}")
            self._made[method, subject.name] = self.desk.press(subject, method)
        return self._made[method, subject.name]

    @property
    def lora(self) -> Trained:
        """Of the first subject."""
        return self.trained("lora", SUBJECTS[0])


Figures = dict[str, Figure]


def training_suite(settings: Settings, options: Options) -> Figures:
    """All figures, or those of the parts that are asked for; all take about three hours on two cores. What was measured
    is told at once. With fewer pictures, shares have no bars.

    Raises: InvalidRequestError, for too few pictures, a folder that is no pack, or a part that there is not.
    """
    pictures = PICTURES if options.scenes == SCENES else options.scenes
    check(options.pack, pictures)
    parts, figures = options.chosen(tuple(PARTS)), Figures()
    with (
        tempfile.TemporaryDirectory(prefix="maquette-bench-") as folder,
        open_desk(settings, Path(folder)) as desk,
    ):
        trial = Trial(desk, options.pack, pictures)
        for name in parts:
            say(name)
            found = PARTS[name](trial)
            if pictures < PICTURES and name in (*BARS, KIND):
                found = {row: one if one.unit == "s" else replace(one, bar=None) for row, one in found.items()}
            for row, one in found.items():
                say(f"  {row}: {one.value:.4g} {one.unit}" + ("" if one.error is None else f" +- {one.error:.2g}"))
            figures |= found
    return figures


def check(pack: Path, pictures: int) -> None:
    """Raises: InvalidRequestError."""
    if not all((pack / name).exists() for name in ("desk", "judge.safetensors", "clip")):
        raise InvalidRequestError(
            f"{pack} is no starter pack.", field="pack", hint="Give a folder with desk, clip and judge.safetensors."
        )
    if not 2 * len(SUBJECTS) <= pictures <= PICTURES:
        raise InvalidRequestError(
            f"{pictures} pictures cannot be asked.", field="scenes", hint=f"Give {2 * len(SUBJECTS)} to {PICTURES}."
        )


def method_figures(trial: Trial, method: str) -> Figures:
    """Time, likeness and obedience of one method with its defaults, over all subjects."""
    runs = [trial.trained(method, subject) for subject in SUBJECTS]
    made = [sitting.sit(run) for sitting, run in zip(trial.sittings, runs, strict=True)]
    seconds = [run.seconds for run in runs]
    true = [sitting.true for sitting in trial.sittings]
    like = [column("like", rows) for rows in (made, trial.bases, true)]
    obeys = [column("obeys", rows) for rows in (made, trial.bases)]
    return {
        f"{method}: from press to usable card": Figure(max(seconds), "s", BARS[method].seconds),
        f"{method}: from press to usable card, mean": Figure(statistics.mean(seconds), "s"),
        f"{method}: likeness, way from base to true renders": share(way, like, BARS[method].way),
        f"{method}: obedience over the base's": share(part, obeys, OBEYS),
        **own_figures(trial, method, made),
    }


def own_figures(trial: Trial, method: str, made: list[Answers]) -> Figures:
    """The way of each subject, for information."""
    rows = zip(trial.sittings, made, trial.bases, strict=True)
    return {
        f"{method}: way, {sitting.subject.name}": replace(
            share(way, [one.like, base.like, sitting.true.like], 0), bar=None
        )
        for sitting, one, base in rows
    }


def kind_figures(trial: Trial) -> Figures:
    """Whether "a blue cup" stays one: things of the objects' kinds, without the trigger, with prior preservation on
    and off."""
    objects = [subject for subject in SUBJECTS if subject.kind]
    kept: dict[str, list[Values]] = {"base": [], "on": [], "off": []}
    for subject in objects:
        on = trial.trained(CLASS_METHOD, subject)
        say(f"without prior preservation: {subject.name}")
        sitting = Sitting(subject, trial.pictures // len(objects), trial.examiner)
        off = trial.desk.press(subject, CLASS_METHOD, {"prior_preservation": False, "class_pictures": 0})
        for name, trained in (("base", None), ("on", on), ("off", off)):
            kept[name].append(sitting.kept(trained))
    base, on, off = (np.concatenate(kept[name]) for name in ("base", "on", "off"))
    change = on - off
    error = float(change.std(ddof=1) / len(change) ** 0.5)
    return {
        "kind without the trigger, prior preservation on / base": share(part, [on, base], KEPT),
        "kind without the trigger, prior preservation off / base": replace(share(part, [off, base], 0), bar=None),
        "kind without the trigger, on - off": Figure(float(change.mean()), "share", 2 * error, "higher", error),
    }


def part(one: float, whole: float) -> float:
    """One over the other."""
    return one / whole


def column(name: str, rows: list[Answers]) -> Values:
    """That column of all subjects."""
    return np.concatenate([getattr(row, name) for row in rows])


def kill_figures(trial: Trial) -> Figures:
    """Runs that are killed and go on; fewer of them where it is only tried."""
    return resume_figures(trial.desk, TIMES if trial.pictures == PICTURES else 2)


def say(line: str) -> None:
    """Tell whoever waits."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201


PARTS: dict[str, Callable[[Trial], Figures]] = {
    **{method: partial(method_figures, method=method) for method in BARS},
    KIND: kind_figures,
    "controls": lambda trial: control_figures(trial.desk, trial.pack, trial.pictures, say),
    "verdicts": lambda trial: verdict_figures(trial.desk, trial.examiner, SUBJECTS, say),
    "reader": lambda trial: naive_figures(trial.desk, trial.lora),
    "resuming": kill_figures,
    "estimates": lambda trial: estimate_figures(trial.lora.folder, say),
    "speed": lambda trial: speed_figures(trial.lora, trial.pack),
    "memory": lambda _trial: memory_figures(),
}

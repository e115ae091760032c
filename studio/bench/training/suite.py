"""All figures of the suite `training`: methods, harm, verdicts, estimates, speed, memory, resume, a foreign reader."""

import statistics
import sys
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from studio.bench.control.suite import share
from studio.bench.figures import SCENES, Figure, Options
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
from studio.starter.subjects import SUBJECTS

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
CLASS_METHOD = "dreambooth"  # whose prior preservation is looked at


@dataclass
class Trial:
    """A desk under examination.

    Fields:
        sittings: Of each subject, with the base model's answers.
        made: What each method made of each subject, so that nothing is trained twice.
    """

    examiner: Examiner
    sittings: list[Sitting]
    bases: list[Answers]
    made: dict[str, list[Trained]] = field(default_factory=dict[str, list[Trained]])

    @property
    def desk(self) -> Desk:
        """Where the button is pressed."""
        return self.examiner.desk


def training_suite(settings: Settings, options: Options) -> dict[str, Figure]:
    """All figures; about two hours on two cores. With fewer pictures, shares have no bars.

    Raises: InvalidRequestError, for too few pictures or a folder that is no pack.
    """
    pictures = PICTURES if options.scenes == SCENES else options.scenes
    check(options.pack, pictures)
    with (
        tempfile.TemporaryDirectory(prefix="maquette-bench-") as folder,
        open_desk(settings, Path(folder)) as desk,
    ):
        trial = open_trial(desk, options.pack, pictures)
        figures: dict[str, Figure] = {}
        for method in BARS:
            figures |= method_figures(trial, method)
        figures |= kind_figures(trial, pictures)
        if pictures < PICTURES:
            figures = {name: replace(one, bar=None) for name, one in figures.items() if one.unit != "s"}
        say("verdicts")
        figures |= verdict_figures(desk, trial.examiner, SUBJECTS)
        lora = trial.made["lora"][0]
        say("resuming")
        figures |= naive_figures(desk, lora) | resume_figures(desk, TIMES if pictures == PICTURES else 2)
        say("estimates")
        figures |= estimate_figures(lora.folder, say)
        say("speed and memory")
        return figures | speed_figures(lora, options.pack) | memory_figures()


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


def open_trial(desk: Desk, pack: Path, pictures: int) -> Trial:
    """Ask the base model first."""
    examiner = Examiner(desk, pack)
    sittings = [Sitting(subject, pictures // len(SUBJECTS), examiner) for subject in SUBJECTS]
    say("the base model")
    return Trial(examiner, sittings, [sitting.sit(None) for sitting in sittings])


def method_figures(trial: Trial, method: str) -> dict[str, Figure]:
    """Time, likeness and obedience of one method with its defaults, over all subjects."""
    made: list[Answers] = []
    runs = trial.made.setdefault(method, [])
    for sitting in trial.sittings:
        say(f"{method}: {sitting.subject.name}")
        runs.append(trial.desk.press(sitting.subject, method))
        made.append(sitting.sit(runs[-1]))
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


def own_figures(trial: Trial, method: str, made: list[Answers]) -> dict[str, Figure]:
    """The way of each subject, for information."""
    rows = zip(trial.sittings, made, trial.bases, strict=True)
    return {
        f"{method}: way, {sitting.subject.name}": replace(
            share(way, [one.like, base.like, sitting.true.like], 0), bar=None
        )
        for sitting, one, base in rows
    }


def kind_figures(trial: Trial, pictures: int) -> dict[str, Figure]:
    """Whether "a blue cup" stays one: things of the objects' kinds, without the trigger, with prior preservation on
    and off."""
    runs = zip(trial.sittings, trial.made[CLASS_METHOD], strict=True)
    objects = [(one.subject, on) for one, on in runs if one.subject.kind]
    kept: dict[str, list[Values]] = {"base": [], "on": [], "off": []}
    for subject, on in objects:
        say(f"what stays: {subject.name}")
        sitting = Sitting(subject, pictures // len(objects), trial.examiner)
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


def say(line: str) -> None:
    """Tell whoever waits."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201

"""The exam of a starter pack: each control from no control to the ceiling, two at once, and what the words keep."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

import studio.engine  # noqa: F401  (before diffusers)

# isort: split
from diffusers import ControlNetModel, T2IAdapter
from diffusers.utils.logging import disable_progress_bar as quiet_diffusers
from transformers.utils.logging import disable_progress_bar as quiet_transformers

from studio.bench.control.shares import gain, measured, resampled
from studio.bench.control.sheet import Strip, seen_by, write_sheet
from studio.bench.figures import SCENES, Figure, Options
from studio.control.reader import Reader
from studio.engine.units.controlnet import ControlNetUnit
from studio.engine.units.t2i_adapter import T2IAdapterUnit
from studio.engine.units.unit import Unit
from studio.errors import InvalidRequestError
from studio.settings import Settings
from studio.starter.judge import Judge, load_judge, score
from studio.starter.measure import Exam, exact_maps, set_exam
from studio.starter.obedience import (
    Painter,
    UnitsOf,
    Values,
    observe,
    open_reader,
    pose_exam,
    reconstructions,
    way,
)
from studio.starter.render import Bytes

FIRST_SEED = 60_000_000  # of scenes that are in no training set, and by which nothing was chosen
OBEDIENCE, COSTS = "obedience", "costs"  # what can be measured alone
LEAST = 4  # scenes that standard errors make sense of
MEASURES = {"edge_f1": "F1", "depth_rmse": "RMSE", "miou": "mIoU", "pck": "PCK@0.1"}
KEPT = {"object": "objects found", "object_color": "objects in their colour"}
TOGETHER = 85.0  # per cent of what each gains alone


@dataclass(frozen=True)
class Control:
    """One that is measured. folder: in the pack, ends in the kind of its maps; measure: of MEASURES; bar: per cent."""

    title: str
    folder: str
    measure: str
    bar: float

    @property
    def kind(self) -> str:
        """Of its maps."""
        return self.folder.rpartition("-")[2]

    @property
    def people(self) -> bool:
        """Whether it is asked of scenes with one tall person."""
        return self.kind == "pose"


CONTROLS = (
    Control("scribble", "controlnet-scribble", "edge_f1", 60),
    Control("edges", "controlnet-edges", "edge_f1", 60),
    Control("depth", "controlnet-depth", "depth_rmse", 60),
    Control("segments", "controlnet-segments", "miou", 60),
    Control("pose", "controlnet-pose", "pck", 50),
    Control("sketch T2I", "t2i-adapter-scribble", "edge_f1", 40),
    Control("depth T2I", "t2i-adapter-depth", "depth_rmse", 40),
    Control("pose T2I", "t2i-adapter-pose", "pck", 40),
)
DEPTH, POSE = CONTROLS[2], CONTROLS[4]
PARTS = ("annotator.safetensors", *(control.folder for control in CONTROLS), "ip-adapter", "clip")


@dataclass(frozen=True)
class Look:
    """Pictures, and what each shows: seen, as `observe` says; kept, the judge's shares by the names of KEPT."""

    images: Bytes
    seen: dict[str, Values]
    kept: dict[str, Values]


@dataclass
class Sitting:
    """An exam with its pictures without control, the true renders, and these through the autoencoder."""

    exam: Exam
    off: Look
    true: Look
    ceiling: Look


@dataclass
class Trial:
    """A pack under examination.

    Fields:
        alone: What each control did, by its folder.
        strips: What the sheet of pictures will show.
    """

    pack: Path
    scenes: int
    alone: dict[str, Look] = field(default_factory=dict[str, Look])
    strips: list[Strip] = field(default_factory=list[Strip])

    @cached_property
    def painter(self) -> Painter:
        """The pack's checkpoint."""
        return Painter(self.pack)

    @cached_property
    def reader(self) -> Reader | None:
        """The eye, if the pack has one."""
        return open_reader(self.pack) if self.has("annotator.safetensors") else None

    @cached_property
    def judge(self) -> Judge:
        """Which says what stands where, in which colour."""
        return load_judge(self.pack / "judge.safetensors")

    @cached_property
    def sitting(self) -> Sitting:
        """Of any scenes."""
        return self._sit(set_exam(self.scenes, FIRST_SEED))

    @cached_property
    def people(self) -> Sitting:
        """Of scenes with one tall person."""
        return self._sit(pose_exam(self.scenes, FIRST_SEED))

    def has(self, part: str) -> bool:
        """Whether the pack holds that file or folder."""
        return (self.pack / part).exists()

    def can(self, control: Control) -> bool:
        """Whether it is there, and what it does can be seen: edges need no reader."""
        return self.has(control.folder) and (control.measure == "edge_f1" or self.reader is not None)

    def look(self, images: Bytes, exam: Exam) -> Look:
        """See the pictures of an exam."""
        specs = [scene.spec for scene in exam.scenes]
        marks = [score(self.judge, images[i : i + 1], [spec]) for i, spec in enumerate(specs)]
        kept = {name: np.array([mark[name] for mark in marks]) for name in KEPT}
        return Look(images, observe(images, exam, self.reader), kept)

    def paint(self, sitting: Sitting, units_of: UnitsOf) -> Look:
        """The exam's pictures with units, and what they show."""
        return self.look(self.painter.paint(sitting.exam, units_of), sitting.exam)

    def _sit(self, exam: Exam) -> Sitting:
        say(f"{self.scenes} scenes without control")
        off = self.painter.paint(exam, lambda _rows: [])
        again = reconstructions(self.pack, exam)
        return Sitting(exam, *(self.look(images, exam) for images in (off, exam.images, again)))


def control_suite(settings: Settings, options: Options) -> dict[str, Figure]:
    """Obedience and costs of the controls of a pack; with fewer scenes than the exam has, obedience has no bars.

    Raises: InvalidRequestError, for a folder that is no pack, or too few scenes.
    """
    from studio.bench.control.costs import cost_figures

    check(options)
    chosen = options.chosen((OBEDIENCE, COSTS))
    quiet_diffusers()
    quiet_transformers()
    figures = obedience_figures(options) if OBEDIENCE in chosen else {}
    return figures | (cost_figures(settings, options.pack) if COSTS in chosen else {})


def obedience_figures(options: Options) -> dict[str, Figure]:
    """How far the controls of the pack are obeyed, and what that costs the words."""
    from studio.bench.control.reference import reference_figures

    trial = Trial(options.pack, options.scenes)
    figures: dict[str, Figure] = {}
    for control in filter(trial.can, CONTROLS):
        figures |= control_figures(trial, control)
    if trial.can(POSE) and trial.can(DEPTH):
        figures |= together_figures(trial)
    if trial.has("ip-adapter") and trial.has("clip"):
        figures |= reference_figures(trial)
    if options.scenes < SCENES:
        figures = {name: replace(figure, bar=None) for name, figure in figures.items()}
    if options.pictures:
        write_sheet(trial.strips, options.pictures)
    if missing := [part for part in PARTS if not trial.has(part)]:
        say(f"Not in {options.pack}, and left out with what needs it: {', '.join(missing)}.")
    return figures


def check(options: Options) -> None:
    """Refuse what cannot be measured. Raises: InvalidRequestError."""
    if not all((options.pack / name).exists() for name in ("desk", "judge.safetensors", "controlnet-scribble")):
        raise InvalidRequestError(
            f"{options.pack} is no starter pack.",
            field="pack",
            hint="Give a folder with desk, judge.safetensors and controlnet-scribble in it.",
        )
    if not LEAST <= options.scenes <= SCENES:
        raise InvalidRequestError(
            f"{options.scenes} scenes cannot be asked.", field="scenes", hint=f"Give {LEAST} to {SCENES}."
        )


def control_figures(trial: Trial, control: Control) -> dict[str, Figure]:
    """How far one control brings the pictures, and whether they still show what the words say."""
    sitting = trial.people if control.people else trial.sitting
    say(control.title)
    on = trial.alone[control.folder] = trial.paint(sitting, units_for(trial.pack, [control], sitting.exam))
    shown = seen_by(trial.reader, control.measure, on.images[: Strip.SCENES])
    drawn = map_bytes(sitting.exam, control.kind)
    trial.strips.append(Strip(control.title, drawn, sitting.off.images, on.images, shown))
    return way_figures(control, sitting, on) | kept_figures(control.title, sitting.off, on)


def way_figures(control: Control, sitting: Sitting, on: Look) -> dict[str, Figure]:
    """The share of the way from off to the ceiling, and what it is made of."""
    looks = {"off": sitting.off, "on": on, "ceiling": sitting.ceiling, "true renders": sitting.true}
    values = {name: look.seen[control.measure] for name, look in looks.items()}
    name, unit = f"{control.title}, {MEASURES[control.measure]}", MEASURES[control.measure]
    figures = {f"{name}: {row}": measured(seen, unit) for row, seen in values.items()}
    columns = (values["on"], values["off"], values["ceiling"])
    return {f"{name}: way from off to the ceiling": share(way, columns, control.bar)} | figures


def share(value: Any, columns: Sequence[Values], bar: float) -> Figure:
    """A share that is made of the means of columns, in per cent."""

    def of(*drawn: Values) -> float:
        return 100 * float(value(*(column.mean() for column in drawn)))

    return Figure(of(*columns), "%", bar, "higher", resampled(of, *columns))


def kept_figures(title: str, off: Look, on: Look) -> dict[str, Figure]:
    """What the judge finds of the words, on less off, scene by scene; not lower by two standard errors."""
    figures: dict[str, Figure] = {}
    for name, words in KEPT.items():
        change = measured(on.kept[name] - off.kept[name], "share")
        figures[f"{title}: {words}, on - off"] = replace(change, bar=-2 * (change.error or 0), better="higher")
    return figures


def together_figures(trial: Trial) -> dict[str, Figure]:
    """Pose and depth at once: what each still gains, of what it gains alone."""
    sitting = trial.people
    say("pose and depth at once")
    alone = {
        POSE: trial.alone[POSE.folder],
        DEPTH: trial.paint(sitting, units_for(trial.pack, [DEPTH], sitting.exam)),
    }
    both = trial.paint(sitting, units_for(trial.pack, [POSE, DEPTH], sitting.exam))
    figures: dict[str, Figure] = {}
    for each in (POSE, DEPTH):
        columns = [look.seen[each.measure] for look in (both, alone[each], sitting.off)]
        figures[f"pose + depth: gain in {each.title} over its gain alone"] = share(gain, columns, TOGETHER)
    poses, depths = (map_bytes(sitting.exam, each.kind) for each in (POSE, DEPTH))
    shown = [seen_by(trial.reader, each.measure, both.images[: Strip.SCENES]) for each in (POSE, DEPTH)]
    trial.strips.append(Strip("pose + depth", above(poses, depths), sitting.off.images, both.images, above(*shown)))
    return figures | kept_figures("pose + depth", sitting.off, both)


def units_for(pack: Path, controls: Sequence[Control], exam: Exam) -> UnitsOf:
    """A unit for each control, with the exact maps of the scenes that are painted."""
    makers = [(open_model(pack / each.folder), exact_maps(exam, each.kind)) for each in controls]

    def units_of(rows: Sequence[int]) -> list[Unit]:
        made: list[Unit] = []
        for model, shown in makers:
            both = shown[list(rows)].repeat(2, 1, 1, 1)  # for the negative prompts, too
            made.append(T2IAdapterUnit(model, both) if isinstance(model, T2IAdapter) else ControlNetUnit(model, both))
        return made

    return units_of


def open_model(folder: Path) -> ControlNetModel | T2IAdapter:
    """A ControlNet or T2I-Adapter of a pack, in fp32."""
    kind = T2IAdapter if folder.name.startswith("t2i-adapter") else ControlNetModel
    return kind.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()


def map_bytes(exam: Exam, kind: str) -> Bytes:
    """The maps of the scenes that the sheet shows, (N, side, side, 3)."""
    few = Exam(exam.scenes[: Strip.SCENES], exam.captions[: Strip.SCENES], exam.drawings[: Strip.SCENES])
    return (exact_maps(few, kind).permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)


def above(upper: Bytes, lower: Bytes) -> Bytes:
    """Pictures on black drawn above others."""
    return np.where(upper.any(-1, keepdims=True), upper, lower)


def say(line: str) -> None:
    """Tell whoever waits."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201

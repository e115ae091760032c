"""A training run: what front ends see of it, and what each word of its process changes."""

import dataclasses
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from studio.training_params import TrainingParams

Plain = dict[str, Any]
QUEUED, PREPARING, RUNNING, PAUSED = "queued", "preparing", "running", "paused"
DONE, FAILED, STOPPED, INTERRUPTED = "done", "failed", "stopped", "interrupted"
GOING = (PREPARING, RUNNING, PAUSED)
RESUMABLE = (FAILED, STOPPED, INTERRUPTED)
WARNINGS_KEPT = 100
LAYOUTS = {"lora": ("kohya", "peft"), "embedding": ("kohya", "diffusers", "a1111")}  # others have but one
BASE = "base-"  # how samples of the untrained model begin


@dataclass
class Run:
    """One run.

    Fields:
        created: Seconds since 1970. state: queued, preparing, running, paused, done, failed, stopped or interrupted.
        step, steps, loss, left, seconds: How far it is; left and seconds in seconds, None while nobody knows.
        phase, progress: What its process does now, and (done, of how much).
        verdict: {verdict, text, best_step}, as its process said last. estimate: what it said before the start.
        pace: What it cost in the end, in seconds: {costs: of one of each part, spent: on each, before: the first step}.
        saves: [{step, files: [{file, kind, layout}]}], files in its folder. scores: by step.
        results: [{name, kind, key, path, step}] in the library; kept: the step that they are of.
        cover: Its newest sample picture, in its folder.
        yields: Whether it pauses for pictures that are asked for.
    """

    id: str
    created: float
    params: TrainingParams
    yields: bool = True
    state: str = QUEUED
    step: int = 0
    steps: int = 0
    loss: float | None = None
    left: float | None = None
    seconds: float = 0.0
    phase: str = ""
    progress: tuple[int, int] = (0, 0)
    verdict: Plain | None = None
    estimate: Plain | None = None
    pace: Plain | None = None
    saves: list[Plain] = dataclasses.field(default_factory=list[Plain])
    scores: Plain = dataclasses.field(default_factory=dict[str, Any])
    results: list[Plain] = dataclasses.field(default_factory=list[Plain])
    kept: int | None = None
    cover: str = ""
    warnings: list[str] = dataclasses.field(default_factory=list[str])
    error: str = ""
    hint: str = ""
    field: str = ""

    def view(self) -> Plain:
        """As front ends show it."""
        shown = {name: value for name, value in vars(self).items() if name not in ("params", "progress", "results")}
        results = [
            {name: value for name, value in one.items() if name != "path"} | {"others": others(one, self.params.base)}
            for one in self.results
        ]
        return shown | {
            "name": self.params.name,
            "method": self.params.method,
            "params": self.params.to_dict(),
            "progress": list(self.progress),
            "results": results,
            "resumable": self.state in RESUMABLE,
        }

    def to_dict(self) -> Plain:
        """All of it, as run.json holds it."""
        return asdict(self) | {"params": self.params.to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Run":
        """The run of a run.json. Raises: KeyError, TypeError, StudioError, if it is none."""
        known = {one.name for one in fields(cls)}
        values: Plain = {name: value for name, value in data.items() if name in known}
        params = TrainingParams.from_dict(data["params"])
        done, total = data.get("progress", (0, 0))
        values |= {"params": params, "progress": (int(done), int(total))}
        return cls(**values)

    def warn(self, text: str) -> None:
        """Keep a sentence for the person, once."""
        if text and text not in self.warnings:
            self.warnings = [*self.warnings, text][-WARNINGS_KEPT:]

    def fail(self, error: str, hint: str = "", field: str = "") -> None:
        """It ended, and why."""
        self.state, self.error, self.hint, self.field = FAILED, error, hint, field

    def again(self) -> None:
        """It waits to go on where it was."""
        self.state, self.phase, self.progress = QUEUED, "", (0, 0)
        self.error, self.hint, self.field, self.left = "", "", "", None


def others(result: Mapping[str, Any], base: str) -> list[str]:
    """Layouts that it can be had in beside its own; for two text encoders all of an embedding's are one."""
    kind, own = str(result["kind"]), result["layout"]
    if kind == "embedding" and base == "sdxl":
        return []
    return [layout for layout in LAYOUTS.get(kind, ()) if layout != own]


def heard(run: Run, event: Mapping[str, Any]) -> None:
    """Note what its process said. How it ended is for whoever started it: done and error change nothing here."""
    match event.get("event"):
        case "phase":
            run.phase, run.progress = str(event["name"]), (int(event.get("done", 0)), int(event.get("total", 0)))
            if run.state == PREPARING and run.phase == "training":
                run.state = RUNNING
        case "estimate":
            run.estimate = {name: event.get(name) for name in ("seconds", "bytes", "ok", "text")}
            run.left = event.get("seconds")
        case "step":
            run.step, run.steps, run.loss = int(event["step"]), int(event["steps"]), event.get("loss")
            run.left, run.seconds = event.get("left"), float(event.get("seconds") or run.seconds)
            run.phase, run.progress = "training", (run.step, run.steps)
            run.state = RUNNING if run.state == PREPARING else run.state
        case "samples":
            if files := [str(name) for name in event["files"] if not str(name).rpartition("/")[2].startswith(BASE)]:
                run.cover = files[0] if "/" in files[0] else f"samples/{files[0]}"
        case "saved":
            others = [one for one in run.saves if one["step"] != event["step"]]
            run.saves = [*others, {"step": event["step"], "files": list(event["files"])}]
        case "verdict":
            run.verdict = {name: event.get(name) for name in ("verdict", "text", "best_step")}
        case "warning":
            run.warn(str(event["text"]))
        case "paused":
            run.state = PAUSED
        case "resumed":
            run.state = RUNNING
        case _:
            pass

"""Steps a second of a run, and of the plain loop on the same pictures, layers and settings."""

import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import studio.engine  # noqa: F401  (before diffusers)

# isort: split
from diffusers import StableDiffusionPipeline

from studio.bench.figures import Figure
from studio.bench.training.baseline import PlainLoop
from studio.bench.training.desk import Trained
from studio.starter.subjects import TRIGGER
from studio.training.methods.build import build_method
from studio.training.methods.factors import places_of
from studio.training.session import Hooks, Session
from studio.training.step import Lesson
from studio.training.workplace import Order, Workplace
from studio.training_params import TrainingParams

STEPS, REPEATS = 12, 7


class OurLoop:
    """The run of a folder, as its process would take its steps."""

    def __init__(self, folder: Path) -> None:
        order = Order.read(folder)
        self.params = replace(order.params, steps=STEPS, held_out=0.0, prior_preservation=False, ema=0.0)
        self.work = Workplace(replace(order, params=self.params))
        self.data = self.work.batches(lambda _name, _done, _of: None)
        self.data.prepare()
        self.method = build_method(self.params, self.work.checkpoint, self.work.engine)
        self.layers = [
            place.name.removeprefix("unet.") for place in places_of(self.work.checkpoint.adapted, self.params)
        ]

    def seconds(self) -> float:
        """Of STEPS steps, without what a run does beside."""
        heard: list[dict[str, Any]] = []
        lesson = Lesson(self.method, self.data, self.work.checkpoint.noise)
        with tempfile.TemporaryDirectory(prefix="maquette-bench-") as folder:
            Session(self.params, lesson, Path(folder), Hooks(hear=heard.append)).run()
        return float([event for event in heard if event["event"] == "step"][-1]["seconds"])


def plain_loop(params: TrainingParams, ours: OurLoop, pack: Path, dataset: Path) -> PlainLoop:
    """The same on modules of its own."""
    pipeline: Any = StableDiffusionPipeline.from_pretrained(pack / "desk", dtype=torch.float32, local_files_only=True)
    files = sorted(dataset.glob("*.png"))
    return PlainLoop(
        params,
        pipeline.unet,
        pipeline.vae,
        pipeline.text_encoder,
        pipeline.tokenizer,
        dict(pipeline.scheduler.config),
        files,
        [f"a {TRIGGER} mushroom"] * len(files),
        ours.layers,
    )


def speed_figures(trained: Trained, pack: Path) -> dict[str, Figure]:
    """Both in turn, there and back; medians."""
    ours = OurLoop(trained.folder)
    plain = plain_loop(ours.params, ours, pack, Order.read(trained.folder).dataset)
    times: dict[str, list[float]] = {"ours": [], "plain": []}
    for turn in range(REPEATS + 1):  # the first to warm up
        for name in ("ours", "plain")[:: -1 if turn % 2 else 1]:
            began = time.perf_counter()
            seconds = ours.seconds() if name == "ours" else plain.run(STEPS)
            times[name].append(seconds or time.perf_counter() - began)
    our, their = (statistics.median(times[name][1:]) for name in ("ours", "plain"))
    return {
        "steps a second of a LoRA / the plain loop's, starter": Figure(their / our, "x", 1.3, "higher"),
        "a step of a LoRA, starter": Figure(our / STEPS, "s"),
        "a step of the plain loop, starter": Figure(their / STEPS, "s"),
    }

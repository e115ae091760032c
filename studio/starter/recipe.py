"""The recipe of Desk: the parts in order, with the time each gets on two cores."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from studio.starter.data import HELD_OUT_SEED, TRAIN_SEED, render_scenes
from studio.training import ranks
from studio.training.loop import Plan

log = logging.getLogger("studio.starter")
SCENES, HELD_OUT = 30_000, 512


@dataclass(frozen=True)
class Stage:
    """One part: how it is trained, and by how many ranks; 0 means that it runs in the calling process."""

    run: Callable[[Path, Plan], None]
    plan: Plan
    parallel: bool = True


def render(work: Path, _plan: Plan) -> None:
    """Render the scenes to train on and those that are held out."""
    render_scenes(work / "train", SCENES, TRAIN_SEED)
    render_scenes(work / "held-out", HELD_OUT, HELD_OUT_SEED)


def tokenizer(work: Path, _plan: Plan) -> None:
    """Make the tokenizer."""
    from studio.starter.tokenizer import make_tokenizer

    make_tokenizer(work / "tokenizer")


def vae(work: Path, plan: Plan) -> None:
    """Train the autoencoder, then encode every scene."""
    from studio.starter.vae import encode_scenes, train_vae

    train_vae(work, plan)
    for name in ("train", "held-out"):
        encode_scenes(work, name)


def text(work: Path, plan: Plan) -> None:
    """Teach the text encoder from captions."""
    from studio.starter.text import pretrain_text

    pretrain_text(work, plan)


def unet(work: Path, plan: Plan) -> None:
    """Train the denoiser and, slowly, the text encoder."""
    from studio.starter.unet import train_unet

    train_unet(work, plan)


def control(work: Path, plan: Plan, kind: str = "scribble") -> None:
    """Train a ControlNet."""
    from studio.starter.control import train_control

    train_control(work, plan, kind)


def t2i_adapter(work: Path, plan: Plan, kind: str) -> None:
    """Train a T2I-Adapter."""
    from studio.starter.control import train_t2i_adapter

    train_t2i_adapter(work, plan, kind)


def tuned(work: Path, plan: Plan, technique: str) -> None:
    """Tune a control for sketches by what its pictures show."""
    from studio.starter.tuning import tune_sketch

    tune_sketch(work, plan, technique)


def clip(work: Path, plan: Plan) -> None:
    """Train the small CLIP."""
    from studio.starter.clip import train_clip

    train_clip(work, plan)


def ip_adapter(work: Path, plan: Plan) -> None:
    """Train the IP-Adapter."""
    from studio.starter.reference import train_ip_adapter

    train_ip_adapter(work, plan)


def annotator(work: Path, plan: Plan) -> None:
    """Train the annotator."""
    from studio.starter.annotator import train_annotator

    train_annotator(work, plan)


def judge(work: Path, plan: Plan) -> None:
    """Train the judge."""
    from studio.starter.judge import train_judge

    train_judge(work, plan)


NO_PLAN = Plan(learning_rate=0, batch=0)
STAGES: dict[str, Stage] = {
    "render": Stage(render, NO_PLAN, parallel=False),
    "tokenizer": Stage(tokenizer, NO_PLAN, parallel=False),
    "vae": Stage(vae, Plan(learning_rate=1.2e-3, batch=16, minutes=25, hold=0.4, weight_decay=1e-4, seed=1)),
    "text": Stage(text, Plan(learning_rate=1.5e-3, batch=64, minutes=3, hold=0.3, warmup=100, seed=2), parallel=False),
    "judge": Stage(judge, Plan(learning_rate=3e-3, batch=48, minutes=4, hold=0.1, warmup=20, seed=5), parallel=False),
    "unet": Stage(unet, Plan(learning_rate=1e-3, batch=12, minutes=48, hold=0.4, seed=3)),
    "control": Stage(
        control, Plan(learning_rate=1.2e-3, batch=10, minutes=214, hold=0.5, average=0.998, warmup=50, seed=4)
    ),
}
STAGES |= {
    kind: Stage(
        partial(control, kind=kind),
        Plan(learning_rate=8e-4, batch=10, minutes=minutes, hold=0.4, average=0.998, warmup=50, seed=seed),
    )
    for seed, (kind, minutes) in enumerate({"edges": 15, "depth": 29, "segments": 35, "pose": 30}.items(), 6)
}
STAGES |= {
    "annotator": Stage(annotator, Plan(learning_rate=3e-3, batch=16, minutes=34, hold=0.3, warmup=50, seed=10)),
    "clip": Stage(clip, Plan(learning_rate=1e-3, batch=96, minutes=12, hold=0.3, warmup=100, seed=11)),
    "ip-adapter": Stage(ip_adapter, Plan(learning_rate=1e-3, batch=12, minutes=20, hold=0.4, warmup=50, seed=12)),
}
STAGES |= {
    f"t2i-{kind}": Stage(
        partial(t2i_adapter, kind=kind),
        Plan(learning_rate=1.5e-3, batch=12, minutes=minutes, hold=0.4, average=0.998, warmup=50, seed=seed),
    )
    for seed, (kind, minutes) in enumerate({"scribble": 40, "depth": 15, "pose": 12}.items(), 13)
}
STAGES |= {
    f"{technique}-tuned": Stage(
        partial(tuned, technique=technique),
        Plan(learning_rate=6e-4, batch=8, minutes=minutes, hold=0.5, average=0.98, warmup=10, seed=seed),
    )
    for seed, (technique, minutes) in enumerate({"controlnet": 42, "t2i-adapter": 13}.items(), 16)
}


def run_stage(name: str, work: Path, minutes: float | None, count: int) -> None:
    """Train one part; as `count` ranks when it can be shared and this process is not a rank already."""
    stage = STAGES[name]
    if stage.parallel and count > 1 and ranks.WORLD == 1:
        extra = [] if minutes is None else ["--minutes", str(minutes)]
        ranks.launch("studio.starter", ["--work", str(work), "train", name, *extra], count)
        return
    log.info("%s begins", name)
    stage.run(work, stage.plan if minutes is None else replace(stage.plan, minutes=minutes))
    log.info("%s is done", name)


def train_all(work: Path, count: int) -> None:
    """Run each part that has not left its mark yet, in order."""
    for name in STAGES:
        mark = work / f"{name}.done"
        if not mark.exists():
            run_stage(name, work, None, count)
            mark.touch()

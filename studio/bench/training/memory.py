"""`python -m studio.bench.training.memory build|ours|plain FOLDER`: memory of three steps of a LoRA in SD 1.5's shapes.

Ours is a run as its process takes it: the checkpoint is loaded, pictures are encoded, steps are taken, the state is
kept. Both have the same file of random weights, pictures, layers, rank, size, batch and precision; neither computes
activations twice.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

import studio.engine  # noqa: F401  (before diffusers)

# isort: split
from diffusers.models.attention_processor import AttnProcessor2_0
from PIL import Image

from studio.bench.engine import make_engine
from studio.bench.figures import Figure
from studio.bench.training.baseline import PlainLoop
from studio.engine.configs import CLASSES, CONFIGS
from studio.engine.save import save_checkpoint
from studio.engine.skeletons import construct
from studio.messages import ModelLocation
from studio.settings import BUILTIN
from studio.training.dry import HostMeter
from studio.training.methods.build import build_method
from studio.training.methods.factors import places_of
from studio.training.session import Session
from studio.training.step import Lesson
from studio.training.workplace import Order, Workplace
from studio.training_params import TrainingParams

STEPS, SIDE, PICTURES = 3, 256, 2
BAR = 0.9
CAPTION = "a sks mushroom"
PARAMS = TrainingParams(
    name="memory", steps=STEPS, prompt_template=CAPTION, resolution=SIDE, checkpoint_id="random", base="sd1"
)


def build(folder: Path) -> None:
    """Random weights in one file, and pictures of noise."""
    torch.manual_seed(0)
    parts = {name: construct(CLASSES[name], config).state_dict() for name, config in CONFIGS["sd1"].items()}
    save_checkpoint(parts, "sd1", _checkpoint(folder))
    rng = np.random.default_rng(0)
    _pictures(folder).mkdir()
    for number in range(PICTURES):
        Image.fromarray(rng.integers(0, 255, (SIDE, SIDE, 3), np.uint8)).save(_pictures(folder) / f"{number}.png")


def ours(folder: Path, params: TrainingParams) -> None:
    """A run of a LoRA."""
    run = folder / "run"
    run.mkdir()
    places = (_pictures(folder), folder / "cache", folder / "class")
    work = Workplace(Order(run, params, {"random": _location(folder)}, *places, device="cpu"))
    data = work.batches(lambda _name, _done, _of: None)
    data.prepare()
    method = build_method(params, work.checkpoint, work.engine)
    method.captions.expected = data.captions()
    Session(params, Lesson(method, data, work.checkpoint.noise), run / "state").run()


def plain(folder: Path, params: TrainingParams) -> None:
    """As many steps of the plain loop."""
    checkpoint = make_engine("cpu", "fp32").store.checkpoint(_location(folder))
    layers = [place.name.removeprefix("unet.") for place in places_of(checkpoint.adapted, params)]
    reader = checkpoint.prompts.readers[0]
    unet: Any = checkpoint.unet
    unet.set_attn_processor(AttnProcessor2_0())
    files = sorted(_pictures(folder).glob("*.png"))
    modules = (unet, checkpoint.vae, reader.model, reader.tokenizer)
    PlainLoop(params, *modules, checkpoint.noise, files, [CAPTION] * len(files), layers).run(params.steps)


def measure(which: str, folder: Path, params: TrainingParams = PARAMS) -> int:
    """Bytes above the level after import, at the most."""
    meter = HostMeter()
    level = meter.begin()
    {"ours": ours, "plain": plain}[which](folder, params)
    return meter.peak() - level


def memory_figures() -> dict[str, Figure]:
    """Each in a process of its own, on the CPU in fp32."""
    with tempfile.TemporaryDirectory(prefix="maquette-bench-") as folder:
        _asked("build", folder)
        held = {which: int(_asked(which, folder)["bytes"]) for which in ("ours", "plain")}
    said = f"SD 1.5 shapes at {SIDE} px"
    return {
        f"memory of {STEPS} steps of a LoRA / the plain loop's, {said}": Figure(held["ours"] / held["plain"], "x", BAR),
        f"memory of {STEPS} steps of a LoRA, {said}": Figure(held["ours"] / 1e9, "GB"),
    }


def _checkpoint(folder: Path) -> Path:
    return folder / "random.safetensors"


def _pictures(folder: Path) -> Path:
    return folder / "pictures"


def _location(folder: Path) -> ModelLocation:
    return ModelLocation("random", "random", str(_checkpoint(folder)), "checkpoint", "sd1", {"native_size": SIDE})


def _asked(which: str, folder: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "studio.bench.training.memory", which, folder],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=BUILTIN,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "TRANSFORMERS_VERBOSITY": "error"},
    )
    return json.loads(done.stdout.splitlines()[-1])


def main(which: str, folder: Path) -> dict[str, int]:
    """The last line."""
    if which == "build":
        build(folder)
        return {}
    return {"bytes": measure(which, folder)}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]))))  # noqa: T201

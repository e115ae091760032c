"""An independent reader of kohya's LoRA files: a dozen lines that know nothing of the studio's own."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from studio.bench.engine import make_engine
from studio.bench.figures import Figure
from studio.bench.training.desk import Desk, Trained

PREFIX, SEED, PICTURES = "lora_unet_", 8_000_000, 4
LEVELS = 2  # of 255: sums in another order


@torch.no_grad()
def add_naively(unet: nn.Module, file: Path) -> int:
    """Add a kohya LoRA to a UNet's weights: W + alpha / rank * up @ down. Returns: how many layers it changed."""
    layers = {name.replace(".", "_"): module for name, module in unet.named_modules()}
    tensors = load_file(file)
    names = {key.partition(".")[0] for key in tensors if key.startswith(PREFIX)}
    for name in names:
        down, up = (tensors[f"{name}.lora_{half}.weight"].float() for half in ("down", "up"))
        weight = layers[name.removeprefix(PREFIX)].weight
        change = up.flatten(1) @ down.flatten(1) * (float(tensors[f"{name}.alpha"]) / len(down))
        weight += change.view_as(weight).to(weight)
    return len(names)


def naive_figures(desk: Desk, trained: Trained) -> dict[str, Figure]:
    """Pictures with the LoRA in the studio, and with its file read by `add_naively`."""
    file = desk.studio.settings.paths.models / str(trained.run["results"][0]["file"])
    engine = make_engine(desk.studio.settings.device, "fp32")
    exact = Desk(desk.studio, engine)
    prompts = ["a sks mushroom in the snow"] * PICTURES
    ours = exact.paint(prompts, SEED, trained)
    bare = exact.paint([trained.asked(prompt).removeprefix(trained.tags) for prompt in prompts], SEED, None)
    assert engine.store.current is not None
    changed = add_naively(engine.store.current.unet, file)
    theirs = exact.paint([trained.asked(prompt).removeprefix(trained.tags) for prompt in prompts], SEED, None)
    apart = np.abs(ours.astype(int) - theirs)
    return {
        "LoRA read by a naive reader of kohya's keys: largest difference": Figure(float(apart.max()), "levels", LEVELS),
        "LoRA read by a naive reader: layers": Figure(float(changed), "layers", 1, "higher"),
        "LoRA: mean difference from the base's picture": Figure(
            float(np.abs(ours.astype(int) - bare).mean()), "levels", 1, "higher"
        ),
    }

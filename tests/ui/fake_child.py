"""Stands where the process that trains would be: it learns a square's colour in no time, and rests half way.

At half of its steps it waits for an order: "sample" shows a picture, "pause" and "go" pause it and go on, "stop" ends.
The last step is its best, but for a run whose trigger is "early": there it is the first that was saved. What comes of a
ControlNet's run is the starter's own.
"""

import json
import math
import shutil
import sys
from pathlib import Path

from PIL import Image

from studio.settings import BUILTIN
from tests.trainings.fake_child import begin, heard, say

MEASURED, SAVED = 5, 10


def main(folder: Path) -> int:
    params = json.loads((folder / "params.json").read_text())
    (folder / "header.json").write_text(json.dumps({"ss_network_dim": "8", "modelspec.title": params["name"]}))
    for name in ("loading", "caching", "training"):
        say(folder, event="phase", name=name, done=1, total=1)
    show(folder, params, None)
    steps, first = params["steps"], begin(folder)
    scores = {}
    for step in range(first + 1, steps + 1):
        if step == steps // 2 and not rest(folder, params, step):
            return finish(folder, params, {**scores, **save(folder, params, step)}, stopped=True)
        say(folder, event="step", step=step, steps=steps, loss=0.5, learning_rate=1e-4, seconds=0.1 * step, left=1.0)
        if step % MEASURED == 0:
            told = {"train_loss": 0.1 + 1 / step, "held_loss": 0.15 + 1 / step}
            say(folder, event="measured", step=step, **told, **score(step, params))
        if step % SAVED == 0:
            scores |= save(folder, params, step)
    return finish(folder, params, scores)


def rest(folder: Path, params, step: int) -> bool:
    """Whether to go on."""
    say(folder, event="verdict", verdict="learning", text="Still learning.", best_step=None)
    while word := heard():
        if word == "sample":
            show(folder, params, step)
        elif word == "pause":
            say(folder, event="paused", step=step)
        elif word == "go":
            say(folder, event="resumed", step=step)
            return True
        elif word == "stop":
            return False
    return False


def score(step: int, params) -> dict[str, float]:
    share = step / params["steps"]
    if params["method"] == "controlnet":
        return {"obedience": 0.1 + 0.7 * share}
    return {"similarity": 0.4 + 0.4 * share, "nearest": 0.9, "obedience": 0.3 - 0.05 * share, "drift": 0.05 * share}


def show(folder: Path, params, step: int | None) -> None:
    (folder / "samples").mkdir(exist_ok=True)
    if step is None and params["method"] == "controlnet":
        draw(folder, params, "given", 0)
    draw(folder, params, "base" if step is None else str(step), step or 0)


def draw(folder: Path, params, start: str, step: int) -> None:
    prompts = params["sample_prompts"] or ["a mug", "a mug at sea"]
    names = [f"samples/{start}-{i}.png" for i in range(len(prompts))]
    for i, name in enumerate(names):
        grey = Image.new("RGB", (64, 64), (200 - 20 * i, 200, 200))
        grey.paste((round(90 + 120 * step / params["steps"]), 80, 60), (16, 16, 48, 48))
        grey.save(folder / name)
    say(folder, event="samples", step=step, files=names, prompts=prompts)


def save(folder: Path, params, step: int) -> dict[str, dict[str, float]]:
    show(folder, params, step)
    home, found = folder / "saves" / str(step), score(step, params)
    home.mkdir(parents=True, exist_ok=True)
    if params["method"] == "controlnet":
        shutil.copytree(BUILTIN / "assets" / "starter" / "controlnet-scribble", home / "made")
        made = [{"file": f"saves/{step}/made", "kind": "controlnet", "layout": "diffusers"}]
    else:
        (home / "made.safetensors").write_bytes(make_lora(params["base"]))
        made = [{"file": f"saves/{step}/made.safetensors", "kind": "lora", "layout": "kohya"}]
    say(folder, event="saved", step=step, files=made, scores=found)
    (folder / "state").mkdir(exist_ok=True)
    (folder / "state" / "step").write_text(str(step))
    return {str(step): found}


def make_lora(base: str) -> bytes:
    """One layer of the starter, of rank 1, all zeros. base: which starter, as its header says."""
    layer = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
    header, at = {"__metadata__": {"maquette.base": base}}, 0
    for role, shape in {"lora_down.weight": [1, 192], "lora_up.weight": [128, 1], "alpha": []}.items():
        end = at + 2 * math.prod(shape)
        header[f"{layer}.{role}"] = {"dtype": "F16", "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(at)


def finish(folder: Path, params, scores, *, stopped: bool = False) -> int:
    saved = [int(step) for step in scores]
    best = min(saved) if params["trigger"] == "early" else max(saved)
    say(folder, event="verdict", verdict="best", text=f"Best about here. Step {best} is best.", best_step=best)
    say(folder, event="done", files=[], best_step=best, scores=scores, stopped=stopped)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

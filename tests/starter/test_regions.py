"""Does the pack's checkpoint obey painted regions? Pictures of two things, looked at by the judge."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from studio.engine.generate import Engine
from studio.engine.store import Store
from studio.messages import ModelLocation
from studio.params import ControlUnit, GenerationParams, Region
from studio.registry import load_registry
from studio.starter.judge import CELLS, LEAST_CELLS, TONES, load_judge, shrink
from studio.starter.spec import KINDS
from studio.ui.stack import SCALES

PACK = Path(__file__).parents[2] / "assets" / "starter"
LEFT, RIGHT = "#e0674a", "#4a86e0"
PAIRS = {"on a sunny day": ("red house", "blue boat"), "in the snow": ("yellow car", "red tree")}
COUNT = 10


def halves() -> Image.Image:
    image = Image.new("RGB", (128, 128), LEFT)
    image.paste(RIGHT, (64, 0, 128, 128))
    return image


@pytest.fixture(scope="module")
def engine():
    store = Store(torch.device("cpu"), torch.float32, "sdpa")
    return Engine(store=store, schedulers=load_registry().schedulers, load_image=lambda _: halves())


def made(engine, place, things, *controls):
    params = GenerationParams(
        prompt=f"a {things[0]} and a {things[1]} {place}",
        checkpoint="desk",
        checkpoint_id="desk",
        width=128,
        height=128,
        num_inference_steps=20,
        guidance_scale=5.0,
        scheduler="dpmpp_2m",
        seed=100,
        count=COUNT,
        controls=controls,
    )
    location = ModelLocation("desk", "desk", str(PACK / "desk"), "diffusers", "starter", {"native_size": 128})
    return engine.generate(params, {"desk": location}).pictures


@torch.no_grad()
def placed(pictures, things) -> list[str]:
    """Of each picture: "right", the first thing left of the second; "swapped"; or "missing", one of them."""
    said = load_judge(PACK / "judge.safetensors")(shrink(np.stack(pictures)))
    columns = torch.arange(CELLS).float().expand(CELLS, CELLS)
    found = []
    for kinds, colors in zip(said["kind"].argmax(1), said["color"].softmax(1), strict=True):
        places = []
        for thing in things:
            tone, kind = thing.split()
            cells = kinds == KINDS.index(kind) + 1
            if int(cells.sum()) >= LEAST_CELLS and TONES[int(colors[1:, cells].mean(1).argmax())] == tone:
                places.append(columns[cells].mean().item())
        found.append("missing" if len(places) < 2 else "right" if places[0] < places[1] else "swapped")
    return found


@pytest.mark.slow
def test_things_stand_where_their_regions_are_painted(engine):
    """Words that tell of both things put them anywhere; regions never put them on the wrong sides."""
    plain, painted = [], []
    for place, things in PAIRS.items():
        regions = tuple(Region(color=c, words=f"a {t}") for c, t in zip((LEFT, RIGHT), things, strict=True))
        unit = ControlUnit(kind="regions", map="halves", regions=regions, conditioning_scale=SCALES["regions"])
        plain += placed(made(engine, place, things), things)
        painted += placed(made(engine, place, things, unit), things)
    assert plain.count("swapped") >= len(plain) // 5
    assert painted.count("swapped") == 0
    assert painted.count("right") >= plain.count("right") + len(plain) // 4

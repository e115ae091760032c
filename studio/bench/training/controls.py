"""Control models from a folder of pictures as a person has it, with the defaults: how long, and what they obey."""

import random
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from studio.access import LOCAL_USER
from studio.bench.control.reference import likeness_figures, open_likeness, show
from studio.bench.control.shares import measured
from studio.bench.control.suite import Control, Trial, units_for, way_figures
from studio.bench.figures import Figure
from studio.bench.training.desk import PATIENCE, Desk
from studio.control.ip_adapter import IPAdapter
from studio.datasets.importing import files_of
from studio.engine.control_sources import read_ip_adapter
from studio.errors import JobError
from studio.messages import ModelLocation
from studio.starter.captions import caption
from studio.starter.render import make_scene

COUNT, FIRST_SEED = 80, 70_000_000  # of scenes that are in no exam
DATASET = "drawn"
SKETCH = {
    "controlnet": Control("controlnet, sketch", "controlnet-drawn-scribble", "edge_f1", 0),
    "t2i_adapter": Control("t2i_adapter, sketch", "t2i-adapter-drawn-scribble", "edge_f1", 0),
}
REFERENCE, REFERENCE_NAME = "ip_adapter", "ip-adapter-drawn"
Figures = dict[str, Figure]


def control_figures(desk: Desk, pack: Path, scenes: int, say: Callable[[str], None]) -> Figures:
    """Of a ControlNet, a T2I-Adapter and an IP-Adapter: seconds from the press to the card, and scenes by an exam in
    which the pack's own control models have bars (suite `control`)."""
    write_pictures(desk.studio.settings.paths.root / DATASET)
    desk.studio.datasets.create(DATASET)
    desk.studio.datasets.add(DATASET, files_of(desk.studio.settings.paths.root / DATASET))
    exam, figures = Trial(pack, scenes), Figures()
    for method, control in SKETCH.items():
        say(f"{method}: {COUNT} pictures")
        seconds, made = press(desk, method, control.folder)
        on = exam.paint(exam.sitting, units_for(made.parent, [control], exam.sitting.exam))
        figures[f"{method}: from press to usable card"] = Figure(seconds, "s")
        rows = way_figures(control, exam.sitting, on)
        figures |= {name: Figure(row.value, row.unit, error=row.error) for name, row in rows.items()}
    say(f"{REFERENCE}: {COUNT} pictures")
    seconds, made = press(desk, REFERENCE, REFERENCE_NAME)
    figures[f"{REFERENCE}: from press to usable card"] = Figure(seconds, "s")
    return figures | likeness_of(exam, read_ip_adapter(ModelLocation(made.name, "", str(made), REFERENCE, "")))


def write_pictures(folder: Path) -> None:
    """Scenes with a caption beside each, as a person might have drawn and described them."""
    folder.mkdir(parents=True)
    for number in range(COUNT):
        scene = make_scene(FIRST_SEED + number)
        Image.fromarray(scene.image).save(folder / f"{number:03}.png")
        words = caption(scene.spec, random.Random(number), complete=True)
        (folder / f"{number:03}.txt").write_text(words, encoding="utf-8")


def press(desk: Desk, method: str, name: str) -> tuple[float, Path]:
    """Train with the defaults: seconds from the press to the card, and where the result lies. Raises: JobError."""
    trainings = desk.studio.trainings
    began = time.perf_counter()
    body = {"name": name, "dataset": DATASET, "method": method, "checkpoint": "starter-desk"}
    run = trainings.wait(trainings.start(body, LOCAL_USER)["id"], LOCAL_USER, PATIENCE)
    seconds = time.perf_counter() - began
    if run["state"] != "done" or not run["results"]:
        raise JobError(f"The run {name} {run['state']}: {run['error']}", hint=run["hint"])
    return seconds, desk.studio.settings.paths.models / str(run["results"][0]["file"])


def likeness_of(exam: Trial, adapter: IPAdapter) -> Figures:
    """How like the next scene pictures are that are shown it beside the words of their own, at full strength."""
    likeness = open_likeness(exam.pack, exam.painter.pipeline.tokenizer)
    sitting, others = exam.sitting, exam.sitting.exam.images[[*range(1, exam.scenes), 0]]
    on = show(exam, adapter, likeness.features(others))
    found = likeness_figures(f"{REFERENCE}, other words", likeness, others, (sitting.off, on))
    words = [likeness.words(look.images, sitting.exam.captions) for look in (sitting.off, on)]
    return found | {
        f"{REFERENCE}, other words: likeness to the words, on - off": measured(words[1] - words[0], "cosine")
    }

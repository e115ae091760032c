"""A run's folder as the studio hands it to the process: order, params, pictures and a tiny checkpoint."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from studio.messages import ModelLocation
from studio.training.workplace import Order
from studio.training_params import TrainingParams
from tests.datasets.kit import fill
from tests.training.methods import kit

ROOT = Path(__file__).parents[2]
PICTURES = 4


def checkpoint(root: Path, base: str = "sd1") -> ModelLocation:
    """A tiny one in a folder."""
    kit.pipeline(base).save_pretrained(root / base)
    return kit.location(root / base, base)


def order(root: Path, name: str, location: ModelLocation, params: TrainingParams) -> Order:
    """A folder of that name with all that the process reads; datasets and caches are of all runs in `root`."""
    folder, dataset = root / name, root / "dataset"
    if not dataset.exists():
        fill(dataset, PICTURES, (48, 48))
    folder.mkdir()
    (folder / "params.json").write_text(json.dumps(params.to_dict()))
    told = {
        "models": {location.id: asdict(location)},
        "dataset": str(dataset),
        "device": "cpu",
        "cache": str(root / "cache"),
        "class_pictures": str(root / "class_pictures"),
    }
    (folder / "order.json").write_text(json.dumps(told))
    return Order.read(folder)


def carried_out(folder: Path) -> list[dict[str, Any]]:
    """Let the process do it. Returns: its events."""
    command = [sys.executable, "-m", "studio.training.child", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        events = [json.loads(line) for line in child.stdout]
    assert child.returncode == 0
    return events

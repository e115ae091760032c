"""A dataset, an autoencoder and batches, all tiny."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from studio.training.data.batches import Batches, Sources
from studio.training_params import TrainingParams
from tests import tiny

RESOLUTION = 32


@dataclass(frozen=True)
class Checkpoint:
    """As much of a loaded checkpoint as batches need."""

    vae: Any
    vae_key: str = "tiny"


@cache
def checkpoint() -> Checkpoint:
    return Checkpoint(tiny.tiny_pipeline().vae.eval())


def params(**more: Any) -> TrainingParams:
    return TrainingParams(**{"name": "cup", "trigger": "sks", "class_word": "cup", "resolution": RESOLUTION, **more})


def batches(folder: Path, cache: Path, sources: dict[str, Any] | None = None, **more: Any) -> Batches:
    return Batches(params(**more), folder, checkpoint(), Sources(cache=cache, **(sources or {})))

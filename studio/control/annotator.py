"""Running an annotator: the only place that imports its module."""

import importlib
from collections.abc import Mapping
from typing import Any

from PIL import Image

from studio.control.weights import Weights
from studio.hookspecs import AnnotatorSpec


def run(row: AnnotatorSpec, image: Image.Image, options: Mapping[str, float], weights: Weights) -> Any:
    """What the annotator gives: a map, a map and people, or words. Raises: what it raises."""
    module, _, function = row.module.partition(":")
    opener = {"weights": weights} if row.weights else {}
    return getattr(importlib.import_module(module), function or "annotate")(image, **options, **opener)

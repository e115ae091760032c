"""Control maps in the worker: the only place that imports an annotator's module."""

import importlib
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

from studio.control.weights import Weights
from studio.errors import ExtensionError, StudioError
from studio.hookspecs import AnnotatorSpec
from studio.messages import Annotate, Annotated
from studio.skeleton import clean_pose

BUGS = (RuntimeError, ValueError, TypeError, KeyError, AttributeError, OSError, ArithmeticError, ImportError)
LOG_HINT = "logs/studio.log has the details."


@dataclass(frozen=True)
class Tools:
    """What maps are made with: the rows by name, what opens their weights, and what opens a picture."""

    annotators: Mapping[str, AnnotatorSpec]
    weights: Weights
    load_image: Callable[[str], Image.Image]


def annotate(question: Annotate, tools: Tools) -> Annotated:
    """The map that was asked for, or why there is none; never raises what an annotator may raise."""
    import cv2
    import torch

    try:
        row, image = tools.annotators[question.annotator], tools.load_image(question.asset)
        made, pose = run(row, image, dict(question.options), tools.weights)
        return Annotated(question.id, made.width, made.height, made.tobytes(), pose)
    except StudioError as error:
        return Annotated(question.id, message=str(error), hint=error.hint)
    except (MemoryError, torch.OutOfMemoryError):
        return Annotated(
            question.id, message="There was not enough memory for this map.", hint="Use a smaller picture."
        )
    except (*BUGS, cv2.error) as bug:
        reason = f"The annotator {question.annotator} failed ({type(bug).__name__}: {bug})."
        return Annotated(question.id, message=reason[:500], hint=LOG_HINT, detail=traceback.format_exc())


def run(
    row: AnnotatorSpec, image: Image.Image, options: Mapping[str, float], weights: Weights
) -> tuple[Image.Image, dict[str, Any] | None]:
    """The map, and the pose that it shows, None if the annotator looks for no people.

    Raises: what the annotator raises; ExtensionError, if that is no RGB picture of the same size, or no pose.
    """
    module, _, function = row.module.partition(":")
    opener = {"weights": weights} if row.weights else {}
    found = getattr(importlib.import_module(module), function or "annotate")(image, **options, **opener)
    made, people = found if isinstance(found, tuple) else (found, None)
    if not isinstance(made, Image.Image) or made.mode != "RGB" or made.size != image.size:
        raise ExtensionError(f"The annotator {row.name} gave something else than an RGB map of its picture's size.")
    return made, None if people is None else _pose(row, people, image.size)


def _pose(row: AnnotatorSpec, people: list[Any], size: tuple[int, int]) -> dict[str, Any]:
    width, height = size
    numbers = [{"pose_keypoints_2d": person} for person in people]
    try:
        return clean_pose({"canvas_width": width, "canvas_height": height, "people": numbers})
    except StudioError as error:
        raise ExtensionError(f"The annotator {row.name} gave no pose. {error}") from error

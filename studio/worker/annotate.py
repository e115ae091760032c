"""Control maps in the worker."""

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from studio.control.annotator import run
from studio.control.fitting import Fit, fit
from studio.control.weights import Weights
from studio.errors import ExtensionError, StudioError
from studio.hookspecs import CAPTION, AnnotatorSpec
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
    """The map or the words that were asked for, or why there are none; never raises what an annotator may raise."""
    import cv2
    import torch

    try:
        return answer(question, tools)
    except StudioError as error:
        return Annotated(question.id, message=str(error), hint=error.hint)
    except (MemoryError, torch.OutOfMemoryError):
        return Annotated(
            question.id, message="There was not enough memory for this map.", hint="Use a smaller picture."
        )
    except (*BUGS, cv2.error) as bug:
        reason = f"The annotator {question.annotator} failed ({type(bug).__name__}: {bug})."
        return Annotated(question.id, message=reason[:500], hint=LOG_HINT, detail=traceback.format_exc())


def answer(question: Annotate, tools: Tools) -> Annotated:
    """What was asked for. Raises: what the annotator raises; ExtensionError, if it gave something else."""
    row, image = tools.annotators[question.annotator], tools.load_image(question.asset)
    frame = fit(image.size, question.size or image.size, question.resize_mode)
    shown = frame.shown(image)
    found = run(row, shown, dict(question.options), tools.weights)
    if row.kind == CAPTION:
        return Annotated(question.id, words=_words(row, found))
    made, people = found if isinstance(found, tuple) else (found, None)
    if not isinstance(made, Image.Image) or made.mode != "RGB" or made.size != shown.size:
        raise ExtensionError(f"The annotator {row.name} gave something else than an RGB map of its picture's size.")
    laid, pose = frame.laid(made), None if people is None else _pose(row, people, frame)
    return Annotated(question.id, laid.width, laid.height, laid.tobytes(), pose)


def _words(row: AnnotatorSpec, found: object) -> str:
    if not isinstance(found, str):
        raise ExtensionError(f"The annotator {row.name} gave no words.")
    return found.strip()


def _pose(row: AnnotatorSpec, people: list[Any], frame: Fit) -> dict[str, Any]:
    """The people where they stand in the frame."""
    width, height = frame.frame
    try:
        numbers = [{"pose_keypoints_2d": _moved(person, frame.start)} for person in people]
        return clean_pose({"canvas_width": width, "canvas_height": height, "people": numbers})
    except (StudioError, TypeError) as error:
        raise ExtensionError(f"The annotator {row.name} gave no pose. {error}") from error


def _moved(person: Sequence[float], by: tuple[int, int]) -> list[float]:
    """The joints moved; a missing one stays at zero, however long the list is."""
    joints = [list(person[at : at + 3]) for at in range(0, len(person), 3)]
    for joint in joints:
        if len(joint) == 3 and joint[2]:
            joint[:2] = joint[0] + by[0], joint[1] + by[1]
    return [number for joint in joints for number in joint]

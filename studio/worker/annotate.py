"""Control maps in the worker: the only place that imports an annotator's module."""

import importlib
import traceback
from collections.abc import Callable, Mapping

from PIL import Image

from studio.errors import ExtensionError, StudioError
from studio.hookspecs import AnnotatorSpec
from studio.messages import Annotate, Annotated

BUGS = (RuntimeError, ValueError, TypeError, KeyError, AttributeError, OSError, ArithmeticError, ImportError)
LOG_HINT = "logs/studio.log has the details."


def annotate(
    question: Annotate, annotators: Mapping[str, AnnotatorSpec], load_image: Callable[[str], Image.Image]
) -> Annotated:
    """The map that was asked for, or why there is none; never raises what an annotator may raise."""
    import cv2

    try:
        made = run(annotators[question.annotator], load_image(question.asset), dict(question.options))
        return Annotated(question.id, made.width, made.height, made.tobytes())
    except StudioError as error:
        return Annotated(question.id, message=str(error), hint=error.hint)
    except MemoryError:
        return Annotated(
            question.id, message="There was not enough memory for this map.", hint="Use a smaller picture."
        )
    except (*BUGS, cv2.error) as bug:
        reason = f"The annotator {question.annotator} failed ({type(bug).__name__}: {bug})."
        return Annotated(question.id, message=reason[:500], hint=LOG_HINT, detail=traceback.format_exc())


def run(spec: AnnotatorSpec, image: Image.Image, options: Mapping[str, float]) -> Image.Image:
    """The map. Raises: what the annotator raises; ExtensionError, if it is no RGB picture of the same size."""
    made = importlib.import_module(spec.module).annotate(image, **options)
    if not isinstance(made, Image.Image) or made.mode != "RGB" or made.size != image.size:
        raise ExtensionError(f"The annotator {spec.name} gave something else than an RGB map of its picture's size.")
    return made

"""The control maps that a control model is taught with: given beside the pictures, or drawn by an annotator."""

from collections.abc import Callable

from PIL import Image
from PIL.Image import Resampling

from studio.control.annotator import run
from studio.control.weights import Weights
from studio.datasets.folder import on_white, open_picture
from studio.errors import InvalidRequestError
from studio.hookspecs import CAPTION
from studio.inpainting import on_black
from studio.registry import Registry, find_annotator
from studio.training.data.cutting import View
from studio.training.data.shots import Shot
from studio.training_params import TrainingParams

Annotate = Callable[[Image.Image], Image.Image]  # RGB -> RGB of the same size, light on black
NAMED = ("segments",)  # kinds whose colours are names, which must not mix
SIDED = ("pose", "normal")  # kinds whose colours tell left from right: a mirrored map would say what is not so


def annotator(params: TrainingParams, registry: Registry, weights: Weights) -> Annotate:
    """The annotator of a run, at its defaults: the one that is named, else the first one that is ready for its kind.

    Raises: InvalidRequestError, if there is none, it writes captions, or what it opens is not here.
    """
    name = params.annotator or params.control_kind
    row = find_annotator(registry, name, weights.files.ready)
    if row.kind == CAPTION:
        raise InvalidRequestError(
            f"{row.label} makes no maps.", field="annotator", hint="Choose one for a kind of control."
        )
    weights.files.check(row, registry.annotators.values())
    options = row.complete({})

    def annotate(image: Image.Image) -> Image.Image:
        made = run(row, image, options, weights)
        return made[0] if isinstance(made, tuple) else made

    return annotate


def map_of(shot: Shot, view: View, kind: str, annotate: Annotate | None) -> Image.Image:
    """The map of what is seen of a picture, as large as that, RGB: the file beside it, else what is drawn of it.

    kind: Of control. Raises: AssetError, if a file cannot be read; InvalidRequestError, if there is neither.
    """
    if shot.picture.map is not None:
        scaling = Resampling.NEAREST if kind in NAMED else Resampling.BICUBIC
        return view.seen(on_black(open_picture(shot.picture.map)), scaling)
    if annotate is None:
        raise InvalidRequestError(
            f"{shot.name} has no map beside it.",
            field="annotator",
            hint="Choose what draws the maps, or put one beside each picture, called NAME-map.png.",
        )
    return annotate(view.seen(on_white(open_picture(shot.picture.path)), Resampling.LANCZOS))

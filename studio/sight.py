"""What is seen in pictures: control maps, people and captions, which the worker makes, are kept as assets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from PIL import Image

from studio.access import User
from studio.errors import AssetError, InvalidRequestError
from studio.hookspecs import CAPTION, AnnotatorSpec
from studio.library.annotators import Annotation, AnnotatorFiles
from studio.messages import Annotate, Annotated
from studio.params import RESIZE_MODES, ControlUnit, check_choice
from studio.registry import Registry, find_annotator
from studio.resolve import SIDE_MAX, SIDE_MIN

Size = tuple[int, int]
RESOLUTION = "resolution"  # the option of networks: the shorter side at which they look


@dataclass(frozen=True, kw_only=True)
class Question:
    """What to make of a picture.

    Fields:
        asset: Its id.
        annotator: A name, or a control kind for its default.
        options: Of the annotator; the others are at their defaults.
        page: A later question of the same page replaces this one; "" is of none.
        size: (width, height) that the map shall have: the picture is fitted to it by resize_mode, and a network looks
            at it in that size, unless the options say another. None is the picture's own.
    """

    asset: str
    annotator: str
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    page: str = ""
    size: Size | None = None
    resize_mode: str = "crop"

    def __post_init__(self) -> None:
        check_choice("resize_mode", self.resize_mode, RESIZE_MODES)
        if self.size is not None and not all(SIDE_MIN <= side <= SIDE_MAX for side in self.size):
            raise InvalidRequestError(
                f"size is {self.size[0]} by {self.size[1]}.",
                field="size",
                hint=f"Choose sides from {SIDE_MIN} to {SIDE_MAX} pixels.",
            )


@dataclass(frozen=True, kw_only=True)
class Sight:
    """Looks at one user's pictures.

    Fields:
        has_asset: Whether that picture is here and the user may see it.
        keep: Keeps a map; its asset id.
        ask: Gives a question to the worker and waits for its answer.
    """

    registry: Registry
    files: AnnotatorFiles
    user: User
    has_asset: Callable[[str], bool]
    keep: Callable[[Image.Image], str]
    ask: Callable[[Annotate], Annotated]

    def look(self, question: Question) -> Annotation:
        """What the annotator makes of the picture, kept.

        Raises: InvalidRequestError, naming what cannot be used; AssetError; JobError, if it was replaced; WorkerError.
        """
        spec = find_annotator(self.registry, question.annotator, self.files.ready)
        chosen = spec.complete(fitting(spec, question))
        self.files.check(spec, self.registry.annotators.values())
        if not self.has_asset(question.asset):
            raise AssetError(f"The picture {question.asset[:16]!r} is not here.", hint="Upload it again.")
        page = repr((self.user.name, question.page)) if question.page else ""  # pages of two people never meet
        told = Annotate(
            uuid4().hex, question.asset, spec.name, tuple(chosen.items()), page, question.size, question.resize_mode
        )
        made = self.ask(told)
        if spec.kind == CAPTION:
            return Annotation("", spec.name, chosen, words=made.words)
        map_id = self.keep(Image.frombytes("RGB", (made.width, made.height), made.rgb))
        return Annotation(map_id, spec.name, chosen, made.pose)

    def caption(self, asset: str) -> str:
        """What the picture shows, in words; "" if nothing is known. Raises: as `look`."""
        return self.look(Question(asset=asset, annotator=CAPTION)).words

    def mapped(self, unit: ControlUnit, size: Size) -> ControlUnit:
        """The unit with the map of that size that its annotator makes of its source. Raises: as `look`."""
        made = self.look(
            Question(
                asset=unit.source,
                annotator=unit.annotator or unit.kind,
                options=dict(unit.annotator_options),
                size=size,
                resize_mode=unit.resize_mode,
            )
        )
        if not made.map:
            raise InvalidRequestError(f"{made.annotator} makes no maps.", field="controls", hint="Choose another one.")
        return replace(unit, map=made.map, annotator=made.annotator, annotator_options=tuple(made.options.items()))


def fitting(spec: AnnotatorSpec, question: Question) -> dict[str, Any]:
    """The options; where none says at which size a network looks, the size of the map that is wanted.

    Source: "pixel perfect" of Mikubill/sd-webui-controlnet.
    """
    row = next((option for option in spec.options if option.name == RESOLUTION), None)
    if row is None or question.size is None or RESOLUTION in question.options:
        return dict(question.options)
    steps = round((min(question.size) - row.min) / row.step)
    return {**question.options, RESOLUTION: min(row.max, max(row.min, row.min + steps * row.step))}

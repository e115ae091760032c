"""The tabs of the canvas: each has an editor for one kind of control, and keeps its drawing apart from the others."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from studio.access import User
from studio.services import Drawing, Studio
from studio.ui.components import pose_editor, sketch_pad

Value = dict[str, Any]
NOTHING_DRAWN = "Nothing is drawn, so the prompt alone decides."
NOBODY_POSED = "Nobody is posed, so the prompt alone decides."


@dataclass(frozen=True, kw_only=True)
class Editor:
    """One tab.

    Fields:
        kind: The control kind that its drawing is sent as.
        name: How drafts and the browser's tab call its drawing.
        follow: What the box beside it says.
        nothing: What is said when a picture is asked for and it is empty.
        empty: Nothing drawn, for a picture of that width and height.
        readable: A drawing from a draft or a picture, laid onto such a canvas; empty if it cannot be read.
        add: Keeps a drawing as assets, as a map of that size. Raises: InvalidRequestError.
    """

    kind: str
    name: str
    follow: str
    nothing: str
    empty: Callable[[int, int], Value]
    readable: Callable[[object, int, int], Value]
    add: Callable[[Studio, Mapping[str, Any], tuple[int, int], User], Drawing]

    def draft(self, browser: str) -> str:
        """The name of the draft that keeps its drawing; "" before the browser has said its own name."""
        return f"{browser}.{self.name}" if browser else ""

    def refit(self, drawing: Mapping[str, Any], width: int, height: int) -> Value | None:
        """A canvas of the new aspect, onto which it lays what is drawn; None when the aspect stays."""
        sheet = self.empty(width, height)
        stays = all(drawing.get(side) == length for side, length in sheet.items() if isinstance(length, int))
        return None if stays else sheet | {"refit": True}


def _add_strokes(studio: Studio, drawing: Mapping[str, Any], size: tuple[int, int], user: User) -> Drawing:
    return studio.add_strokes(sketch_pad.cleaned(drawing), size, user)


def _add_pose(studio: Studio, drawing: Mapping[str, Any], size: tuple[int, int], user: User) -> Drawing:
    return studio.add_pose(pose_editor.empty_pose(*size) | dict(drawing), size, user)


SKETCH = Editor(
    kind="scribble",
    name="sketch",
    follow="Follow the sketch",
    nothing=NOTHING_DRAWN,
    empty=sketch_pad.empty_drawing,
    readable=sketch_pad.readable,
    add=_add_strokes,
)
POSE = Editor(
    kind="pose",
    name="pose",
    follow="Follow the pose",
    nothing=NOBODY_POSED,
    empty=pose_editor.empty_pose,
    readable=pose_editor.readable,
    add=_add_pose,
)
EDITORS = {editor.kind: editor for editor in (SKETCH, POSE)}

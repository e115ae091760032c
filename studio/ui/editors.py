"""The tabs of the canvas: each has an editor for one kind of control, and keeps its drawing apart from the others."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from studio.access import User
from studio.edits import add_edit, restored_edit
from studio.library.control_kinds import REFERENCE, REFERENCE_ONLY, REGIONS
from studio.painting.clean import clean_painting
from studio.painting.palettes import SPOKEN, spelled
from studio.params import ControlUnit, GenerationRequest
from studio.services import Studio
from studio.ui.components import edit_pad, paint_pad, pose_editor, reference_pad, sketch_pad
from studio.ui.components.edit_pad import EditPad
from studio.ui.components.own import OwnComponent
from studio.ui.components.paint_pad import PaintPad
from studio.ui.components.pose_editor import PoseEditor
from studio.ui.components.reference_pad import ReferencePad
from studio.ui.components.sketch_pad import SketchPad

Value = dict[str, Any]
Size = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a tab adds to a request; nothing at all when nothing is drawn.

    Fields:
        unit: Of a control unit, such as its map, and the editor's data as an asset.
        more: Of further units, for a tab that gives several; "conditioning_scale" there is a share of the row's.
        fields: Of the request itself, such as init_image.
    """

    unit: Mapping[str, Any] | None = None
    more: tuple[Mapping[str, Any], ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def empty(self) -> bool:
        """Whether it adds nothing."""
        return self.unit is None and not self.fields

    def units(self) -> list[dict[str, Any]]:
        """The units that it adds."""
        return [] if self.unit is None else [dict(unit) for unit in (self.unit, *self.more)]


@dataclass(frozen=True, kw_only=True)
class Editor:
    """One tab.

    Fields:
        kind: The control kind that its drawing is sent as.
        name: How drafts and the browser's tab call its drawing.
        label: The caption of the tab.
        elem_id: The id of its editor in the page.
        follow: What the box in the stack says.
        nothing: What is said when a picture is asked for and it is empty.
        component: Makes the widget, given its elem_id.
        empty: Nothing drawn, for a picture of that width and height.
        readable: A drawing from a draft or a picture, laid onto such a canvas; empty if it cannot be read.
        add: Keeps a drawing as assets, for a picture of that size. Raises: InvalidRequestError.
        restored: The drawing that made a picture, for a canvas of that size; None when the settings hold none.
        picture: Whether it gives a picture to begin with, not a control.
        also: Other kinds that its drawing can be sent as.
        several: Whether it shows all units of its kinds, not one.
    """

    kind: str
    name: str
    label: str
    elem_id: str
    follow: str
    nothing: str
    component: Callable[[str], OwnComponent]
    empty: Callable[[int, int], Value]
    readable: Callable[[object, int, int], Value]
    add: Callable[[Studio, Mapping[str, Any], Size, User], Part]
    restored: Callable[[Studio, GenerationRequest, Size, User], Value | None]
    picture: bool = False
    also: tuple[str, ...] = ()
    several: bool = False

    def draft(self, browser: str) -> str:
        """The name of the draft that keeps its drawing; "" before the browser has said its own name."""
        return f"{browser}.{self.name}" if browser else ""

    def refit(self, drawing: Mapping[str, Any], width: int, height: int) -> Value | None:
        """A canvas of the new aspect, onto which it lays what is drawn; None when the aspect stays."""
        sheet = self.empty(width, height)
        stays = all(drawing.get(side) == length for side, length in sheet.items() if isinstance(length, int))
        return None if stays else sheet | {"refit": True}


def first_unit(request: GenerationRequest, kind: str) -> ControlUnit | None:
    """The first control of that kind: the one that its tab shows."""
    return next((unit for unit in request.controls if unit.kind == kind), None)


def kept_data(studio: Studio, unit: ControlUnit, user: User) -> object | None:
    """What the editor kept of the unit's drawing; None when it kept nothing, or it is not here."""
    if not unit.editor or not studio.has_asset(unit.editor, user, ".json"):
        return None
    return studio.assets.open_json(unit.editor)


def _strokes_of(kind: str) -> dict[str, Callable[..., Any]]:
    """How a tab of strokes keeps and restores its drawing."""

    def add(studio: Studio, drawing: Mapping[str, Any], size: Size, user: User) -> Part:
        cleaned = sketch_pad.cleaned(drawing)
        kept = studio.add_strokes(cleaned, size, user)
        if kept.empty:
            return Part()
        return Part(unit={"kind": kind, "map": kept.map, "editor": kept.editor, **sketch_pad.origin(cleaned)})

    def restored(studio: Studio, request: GenerationRequest, size: Size, user: User) -> Value | None:
        unit = first_unit(request, kind)
        if unit is None:
            return None
        if (kept := kept_data(studio, unit, user)) is not None:
            return sketch_pad.readable(kept, *size)
        return sketch_pad.over_map(unit.map, *size) if studio.has_asset(unit.map, user) else None

    return {"add": add, "restored": restored}


def _add_pose(studio: Studio, drawing: Mapping[str, Any], size: Size, user: User) -> Part:
    kept = studio.add_pose(pose_editor.empty_pose(*size) | dict(drawing), size, user)
    return Part() if kept.empty else Part(unit={"kind": "pose", "map": kept.map, "editor": kept.editor})


def _restored_pose(studio: Studio, request: GenerationRequest, size: Size, user: User) -> Value | None:
    unit = first_unit(request, "pose")
    kept = None if unit is None else kept_data(studio, unit, user)
    return None if kept is None else pose_editor.readable(kept, *size)


def _painting(kind: str) -> dict[str, Callable[..., Any]]:
    """How a tab of painted maps makes, keeps and restores them."""

    def add(studio: Studio, painting: Mapping[str, Any], size: Size, user: User) -> Part:
        kept = studio.add_painting(paint_pad.empty_painting(*size) | dict(painting), kind, size, user)
        if kept.empty:
            return Part()
        return Part(unit={"kind": kind, "map": kept.map, "editor": kept.editor, **sketch_pad.origin(painting)})

    def restored(studio: Studio, request: GenerationRequest, size: Size, user: User) -> Value | None:
        unit = first_unit(request, kind)
        if unit is None:
            return None
        if (kept := kept_data(studio, unit, user)) is not None:
            return paint_pad.readable(kept, kind, *size)
        return paint_pad.over_map(unit.map, *size) if studio.has_asset(unit.map, user) else None

    return {
        "add": add,
        "restored": restored,
        "empty": paint_pad.empty_painting,
        "readable": lambda value, width, height: paint_pad.readable(value, kind, width, height),
        "component": lambda elem_id: PaintPad(elem_id=elem_id, kind=kind),
    }


def _add_regions(studio: Studio, painting: Mapping[str, Any], size: Size, user: User) -> Part:
    kept = studio.add_painting(paint_pad.empty_painting(*size) | dict(painting), REGIONS, size, user)
    if kept.empty:
        return Part()
    cleaned = studio.assets.open_json(kept.editor)
    said = [{"color": _color(row), "words": row["words"]} for row in cleaned["regions"] if row["on"]]
    unit = {"kind": REGIONS, "map": kept.map, "editor": kept.editor, "regions": said}
    return Part(unit=unit | {"softness": cleaned["softness"]})


def spoken_regions(painting: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The control of a painting's regions with what they say, without a map of where they are."""
    cleaned = clean_painting(paint_pad.empty_painting(8, 8) | dict(painting or {}), REGIONS)
    said = [{"color": _color(row), "words": row["words"]} for row in cleaned["regions"] if row["on"]]
    return [{"kind": REGIONS, "regions": said}] if cleaned["ops"] else []


def _color(row: Mapping[str, Any]) -> str:
    return spelled(SPOKEN[row["region"]])


def _restored_regions(studio: Studio, request: GenerationRequest, size: Size, user: User) -> Value | None:
    """The painting with the words that were read; None where the pad could not show all that the unit has."""
    unit = first_unit(request, REGIONS)
    kept = None if unit is None else kept_data(studio, unit, user)
    if unit is None or kept is None or any(region.weight != 1 for region in unit.regions):
        return None  # as a finished map nothing of it is lost
    painting = paint_pad.readable(kept, REGIONS, *size)
    words = {region.color: region.words for region in unit.regions}
    rows = [row | {"words": words.get(_color(row), row["words"])} for row in painting.get("regions", ())]
    return painting | {"regions": rows, "softness": unit.softness} if rows else None


def _restored_edit(studio: Studio, request: GenerationRequest, size: Size, user: User) -> Value | None:
    edit = restored_edit(studio, request, user)
    return None if edit is None else edit_pad.readable(edit, *size)


def _add_references(_studio: Studio, drawing: Mapping[str, Any], _size: Size, _user: User) -> Part:
    given = reference_pad.cleaned(drawing)
    itself = given["method"] == reference_pad.ITSELF
    kind, method = (REFERENCE_ONLY, {}) if itself else (REFERENCE, {"method": given["method"]})
    units = [
        {"kind": kind, "map": picture["id"], "conditioning_scale": picture["weight"], **method}
        for picture in given["pictures"]
    ]
    return Part(unit=units[0], more=tuple(units[1:])) if units else Part()


def _restored_references(studio: Studio, request: GenerationRequest, _size: Size, user: User) -> Value | None:
    units = [unit for unit in request.controls if unit.kind in (REFERENCE, REFERENCE_ONLY)]
    seen = [unit for unit in units if not unit.images and not unit.mask and studio.has_asset(unit.map, user)]
    alike = {(unit.kind, unit.method) for unit in units}
    if not seen or len(seen) < len(units) or len(alike) > 1:
        return None  # as finished maps nothing of them is lost
    method = reference_pad.ITSELF if seen[0].kind == REFERENCE_ONLY else seen[0].method
    return {"pictures": [{"id": u.map, "weight": u.conditioning_scale} for u in seen], "method": method}


SKETCH = Editor(
    kind="scribble",
    name="sketch",
    label="Sketch",
    elem_id="sketch-pad",
    follow="Follow the sketch",
    nothing="Nothing is drawn, so the prompt alone decides.",
    component=lambda elem_id: SketchPad(elem_id=elem_id),
    empty=sketch_pad.empty_drawing,
    readable=sketch_pad.readable,
    **_strokes_of("scribble"),
)
POSE = Editor(
    kind="pose",
    name="pose",
    label="Pose",
    elem_id="pose-editor",
    follow="Follow the pose",
    nothing="Nobody is posed, so the prompt alone decides.",
    component=lambda elem_id: PoseEditor(elem_id=elem_id),
    empty=pose_editor.empty_pose,
    readable=pose_editor.readable,
    add=_add_pose,
    restored=_restored_pose,
)
DEPTH = Editor(
    kind="depth",
    name="depth",
    label="Depth",
    elem_id="depth-pad",
    follow="Follow the depth",
    nothing="No depth is painted, so the prompt alone decides.",
    **_painting("depth"),
)
EDGES = Editor(
    kind="edges",
    name="edges",
    label="Edges",
    elem_id="edges-pad",
    follow="Follow the edges",
    nothing="No edges are drawn, so the prompt alone decides.",
    component=lambda elem_id: SketchPad(elem_id=elem_id, kind="edges", name="edges"),
    empty=sketch_pad.empty_drawing,
    readable=sketch_pad.readable,
    **_strokes_of("edges"),
)
SEGMENTS = Editor(
    kind="segments",
    name="segments",
    label="Segments",
    elem_id="segments-pad",
    follow="Follow the segments",
    nothing="No regions are painted, so the prompt alone decides.",
    **_painting("segments"),
)
SAID = Editor(
    kind=REGIONS,
    name=REGIONS,
    label="Regions",
    elem_id="regions-pad",
    follow="Say what is where",
    nothing="No regions are painted, so the prompt alone decides.",
    **_painting(REGIONS) | {"add": _add_regions, "restored": _restored_regions},
)
EDIT = Editor(
    kind="edit",
    name="edit",
    label="Edit",
    elem_id="edit-pad",
    follow="Change the picture",
    nothing="There is no picture to change, so the prompt alone decides.",
    component=lambda elem_id: EditPad(elem_id=elem_id),
    empty=edit_pad.empty_edit,
    readable=edit_pad.readable,
    add=lambda studio, edit, size, user: Part(fields=add_edit(studio, edit, size, user)),
    restored=_restored_edit,
    picture=True,
)
REFERENCES = Editor(
    kind=REFERENCE,
    name="reference",
    label="Reference",
    elem_id="reference-pad",
    follow="Be like the references",
    nothing="There is no reference, so the prompt alone decides.",
    component=lambda elem_id: ReferencePad(elem_id=elem_id),
    empty=reference_pad.no_pictures,
    readable=reference_pad.readable,
    add=_add_references,
    restored=_restored_references,
    also=(REFERENCE_ONLY,),
    several=True,
)
EDITORS = {editor.kind: editor for editor in (SKETCH, POSE, DEPTH, EDGES, SEGMENTS, SAID, REFERENCES, EDIT)}
"""In the order of the tabs."""

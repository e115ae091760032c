"""What the Create section does: each handler takes values, calls the studio and says what the widgets show then."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
from gradio.components import Component

from studio.access import User
from studio.errors import InvalidRequestError, StudioError
from studio.params import GenerationRequest
from studio.restored import as_typed
from studio.services import Studio
from studio.skeleton import read_pose
from studio.ui.components.checkpoint_chooser import Choice
from studio.ui.components.pose_editor import LONG_SIDE, fitted
from studio.ui.create_tab import CreateTab, present_card, vae_choices
from studio.ui.editors import EDITORS, POSE, Part
from studio.ui.errors import Notice, error_notice, quiet_notice
from studio.ui.form import CUSTOM, defaults, from_request, shape_of, size_of, to_request
from studio.ui.requester import requester
from studio.ui.stack import clean_stack, counted, settings

Values = dict[Component, Any]


@dataclass(frozen=True, kw_only=True)
class CreateEvents:
    """The handlers. `sections`: the tabs of the page."""

    studio: Studio
    tab: CreateTab
    sections: gr.Tabs

    # ---- generating

    def submit(self, values: Values, request: gr.Request) -> Values:
        """Queue what the form says, with all that the canvas adds; refusals stand beside the button."""
        user = requester(request)
        try:
            wanted, note = self.asked(values, user)
            submitted = self.studio.submit(wanted, user)
        except StudioError as error:
            return {self.tab.notice: error_notice(error)}
        return {self.tab.notice: quiet_notice(note, *submitted.warnings)}

    def asked(self, values: Values, user: User) -> tuple[GenerationRequest, str]:
        """The request that the form and the canvas make, with a word when the canvas adds nothing."""
        named = self.named(values)
        parts, note = self.parts(values, named, user)
        fields = {name: value for part in parts for name, value in part.fields.items()}
        controls = [unit for part in parts for unit in part.units()]
        return to_request(named, controls, fields), note

    def parts(self, values: Values, named: Mapping[str, Any], user: User) -> tuple[list[Part], str]:
        """What each tab and finished map of the stack adds, in its order; with a word when the canvas adds nothing."""
        size, stack = _size(named), clean_stack(named["stack"], EDITORS)
        rows = counted(stack)
        found = [part for row in rows if not (part := self.part(row, values, size, user)).empty]
        front = EDITORS[named["kind"]]
        followed = any(row["kind"] == front.kind for row in rows)
        return found, front.nothing if followed and not found else ""

    def part(self, row: Mapping[str, Any], values: Values, size: tuple[int, int], user: User) -> Part:
        """What one row of the stack adds."""
        if "map" in row:
            return Part(unit={"kind": row["kind"], **settings(row)})
        part = EDITORS[row["kind"]].add(self.studio, values[self.tab.pads[row["kind"]]], size, user)
        units = part.units()
        if not units:
            return part
        if trouble := self.studio.control_trouble(units[0]["kind"], values[self.tab.fields["checkpoint"]]):
            raise InvalidRequestError(
                str(trouble), field="controls", hint=f"{trouble.hint} Or untick it beside the canvas."
            )
        first, *more = (unit | settings(row, unit) for unit in units)
        return replace(part, unit=first, more=tuple(more))

    def act(self, request: gr.Request, event: gr.EventData) -> Values:
        """What was pressed at a picture: vary, seed, settings, restore."""
        user, what, data = requester(request), event._data.get("what"), event._data
        try:
            if what == "restore":
                found = data.get("found") or {}
                return self.filled(
                    GenerationRequest.from_dict(found.get("request", {})),
                    user,
                    "Settings read.",
                    *found.get("notes", []),
                )
            item = self.studio.gallery_item(int(data.get("item", 0)), user)
            if what == "seed":
                return {
                    self.tab.fields["seed"]: {"seed": item.seed},
                    self.tab.notice: quiet_notice(f"The next picture uses seed {item.seed}."),
                }
            if what == "settings":
                drawn = item.params.template and f"Its prompt was drawn from: {item.params.template}"
                return self.filled(item.params.to_request(), user, "These are the settings of that picture.", drawn)
            return self.varied(as_typed(item.params), user)
        except StudioError as error:
            return {self.tab.notice: error_notice(error)}

    def varied(self, made: GenerationRequest, user: User) -> Values:
        """The same once more, with a seed that is thrown anew."""
        data = made.to_dict()
        data.pop("seed", None)
        self.studio.submit(GenerationRequest.from_dict(data), user)
        return {self.sections: gr.Tabs(selected="create"), self.tab.notice: None}

    # ---- filling the form

    def filled(self, request: GenerationRequest, user: User, *notes: str) -> Values:
        """The whole form, and the drawing if there was one, for a request."""
        names = [entry.name for entry in self.studio.checkpoints() if entry.usable]
        known = request.checkpoint if request.checkpoint in names else None
        card = present_card(self.studio, known)
        missing = "" if known or not request.checkpoint else f"{request.checkpoint} is not here; {card.name} is chosen."
        size = request.width or card.native_size, request.height or card.native_size
        found = {e.kind: e.restored(self.studio, request, size, user) for e in EDITORS.values()}
        drawn = {kind: drawing for kind, drawing in found.items() if drawing is not None}
        values = from_request(request, card, tuple(drawn)) | {"checkpoint": card.name}
        return (
            self.shown(values)
            | {self.tab.pads[kind]: drawing for kind, drawing in drawn.items()}
            | {self.tab.notice: quiet_notice(*notes, missing), self.sections: gr.Tabs(selected="create")}
        )

    def shown(self, values: Mapping[str, Any]) -> Values:
        """Named values as updates of the widgets, with what follows from them."""
        fields = {widget: values[name] for name, widget in self.tab.fields.items() if name in values}
        native = present_card(self.studio, values.get("checkpoint")).native_size
        shape = shape_of(values.get("width"), values.get("height"), native)
        if "kind" in values:
            fields[self.tab.canvas_notice] = self.trouble(values["kind"], values.get("checkpoint"))
        if "vae" in values:
            fields[self.tab.fields["vae"]] = self.vaes(values.get("checkpoint"), values["vae"])
        return fields | {
            self.tab.shape: shape,
            self.tab.words: self.words(values.get("prompt", ""), values.get("checkpoint")),
        }

    def vaes(self, checkpoint: str | None, chosen: str) -> gr.Dropdown:
        """What there is to choose beside the checkpoint; one that is not here any more is not chosen."""
        choices = vae_choices(self.studio, checkpoint)
        return gr.Dropdown(choices=choices, value=chosen if chosen in dict(choices).values() else "")

    def words(self, prompt: str, checkpoint: str | None) -> dict[str, Any]:
        """What the line under the prompt says about words."""
        card = present_card(self.studio, checkpoint)
        try:
            unknown = self.studio.unknown_words(prompt or "", checkpoint or None)
        except StudioError:
            unknown = []
        return {
            "name": card.name,
            "demonstration": card.demonstration,
            "known": list(card.known_words),
            "unknown": unknown,
            "folder": "data/models/checkpoints",
        }

    def prompt_changed(self, prompt: str, checkpoint: str | None) -> dict[str, Any]:
        """Mark the words that the checkpoint does not know."""
        return self.words(prompt, checkpoint)

    def shape_chosen(self, values: Values) -> Values:
        """The size that the shape has for this checkpoint, and the canvas in that shape."""
        if (shape := values[self.tab.shape]) == CUSTOM:
            return {}
        fields = self.tab.fields
        width, height = size_of(shape, present_card(self.studio, values[fields["checkpoint"]]).native_size)
        return {fields["width"]: width, fields["height"]: height, **self.refit(values, width, height)}

    def size_typed(self, values: Values) -> Values:
        """The shape's name and the canvas for a size that was typed."""
        named = self.named(values)
        width, height = named["width"], named["height"]
        if not (width and height and 64 <= width <= 2048 and 64 <= height <= 2048):
            return {}
        native = present_card(self.studio, named["checkpoint"]).native_size
        shape = shape_of(int(width), int(height), native)
        return {self.tab.shape: shape, **self.refit(values, int(width), int(height))}

    def refit(self, values: Values, width: int, height: int) -> Values:
        """What is drawn on each tab, onto a canvas of the new aspect; nothing when the aspect stays."""
        sheets = {pad: EDITORS[kind].refit(values[pad], width, height) for kind, pad in self.tab.pads.items()}
        return {pad: sheet for pad, sheet in sheets.items() if sheet is not None}

    def checkpoint_chosen(self, form: Values, event: gr.EventData) -> Values:
        """The checkpoint with its card's defaults, and warmed up; prompt and drawing stay; or why it is refused."""
        wanted, named = str(event._data.get("name") or ""), self.named(form)
        try:
            card = self.studio.card(wanted)
        except StudioError as error:
            return {self.tab.fields["checkpoint"]: Choice(named["checkpoint"], error_notice(error))}
        words = {"prompt", "negative_prompt", "prompt_mode", "prompt_weighting"}
        kept = words | {"count", "seed", "kind", "stack", "adapters"}
        values = {name: value for name, value in defaults(card).items() if name not in kept} | {"checkpoint": wanted}
        self.prefetch(named | {"checkpoint": wanted, "vae": ""})
        updates = {self.tab.fields[name]: value for name, value in values.items()}
        updates[self.tab.fields["vae"]] = self.vaes(wanted, "")
        updates[self.tab.canvas_notice] = self.trouble(named["kind"], wanted)
        sheets = self.refit(form, card.native_size, card.native_size)
        return updates | sheets | {self.tab.shape: "Square", self.tab.preset: "", self.tab.notice: None}

    def trouble(self, kind: str, checkpoint: str | None) -> Notice | None:
        """That the checkpoint has nothing to follow the tab's drawing with, said before Generate is pressed."""
        if not checkpoint or EDITORS[kind].picture:
            return None
        trouble = self.studio.control_trouble(kind, checkpoint)
        return None if trouble is None else error_notice(trouble) | {"kind": "quiet"}

    def tab_chosen(self, values: Values) -> Values:
        """What is said beside the canvas, and the models of the tab warmed up."""
        named = self.named(values)
        self.prefetch(named)
        return {self.tab.canvas_notice: self.trouble(named["kind"], named["checkpoint"])}

    def pose_opened(self, values: Values, event: gr.EventData) -> Values:
        """The pose of a file on the canvas; a file that holds none is refused beside it, and nothing is lost."""
        named = self.named(values)
        try:
            pose = read_pose(str(event._data.get("text") or ""))
        except StudioError as error:
            return {self.tab.canvas_notice: error_notice(error)}
        canvas = values[self.tab.pads[POSE.kind]]
        shown = fitted(pose, *(canvas.get(side) or LONG_SIDE for side in ("canvas_width", "canvas_height")))
        kept = {"background": canvas.get("background")}
        return {
            self.tab.pads[POSE.kind]: shown | kept,
            self.tab.canvas_notice: self.trouble(POSE.kind, named["checkpoint"]),
        }

    def models_changed(self, current: str) -> str | Choice:
        """The checkpoint after the folders were looked through; when it cannot be used any more, that is said."""
        try:
            self.studio.card(current)
        except StudioError as error:
            return Choice(current, error_notice(error))
        return current or present_card(self.studio).name

    def preset_chosen(self, values: Values) -> Values:
        """The preset's fields in the form; what it does not name stays."""
        preset = next((p for p in self.studio.presets() if p.name == values[self.tab.preset]), None)
        if preset is None:
            return {self.tab.notice: None}
        named = self.named(values)
        stack = clean_stack(named["stack"], EDITORS)
        applied = preset.apply({**named, "controls": stack["units"]})
        applied["stack"] = {**stack, "units": applied.pop("controls")}
        changed = {name: value for name, value in applied.items() if named.get(name) != value}
        return self.shown({**named, **changed}) | {self.tab.notice: quiet_notice(preset.description)}

    def vae_chosen(self, values: Values) -> None:
        """Another autoencoder, warmed up."""
        self.prefetch(self.named(values))

    def prefetch(self, named: Mapping[str, Any]) -> None:
        """Ask for the checkpoint, its autoencoder, and the models of the tab in front and of finished maps.

        A missing one is said when it is needed.
        """
        stack = clean_stack(named["stack"], EDITORS)
        kinds = [named["kind"]] + [row["kind"] for row in counted(stack) if "map" in row]
        try:
            self.studio.prefetch(named["checkpoint"] or None, tuple(dict.fromkeys(kinds)), named["vae"] or "")
        except StudioError:
            return

    def named(self, values: Values) -> dict[str, Any]:
        """The form's values by the names of fields."""
        return {name: values[widget] for name, widget in self.tab.fields.items()}


def _size(named: Mapping[str, Any]) -> tuple[int, int]:
    size = int(named["width"] or 0), int(named["height"] or 0)
    if not all(64 <= side <= 2048 for side in size):
        raise InvalidRequestError(
            f"The size is {size[0]} by {size[1]}.", field="width", hint="Choose sides from 64 to 2048 pixels."
        )
    return size

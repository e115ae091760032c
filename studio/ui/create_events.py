"""What the Create section does: each handler takes values, calls the studio and says what the widgets show then."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from studio.access import User
from studio.errors import InvalidRequestError, StudioError
from studio.params import GenerationRequest
from studio.services import Studio
from studio.skeleton import read_pose
from studio.ui import example
from studio.ui.components.checkpoint_chooser import Choice
from studio.ui.components.own import OwnComponent
from studio.ui.components.pose_editor import LONG_SIDE, fitted
from studio.ui.create_tab import CreateTab, present_card, vae_choices
from studio.ui.editors import EDITORS, POSE, SKETCH
from studio.ui.errors import Notice, error_notice, quiet_notice
from studio.ui.form import CUSTOM, defaults, drawn_unit, from_request, kept_by_tab, shape_of, size_of, to_request
from studio.ui.requester import requester

Values = dict[Component, Any]


@dataclass(frozen=True, kw_only=True)
class CreateEvents:
    """The handlers. Hidden boxes hold the browser's own name (`browser`) and what its tab kept over a reload (`left`);
    `sections`: the tabs of the page.
    """

    studio: Studio
    tab: CreateTab
    browser: gr.Textbox
    left: gr.Textbox
    sections: gr.Tabs

    # ---- generating

    def submit(self, values: Values, request: gr.Request) -> Values:
        """Queue what the form says, with the drawing as its control; refusals stand beside the button."""
        user, named = requester(request), self.named(values)
        try:
            drawing, note = self.drawing(values[self.tab.pads[named["kind"]]], named, user)
            submitted = self.studio.submit(to_request(named, drawing), user)
        except StudioError as error:
            return {self.tab.notice: error_notice(error)}
        return {self.tab.notice: quiet_notice(note, *submitted.warnings)}

    def drawing(
        self, value: Mapping[str, Any], named: Mapping[str, Any], user: User
    ) -> tuple[tuple[str, str] | None, str]:
        """Asset ids of the map and of what made it, or None with the reason."""
        if not named["use_sketch"]:
            return None, ""
        size = tuple(int(named[side] or 0) for side in ("width", "height"))
        if not all(64 <= side <= 2048 for side in size):
            raise InvalidRequestError(
                f"The size is {size[0]} by {size[1]}.", field="width", hint="Choose sides from 64 to 2048 pixels."
            )
        editor = EDITORS[named["kind"]]
        drawn = editor.add(self.studio, value, (size[0], size[1]), user)
        if drawn.empty:
            return None, editor.nothing
        if editor is POSE and (trouble := self.studio.control_trouble(editor.kind, named["checkpoint"])):
            return None, f"{trouble} The prompt alone decides."
        return (drawn.map, drawn.editor), ""

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
            made = item.params.to_request()
            if what == "settings":
                return self.filled(made, user, "These are the settings of that picture.")
            return self.varied(made, user)
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
        values = from_request(request, card) | {"checkpoint": card.name}
        missing = "" if known or not request.checkpoint else f"{request.checkpoint} is not here; {card.name} is chosen."
        unit = drawn_unit(request)
        drawn: Values = {}
        if unit is not None and self.studio.has_asset(unit.editor, user, ".json"):
            kept = self.studio.assets.open_json(unit.editor)
            shown = EDITORS[unit.kind].readable(kept, values["width"], values["height"])
            drawn = {self.tab.pads[unit.kind]: shown}
        return (
            self.shown(values)
            | drawn
            | {self.tab.notice: quiet_notice(*notes, missing), self.sections: gr.Tabs(selected="create")}
        )

    def shown(self, values: Mapping[str, Any]) -> Values:
        """Named values as updates of the widgets, with what follows from them."""
        fields = {widget: values[name] for name, widget in self.tab.fields.items() if name in values}
        native = present_card(self.studio, values.get("checkpoint")).native_size
        shape = shape_of(values.get("width"), values.get("height"), native)
        if "kind" in values:
            follow = EDITORS[values["kind"]].follow
            fields[self.tab.fields["use_sketch"]] = gr.Checkbox(value=values["use_sketch"], label=follow)
            fields[self.tab.pose_notice] = self.pose_trouble(values.get("checkpoint"))
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
        kept = {"prompt", "negative_prompt", "count", "seed", "kind", "use_sketch", "conditioning_scale"}
        values = {name: value for name, value in defaults(card).items() if name not in kept} | {"checkpoint": wanted}
        self.prefetch(wanted, named["kind"])
        updates = {self.tab.fields[name]: value for name, value in values.items()}
        updates[self.tab.fields["vae"]] = self.vaes(wanted, "")
        sketched = named["use_sketch"] and named["kind"] == SKETCH.kind
        updates[self.tab.notice] = self.trouble(SKETCH.kind, wanted) if sketched else None
        updates[self.tab.pose_notice] = self.pose_trouble(wanted)
        sheets = self.refit(form, card.native_size, card.native_size)
        return updates | sheets | {self.tab.shape: "Square", self.tab.preset: ""}

    def trouble(self, kind: str, checkpoint: str | None) -> Notice | None:
        """That the checkpoint has nothing to follow the drawing with, said before Generate is pressed."""
        trouble = self.studio.control_trouble(kind, checkpoint)
        return None if trouble is None else error_notice(trouble) | {"kind": "quiet"}

    def pose_trouble(self, checkpoint: str | None) -> Notice | None:
        """The same beside the pose, while there is a checkpoint."""
        return self.trouble(POSE.kind, checkpoint) if checkpoint else None

    def tab_chosen(self, values: Values) -> Values:
        """What the box beside the canvas says, and the models of the tab warmed up."""
        named = self.named(values)
        self.prefetch(named["checkpoint"], named["kind"])
        return {
            self.tab.fields["use_sketch"]: gr.Checkbox(label=EDITORS[named["kind"]].follow),
            self.tab.pose_notice: self.pose_trouble(named["checkpoint"]),
        }

    def pose_opened(self, values: Values, event: gr.EventData) -> Values:
        """The pose of a file on the canvas; a file that holds none is refused beside it, and nothing is lost."""
        named = self.named(values)
        try:
            pose = read_pose(str(event._data.get("text") or ""))
        except StudioError as error:
            return {self.tab.pose_notice: error_notice(error)}
        canvas = values[self.tab.pads[POSE.kind]]
        shown = fitted(pose, *(canvas.get(side) or LONG_SIDE for side in ("canvas_width", "canvas_height")))
        kept = {"background": canvas.get("background")}
        return {
            self.tab.pads[POSE.kind]: shown | kept,
            self.tab.pose_notice: self.pose_trouble(named["checkpoint"]),
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
        applied = preset.apply({**named, "controls": [named]})
        unit = applied.pop("controls")[0]
        changed = {name: value for name, value in {**unit, **applied}.items() if named.get(name) != value}
        return self.shown({**named, **changed}) | {self.tab.notice: quiet_notice(preset.description)}

    # ---- drafts

    def load(self, browser: str, left: str, request: gr.Request) -> Values:
        """What this browser had typed and drawn; on a first visit an example, ready to be made."""
        user = requester(request)
        names = {entry.name for entry in self.studio.checkpoints() if entry.usable}
        texts, drawn = kept_by_tab(left)
        form = {**self.kept(user, browser), **texts}
        drawn = {e.name: drawn.get(e.name) or self.kept(user, e.draft(browser)) for e in EDITORS.values()}
        values = self.sound(form, names)
        if present_card(self.studio).demonstration:
            values["prompt"] = values["prompt"] if form else example.PROMPT
            drawn[SKETCH.name] = drawn[SKETCH.name] or example.house()
        size = int(values["width"]), int(values["height"])
        picked = Choice(values["checkpoint"], self.replaced(form.get("checkpoint"), values["checkpoint"]))
        notice = None if names else quiet_notice("There is no checkpoint yet: put one into data/models/checkpoints.")
        return self.shown(values) | {
            self.tab.fields["checkpoint"]: picked,
            self.browser: browser,
            self.tab.notice: notice,
            **{self.tab.pads[e.kind]: e.readable(drawn[e.name], *size) for e in EDITORS.values()},
        }

    def kept(self, user: User, name: str) -> dict[str, Any]:
        """A draft; nothing when it cannot be had."""
        try:
            return self.studio.draft(user, name)
        except StudioError:
            return {}

    def replaced(self, wanted: object, chosen: str) -> Notice | None:
        """Why the draft's checkpoint is not the one that is chosen; None when it is."""
        if not isinstance(wanted, str) or wanted in ("", chosen):
            return None
        try:
            self.studio.card(wanted)
        except StudioError as error:
            return error_notice(error) | {"hint": f"{chosen} is chosen instead." if chosen else error.hint}
        return None

    def sound(self, form: Mapping[str, Any], checkpoints: set[str]) -> dict[str, Any]:
        """A draft's fields over the defaults; what no longer fits is left."""
        name = form.get("checkpoint")
        card = present_card(self.studio, name if name in checkpoints else None)
        start = defaults(card)
        kept = {key: value for key, value in form.items() if key in start and isinstance(value, type(start[key]) | int)}
        values: dict[str, Any] = start | kept | {"checkpoint": card.name if card.name in checkpoints else ""}
        values["kind"] = values["kind"] if values["kind"] in EDITORS else SKETCH.kind
        rows = self.studio.registry.schedulers
        values["scheduler"] = values["scheduler"] if values["scheduler"] in rows else start["scheduler"]
        for side in ("width", "height"):
            values[side] = int(values[side]) if 64 <= values[side] <= 2048 else start[side]
        return values

    def save_form(self, values: Values, request: gr.Request) -> None:
        """Keep what was typed."""
        self.keep(values[self.browser], self.named(values), requester(request))

    def save_drawings(self, values: Values, request: gr.Request) -> None:
        """Keep what was drawn on those tabs whose drawing is given."""
        for kind, pad in self.tab.pads.items():
            if pad in values:
                self.keep(EDITORS[kind].draft(values[self.browser]), dict(values[pad]), requester(request))

    def keep(self, name: str, body: dict[str, Any], user: User) -> None:
        """Save a draft; one that cannot be kept is said, since losing it would hurt."""
        if not name:
            return  # before the page has loaded there is nothing to keep
        try:
            self.studio.save_draft(user, name, body)
        except StudioError as error:
            gr.Warning(str(error))

    def prefetch(self, checkpoint: str | None, kind: str) -> None:
        """Ask for the models; a missing one is said when a picture is asked for."""
        try:
            self.studio.prefetch(checkpoint or None, (kind,))
        except StudioError:
            return

    def named(self, values: Values) -> dict[str, Any]:
        """The form's values by the names of fields."""
        return {name: values[widget] for name, widget in self.tab.fields.items()}


def wire_create(page: gr.Blocks, events: CreateEvents, pictures: list[OwnComponent]) -> None:
    """Connect the widgets with the handlers. pictures: components whose `act` asks for something with a picture."""
    tab, fields = events.tab, set(events.tab.fields.values())
    quiet: dict[str, Any] = {"show_progress": "hidden", "queue": False, "api_visibility": "private"}
    pads = list(tab.pads.values())
    said = [tab.words, tab.notice, tab.pose_notice]
    everything = [*fields, tab.shape, tab.preset, *pads, *said, events.browser, events.sections]
    here = "() => [window.maquette.browser(), window.maquette.left()]"
    page.load(events.load, [events.browser, events.left], everything, js=here, **quiet)
    tab.generate.click(events.submit, {*fields, *pads}, tab.notice, trigger_mode="multiple", **quiet)
    filled = [
        component.act(events.act, None, everything, trigger_mode="multiple", **quiet).then(
            events.save_drawings, {*pads, events.browser}, None, **quiet
        )
        for component in pictures
    ]
    checkpoint, prompt = tab.fields["checkpoint"], tab.fields["prompt"]
    sizes, sized = {*fields, tab.shape, *pads}, [tab.fields["width"], tab.fields["height"], tab.shape, *pads]
    prompt.change(events.prompt_changed, [prompt, checkpoint], tab.words, trigger_mode="always_last", **quiet)
    chosen = [
        tab.shape.input(events.shape_chosen, sizes, sized, **quiet),
        *(tab.fields[side].input(events.size_typed, sizes, sized, **quiet) for side in ("width", "height")),
        tab.fields["kind"].chosen(events.tab_chosen, fields, everything, **quiet),
        checkpoint.choose(
            events.checkpoint_chosen,
            {*fields, *pads},
            everything,
            trigger_mode="always_last",
            **quiet,
        ),
        tab.preset.input(events.preset_chosen, {*fields, tab.preset}, everything, **quiet),
    ]
    checkpoint.look(events.models_changed, checkpoint, checkpoint, **quiet)
    pose = tab.pads[POSE.kind]
    opened = pose.pose_file(events.pose_opened, {*fields, pose}, [pose, tab.pose_notice], **quiet)
    opened.then(events.save_drawings, {pose, events.browser}, None, **quiet)
    keep_drafts(events, [*chosen, *filled], quiet)


def keep_drafts(events: CreateEvents, chosen: list[Any], quiet: dict[str, Any]) -> None:
    """Save after every edit: the form and the drawing apart, since a drawing is large."""
    tab, fields = events.tab, events.tab.fields
    typed: list[Callable[..., Any]] = [
        # text that is pasted or dictated comes as a change alone
        widget.change if isinstance(widget, gr.Textbox) else widget.input
        for name, widget in fields.items()
        if name not in ("seed", "checkpoint", "kind")
    ]
    last: dict[str, Any] = {**quiet, "trigger_mode": "always_last"}
    inputs = {*fields.values(), events.browser}
    gr.on(typed, events.save_form, inputs, None, **last)
    fields["seed"].edited(events.save_form, inputs, None, **last)
    sketch, pose = tab.pads[SKETCH.kind], tab.pads[POSE.kind]
    sketch.sketch_edit(events.save_drawings, {sketch, events.browser}, None, **last)
    pose.pose_edit(events.save_drawings, {pose, events.browser}, None, **last)
    for event in chosen:
        event.then(events.save_form, inputs, None, **quiet)

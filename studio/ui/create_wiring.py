"""The Create section's widgets connected with what they do."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from studio.ui.components.own import OwnComponent
from studio.ui.create_drafts import DraftEvents
from studio.ui.editors import POSE
from studio.ui.grid_events import GridEvents


def wire_create(page: gr.Blocks, drafts: DraftEvents, pictures: list[OwnComponent]) -> None:
    """Connect the widgets with the handlers. pictures: components whose `act` asks for something with a picture."""
    events = drafts.create
    tab, fields = events.tab, set(events.tab.fields.values())
    quiet: dict[str, Any] = {"show_progress": "hidden", "queue": False, "api_visibility": "private"}
    pads = list(tab.pads.values())
    said = [tab.words, tab.notice, tab.canvas_notice]
    everything = [*fields, tab.shape, tab.preset, *pads, *said, drafts.browser, events.sections]
    here = "() => [window.maquette.browser(), window.maquette.left()]"
    loaded = page.load(drafts.load, [drafts.browser, drafts.left], everything, js=here, **quiet)
    tab.generate.click(events.submit, {*fields, *pads}, tab.notice, trigger_mode="multiple", **quiet)
    filled = [
        component.act(events.act, None, everything, trigger_mode="multiple", **quiet).then(
            drafts.save_drawings, {*pads, drafts.browser}, None, **quiet
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
    tab.fields["vae"].input(events.vae_chosen, fields, None, **quiet)
    checkpoint.look(events.models_changed, checkpoint, checkpoint, **quiet)
    pose = tab.pads[POSE.kind]
    opened = pose.pose_file(events.pose_opened, {*fields, pose}, [pose, tab.canvas_notice], **quiet)
    opened.then(drafts.save_drawings, {pose, drafts.browser}, None, **quiet)
    keep_drafts(drafts, [*chosen, *filled], quiet)
    grids = GridEvents(create=events, view=tab.grid)
    for maker in tab.grid_makers:
        maker.grid(grids.start, {*fields, *pads}, [tab.notice, tab.grid], trigger_mode="multiple", **quiet)
    for event in (loaded, *chosen, *filled):  # the boxes of a closed fold are not in the page, where editors could look
        size = [tab.fields["width"], tab.fields["height"]]
        event.then(None, size, None, js="(w, h) => { window.maquette.pictureSize = [w, h]; }", **quiet)


def keep_drafts(drafts: DraftEvents, chosen: list[Any], quiet: dict[str, Any]) -> None:
    """Save after every edit: the form and the drawing apart, since a drawing is large."""
    tab, fields = drafts.create.tab, drafts.create.tab.fields
    typed: list[Callable[..., Any]] = [
        # text that is pasted or dictated comes as a change alone
        widget.change if isinstance(widget, gr.Textbox) else widget.input
        for name, widget in fields.items()
        if name not in ("seed", "checkpoint", "kind", "stack", "adapters")
    ]
    last: dict[str, Any] = {**quiet, "trigger_mode": "always_last"}
    inputs = {*fields.values(), drafts.browser}
    gr.on(typed, drafts.save_form, inputs, None, **last)
    for own in (fields["seed"], fields["stack"], fields["adapters"]):
        own.edited(drafts.save_form, inputs, None, **last)
    for pad in tab.pads.values():
        pad.edited(drafts.save_drawings, {pad, drafts.browser}, None, **last)
    for event in chosen:
        event.then(drafts.save_form, inputs, None, **quiet)

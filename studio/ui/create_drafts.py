"""What a browser had typed and drawn: shown again when it comes back, and kept after every edit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from studio.access import User
from studio.errors import StudioError
from studio.params import PROMPT_MODES, WEIGHTINGS
from studio.ui import adapters, example
from studio.ui.components.checkpoint_chooser import Choice
from studio.ui.create_events import CreateEvents
from studio.ui.create_tab import present_card
from studio.ui.editors import EDITORS, SKETCH
from studio.ui.errors import Notice, error_notice, quiet_notice
from studio.ui.form import defaults, kept_by_tab
from studio.ui.requester import requester
from studio.ui.stack import clean_stack

Values = dict[Component, Any]


@dataclass(frozen=True, kw_only=True)
class DraftEvents:
    """The handlers. Hidden boxes hold the browser's own name (`browser`) and what it kept over a reload (`left`)."""

    create: CreateEvents
    browser: gr.Textbox
    left: gr.Textbox

    def load(self, browser: str, left: str, request: gr.Request) -> Values:
        """What this browser had typed and drawn; on a first visit an example, ready to be made."""
        user = requester(request)
        names = {entry.name for entry in self.create.studio.checkpoints() if entry.usable}
        texts, drawn = kept_by_tab(left)
        form = {**self.kept(user, browser), **texts}
        drawn = {e.name: drawn.get(e.name) or self.kept(user, e.draft(browser)) for e in EDITORS.values()}
        values = self.sound(form, names)
        if present_card(self.create.studio).demonstration:
            values["prompt"] = values["prompt"] if form else example.PROMPT
            drawn[SKETCH.name] = drawn[SKETCH.name] or example.house()
        size = int(values["width"]), int(values["height"])
        picked = Choice(values["checkpoint"], self.replaced(form.get("checkpoint"), values["checkpoint"]))
        notice = None if names else quiet_notice("There is no checkpoint yet: put one into data/models/checkpoints.")
        return self.create.shown(values) | {
            self.create.tab.fields["checkpoint"]: picked,
            self.browser: browser,
            self.create.tab.notice: notice,
            **{self.create.tab.pads[e.kind]: e.readable(drawn[e.name], *size) for e in EDITORS.values()},
        }

    def kept(self, user: User, name: str) -> dict[str, Any]:
        """A draft; nothing when it cannot be had."""
        try:
            return self.create.studio.draft(user, name)
        except StudioError:
            return {}

    def replaced(self, wanted: object, chosen: str) -> Notice | None:
        """Why the draft's checkpoint is not the one that is chosen; None when it is."""
        if not isinstance(wanted, str) or wanted in ("", chosen):
            return None
        try:
            self.create.studio.card(wanted)
        except StudioError as error:
            return error_notice(error) | {"hint": f"{chosen} is chosen instead." if chosen else error.hint}
        return None

    def sound(self, form: Mapping[str, Any], checkpoints: set[str]) -> dict[str, Any]:
        """A draft's fields over the defaults; what no longer fits is left."""
        name = form.get("checkpoint")
        card = present_card(self.create.studio, name if name in checkpoints else None)
        start = defaults(card)
        kept = {key: value for key, value in form.items() if key in start and isinstance(value, type(start[key]) | int)}
        kept["stack"] = clean_stack(form.get("stack"), EDITORS)
        kept["adapters"] = adapters.clean_stack(form.get("adapters"))
        values: dict[str, Any] = start | kept | {"checkpoint": card.name if card.name in checkpoints else ""}
        values["kind"] = values["kind"] if values["kind"] in EDITORS else SKETCH.kind
        rows = self.create.studio.registry.schedulers
        values["scheduler"] = values["scheduler"] if values["scheduler"] in rows else start["scheduler"]
        for name, known in (("prompt_mode", PROMPT_MODES), ("prompt_weighting", WEIGHTINGS)):
            values[name] = values[name] if values[name] in known else known[0]
        for side in ("width", "height"):
            values[side] = int(values[side]) if 64 <= values[side] <= 2048 else start[side]
        return values

    def save_form(self, values: Values, request: gr.Request) -> None:
        """Keep what was typed."""
        self.keep(values[self.browser], self.create.named(values), requester(request))

    def save_drawings(self, values: Values, request: gr.Request) -> None:
        """Keep what was drawn on those tabs whose drawing is given."""
        for kind, pad in self.create.tab.pads.items():
            if pad in values:
                self.keep(EDITORS[kind].draft(values[self.browser]), dict(values[pad]), requester(request))

    def keep(self, name: str, body: dict[str, Any], user: User) -> None:
        """Save a draft; one that cannot be kept is said, since losing it would hurt."""
        if not name:
            return  # before the page has loaded there is nothing to keep
        try:
            self.create.studio.save_draft(user, name, body)
        except StudioError as error:
            gr.Warning(str(error))

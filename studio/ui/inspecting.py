"""How the prompt is read, shown under it while its fold is open."""

from collections.abc import Mapping
from typing import Any

import gradio as gr
from gradio.components import Component

from studio.errors import StudioError
from studio.inspector import inspect
from studio.library.control_kinds import REGIONS
from studio.services import Studio
from studio.ui.create_tab import WEIGHTS, CreateTab
from studio.ui.editors import EDITORS, spoken_regions
from studio.ui.form import to_request
from studio.ui.requester import requester
from studio.ui.stack import clean_stack, counted


def wire_inspector(studio: Studio, tab: CreateTab) -> None:
    """Let the inspector read the form whenever it asks; the last question counts."""

    def look(values: Mapping[Component, Any], request: gr.Request) -> dict[str, Any]:
        try:
            named = {name: values[widget] for name, widget in tab.fields.items()}
            counts = any(row["kind"] == REGIONS for row in counted(clean_stack(named["stack"], EDITORS)))
            wanted = to_request(named, spoken_regions(values[tab.pads[REGIONS]]) if counts else ())
            view = inspect(studio, wanted, requester(request))
            return view | {"weighting": next(label for label, name in WEIGHTS if name == view["weighting"])}
        except StudioError as error:
            return {"trouble": error.sentence()}

    options: dict[str, Any] = {"show_progress": "hidden", "queue": False, "api_visibility": "private"}
    tab.inspector.look(
        look, {*tab.fields.values(), tab.pads[REGIONS]}, tab.inspector, trigger_mode="always_last", **options
    )

"""How the prompt is read, shown under it while its fold is open."""

from collections.abc import Mapping
from typing import Any

import gradio as gr
from gradio.components import Component

from studio.errors import StudioError
from studio.inspector import inspect
from studio.services import Studio
from studio.ui.create_tab import CreateTab
from studio.ui.form import to_request
from studio.ui.requester import requester


def wire_inspector(studio: Studio, tab: CreateTab) -> None:
    """Let the inspector read the form whenever it asks; the last question counts."""

    def look(values: Mapping[Component, Any], request: gr.Request) -> dict[str, Any]:
        try:
            wanted = to_request({name: values[widget] for name, widget in tab.fields.items()})
            return inspect(studio, wanted, requester(request))
        except StudioError as error:
            return {"trouble": error.sentence()}

    options: dict[str, Any] = {"show_progress": "hidden", "queue": False, "api_visibility": "private"}
    tab.inspector.look(look, set(tab.fields.values()), tab.inspector, trigger_mode="always_last", **options)

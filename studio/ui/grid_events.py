"""Grids of the Create section: an adapter at five weights, and any fields against each other."""

from dataclasses import dataclass

import gradio as gr

from studio.errors import StudioError
from studio.grids.plan import axes_of
from studio.grids.runs import start_grid
from studio.ui.components.own import OwnComponent
from studio.ui.create_events import CreateEvents, Values
from studio.ui.errors import error_notice, quiet_notice
from studio.ui.requester import requester


@dataclass(frozen=True, kw_only=True)
class GridEvents:
    """The handler. `view` shows a grid."""

    create: CreateEvents
    view: OwnComponent

    def start(self, values: Values, request: gr.Request, event: gr.EventData) -> Values:
        """Queue a grid of what the form says; refusals stand beside the button."""
        user, notice = requester(request), self.create.tab.notice
        try:
            wanted, note = self.create.asked(values, user)
            grid = start_grid(self.create.studio, wanted, axes_of(event._data.get("axes")), user)
        except StudioError as error:
            return {notice: error_notice(error)}
        return {notice: quiet_notice(note, *grid.warnings), self.view: {"id": grid.id}}

"""The section with every model: search, what each one is, what to do with it, downloads, and tools."""

from typing import Any

import gradio as gr

from studio.errors import ForbiddenError, StudioError
from studio.library.tools.table import described
from studio.services import Studio
from studio.ui.components.own import OwnComponent
from studio.ui.errors import Notice, error_notice, quiet_notice
from studio.ui.requester import requester
from studio.ui.settings_tab import open_in_file_manager


def build_models_tab(studio: Studio) -> None:
    """Its rows, downloads and tools come from our routes; a folder is opened from here."""
    with gr.Column(elem_id="models-section"):
        OwnComponent("models_downloads", elem_id="downloads")
        OwnComponent("models_tools", value={"tools": described()}, elem_id="model-tools")
        with gr.Row(elem_id="models-pane", equal_height=False):
            OwnComponent("models_grid", elem_id="models")
            kinds = list(studio.registry.control_kinds)
            details = OwnComponent("models_details", value={"control_kinds": kinds}, elem_id="model-details")
        said = OwnComponent("notice_line", elem_id="models-notice")
    quiet: dict[str, Any] = {"show_progress": "hidden", "queue": False, "api_visibility": "private"}
    details.act(ModelEvents(studio).open_folder, None, said, **quiet)


class ModelEvents:
    """The handlers of the section."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    def open_folder(self, request: gr.Request, event: gr.EventData) -> Notice | None:
        """Show a model in the file manager of this machine."""
        user = requester(request)
        try:
            if not user.may("open_folder"):
                raise ForbiddenError("Folders are opened on the studio's own machine only.")
            entry = self.studio.library.get(str(event._data.get("key", "")))
            folder = entry.path if entry.path.is_dir() else entry.path.parent
            open_in_file_manager(folder)
        except StudioError as error:
            return error_notice(error)
        return quiet_notice(f"Opened {folder}.")

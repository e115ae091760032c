"""The section for what is set once: previews, where things lie, and what a person copies when they ask for help."""

import os
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Any

import gradio as gr

from studio.errors import ForbiddenError, StorageError, StudioError
from studio.services import Studio
from studio.settings import PRECISIONS
from studio.ui.components.own import OwnComponent
from studio.ui.errors import error_notice, quiet_notice
from studio.ui.requester import requester

LOG_LINES = 200
GUESTS = "Only the owner of the studio sees this."


def build_settings_tab(studio: Studio, tab: gr.Tab) -> None:
    """Lay the section out and wire it; what is known of the machine is read whenever it is opened."""
    preferences = studio.settings.preferences
    with gr.Column(elem_id="settings-pane"):
        gr.Markdown("### Making pictures")
        preview = gr.Checkbox(
            preferences.preview_every > 0,
            label="Show a preview after each step",
            elem_id="set-preview",
            container=False,
        )
        precision = gr.Dropdown(
            list(PRECISIONS),
            value=preferences.precision,
            label="Precision (from the next start on; auto measures which is fastest and exact enough)",
            elem_id="set-precision",
        )
        turbo = gr.Checkbox(
            preferences.turbo,
            label="Turbo: compile the model while pictures are made; they come out a little different from then on",
            elem_id="set-turbo",
            container=False,
        )
        said = OwnComponent("notice_line", elem_id="settings-notice")
        gr.Markdown("### On this machine")
        facts = gr.Textbox(
            label="The studio", lines=9, max_lines=16, buttons=["copy"], interactive=False, elem_id="facts"
        )
        with gr.Row():
            opener = gr.Button("Open the data folder", elem_id="open-folder", size="sm", scale=0, min_width=180)
            fresh = gr.Button("Read again", elem_id="facts-again", size="sm", scale=0, min_width=140)
        with gr.Accordion("Log", open=False):
            log = gr.Textbox(
                label="Last lines of logs/studio.log",
                lines=14,
                max_lines=20,
                buttons=["copy"],
                interactive=False,
                elem_id="log",
            )
    handlers = SettingsEvents(studio)
    quiet: dict[str, Any] = {"show_progress": "hidden", "queue": False, "api_visibility": "private"}
    chosen: list[Any] = [preview, precision, turbo]
    gr.on([preview.input, precision.input, turbo.input], handlers.change, chosen, said, **quiet)
    opener.click(handlers.open_folder, None, said, **quiet)
    gr.on([tab.select, fresh.click], handlers.read, None, [facts, log], **quiet)


class SettingsEvents:
    """The handlers of the section."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    def change(self, preview: bool, precision: str, turbo: bool, request: gr.Request) -> Any:
        """Save the preferences."""
        changes = {"preview_every": 1 if preview else 0, "precision": precision, "turbo": turbo}
        try:
            self.studio.change_preferences(changes, requester(request))
        except StudioError as error:
            return error_notice(error)
        return quiet_notice("Saved.")

    def open_folder(self, request: gr.Request) -> Any:
        """Show the data folder in the file manager of this machine."""
        user, folder = requester(request), self.studio.settings.paths.root
        try:
            if not user.may("open_folder"):
                raise ForbiddenError("Folders are opened on the studio's own machine only.")
            open_in_file_manager(folder)
        except StudioError as error:
            return error_notice(error)
        return quiet_notice(f"Opened {folder}.")

    def read(self, request: gr.Request) -> tuple[str, str]:
        """What is installed and running, and the end of the log."""
        if not requester(request).may("see_all"):
            return GUESTS, GUESTS
        return fact_sheet(self.studio), last_lines(self.studio.settings.paths.logs / "studio.log")


def fact_sheet(studio: Studio) -> str:
    """Plain lines that say how the studio stands, to be copied into a question."""
    status, settings = studio.status(), studio.settings
    worker = status["worker"]
    lines = {
        "worker": " ".join(str(worker[key]) for key in ("state", "reason") if worker.get(key)),
        "device": worker.get("device_name") or worker.get("device", ""),
        "precision": worker.get("precision", ""),
        "attention": worker.get("kernel", ""),
        "versions": ", ".join(f"{name} {version}" for name, version in (worker.get("versions") or {}).items()),
        "python": sys.version.split()[0] + " on " + sys.platform,
        "data folder": str(settings.paths.root),
        "own models": str(settings.paths.models / "checkpoints"),
        "read in place": ", ".join(map(str, settings.models_from)),
        "checkpoints": ", ".join(status["checkpoints"]) or "none",
        "extensions": ", ".join(studio.registry.extensions) or "none",
        "warnings": " ".join(status["warnings"]) or "none",
    }
    return "\n".join(f"{name}: {value}" for name, value in lines.items() if value)


def last_lines(file: Path) -> str:
    """The end of a log file; "" when there is none yet."""
    try:
        with file.open(encoding="utf-8", errors="replace") as lines:
            return "".join(deque(lines, LOG_LINES))
    except OSError:
        return ""


def open_in_file_manager(folder: Path) -> None:
    """Raises: StorageError, where there is no file manager to open it with."""
    try:
        if sys.platform == "win32":
            os.startfile(folder)
        else:
            program = "open" if sys.platform == "darwin" else "xdg-open"
            subprocess.Popen([program, str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except OSError as error:
        raise StorageError("There is no file manager to open it with.", hint=f"The folder is {folder}.") from error

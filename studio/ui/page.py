"""The page as a whole: top bar and sections."""

from pathlib import Path
from typing import Any

import gradio as gr

from studio.errors import StudioError
from studio.hookspecs import TabSpec
from studio.registry import blamed
from studio.services import Studio
from studio.ui.components.checkpoint_chooser import CheckpointChooser
from studio.ui.components.own import OwnComponent
from studio.ui.create_drafts import DraftEvents
from studio.ui.create_events import CreateEvents
from studio.ui.create_tab import build_create_tab, present_card
from studio.ui.create_wiring import wire_create
from studio.ui.gallery_tab import build_gallery_tab
from studio.ui.inspecting import wire_inspector
from studio.ui.models_tab import build_models_tab
from studio.ui.settings_tab import build_settings_tab
from studio.ui.theme import studio_theme
from studio.ui.train_tab import SCRIPTS as TRAIN_SCRIPTS
from studio.ui.train_tab import STYLES as TRAIN_STYLES
from studio.ui.train_tab import build_train_tab

HERE = Path(__file__).parent
STYLES = (
    "page.css",
    "bar.css",
    "said.css",
    "create.css",
    "stack.css",
    "pose.css",
    "paint.css",
    "regions.css",
    "edit.css",
    "reference.css",
    "form.css",
    "inspect.css",
    "adapters.css",
    "shelf.css",
    "grid.css",
    "result.css",
    "gallery.css",
    "chooser.css",
    "models.css",
    "tools.css",
    "details.css",
    *TRAIN_STYLES,
)
SCRIPTS = (
    "page.js",
    "redraw.js",
    "keys.js",
    "pads.js",
    "pose.js",
    "edit.js",
    "paint.js",
    "paint_things.js",
    "paint_hands.js",
    "paint_regions.js",
    "models.js",
    "models_correction.js",
    "model_picker.js",
    "shelf.js",
    *TRAIN_SCRIPTS,
)


def build(studio: Studio) -> gr.Blocks:
    """Lay out the page for that studio; each visitor's own things are loaded when they open it."""
    with gr.Blocks(title="Maquette", analytics_enabled=False, fill_width=True) as page:
        with gr.Row(elem_id="top-bar"):
            gr.HTML((HERE / "brand.html").read_text("utf-8"), elem_id="brand")
            checkpoint = checkpoint_chooser(studio)
            OwnComponent("memory_meter", elem_id="memory")
            OwnComponent("status_bar", elem_id="status")
        browser = gr.Textbox(visible="hidden", elem_id="browser")
        left = gr.Textbox(visible="hidden", elem_id="left")
        with gr.Tabs(selected="create", elem_id="sections") as sections:
            with gr.Tab("Create", id="create"):
                tab = build_create_tab(studio, checkpoint)
            with gr.Tab("Train", id="train"):
                build_train_tab()
            with gr.Tab("Models", id="models"):
                build_models_tab(studio)
            with gr.Tab("Gallery", id="gallery"):
                gallery = build_gallery_tab()
            for row in studio.registry.tabs.values():
                with gr.Tab(row.label, id=f"extension-{row.name}"):
                    build_extension_tab(row, studio)
            with gr.Tab("Settings", id="settings") as settings:
                build_settings_tab(studio, settings)
        create = CreateEvents(studio=studio, tab=tab, sections=sections)
        wire_inspector(studio, tab)
        wire_create(page, DraftEvents(create=create, browser=browser, left=left), [tab.result, gallery])
    page.queue(default_concurrency_limit=None, api_open=False)
    return page


def build_extension_tab(row: TabSpec, studio: Studio) -> None:
    """A section of an extension; when its code fails, the section says so and the page stands."""
    try:
        with blamed(row.name, "building its section"):
            row.build(studio)
    except StudioError as error:
        gr.Textbox(error.sentence(), label=row.label, interactive=False)


def checkpoint_chooser(studio: Studio) -> CheckpointChooser:
    """Which checkpoint makes the pictures; what is known of it is looked up whenever it is shown."""

    def describe(name: str) -> dict[str, Any]:
        entry = next((entry for entry in studio.checkpoints() if entry.name == name), None)
        return {} if entry is None else {"kind": entry.kind, "base": entry.base, "precision": entry.precision}

    return CheckpointChooser(describe, value=present_card(studio).name, elem_id="checkpoint")


def mount_options() -> dict[str, Any]:
    """What gr.mount_gradio_app needs beside the blocks."""
    script = "\n".join((HERE / name).read_text("utf-8") for name in SCRIPTS)
    return {
        "theme": studio_theme(),
        "css": "\n".join((HERE / name).read_text("utf-8") for name in STYLES),
        "head": f'<meta name="color-scheme" content="light dark"><script>{script}</script>',
        "footer_links": [],
        "run_history": False,
        "ssr_mode": False,
        "mcp_server": False,
        "enable_monitoring": False,
        "pwa": False,
    }

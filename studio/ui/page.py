"""The page as a whole: top bar and sections."""

from pathlib import Path
from typing import Any

import gradio as gr

from studio.services import Studio
from studio.ui.components.own import OwnComponent
from studio.ui.create_events import CreateEvents, wire_create
from studio.ui.create_tab import build_create_tab, present_card
from studio.ui.gallery_tab import build_gallery_tab
from studio.ui.settings_tab import build_settings_tab
from studio.ui.theme import studio_theme

HERE = Path(__file__).parent
# A head of clay on a stand: what a maquette is.
MARK = """
<span class="mq-brand"><svg viewBox="0 0 32 32" width="30" height="30" aria-hidden="true">
<path d="M16 3.500c5.200 0 8.600 3.600 8.600 8.500 0 3-1 4.600-2.300 6.300-.9 1.200-1.300 2.200-1.300 3.700h-9.200c0-1-.2-1.700-.9-2.100-1.800-.2-3.200-.6-3.300-2.300
l.1-1.500c0-.6-1.500-.7-1.400-1.500.1-.7 1.300-1.800 1.600-2.900.2-.7.1-1.400.3-2.200C8.900 5.800 12 3.500 16 3.500z" fill="var(--accent)"/>
<path d="M13 9.500c2.600-1.600 6.200-.9 7.800 1.900" fill="none" stroke="#fff" stroke-opacity=".55" stroke-width="1.500" stroke-linecap="round"/>
<path d="M14.500 22h3v3h-3z" fill="var(--accent)" fill-opacity=".65"/><rect x="8" y="25" width="16" height="4" rx="1.500" fill="currentColor" fill-opacity=".75"/>
</svg><span>Maquette</span></span>"""


def build(studio: Studio) -> gr.Blocks:
    """Lay out the page for that studio; each visitor's own things are loaded when they open it."""
    with gr.Blocks(title="Maquette", analytics_enabled=False, fill_width=True) as page:
        with gr.Row(elem_id="top-bar"):
            gr.HTML(MARK, elem_id="brand")
            checkpoint = checkpoint_chooser(studio)
            OwnComponent("status_bar", elem_id="status")
        browser = gr.Textbox(visible="hidden", elem_id="browser")
        with gr.Tabs(selected="create", elem_id="sections") as sections:
            with gr.Tab("Create", id="create"):
                tab = build_create_tab(studio, checkpoint)
            with gr.Tab("Gallery", id="gallery"):
                gallery = build_gallery_tab()
            for row in studio.registry.tabs.values():
                with gr.Tab(row.label, id=f"extension-{row.name}"):
                    row.build(studio)
            with gr.Tab("Settings", id="settings"):
                build_settings_tab(studio, page)
        events = CreateEvents(studio=studio, tab=tab, browser=browser, sections=sections)
        wire_create(page, events, [tab.result, gallery])
    page.queue(default_concurrency_limit=None, api_open=False)
    return page


def checkpoint_chooser(studio: Studio) -> gr.Dropdown:
    """Which checkpoint makes the pictures; the list is read again whenever the page is opened."""
    usable = [entry for entry in studio.checkpoints() if entry.usable]
    return gr.Dropdown(
        [(f"{entry.name} · {entry.base}", entry.name) for entry in usable],
        value=present_card(studio).name or None,
        label="Checkpoint",
        show_label=False,
        container=False,
        elem_id="checkpoint",
        scale=0,
        min_width=240,
    )


def mount_options() -> dict[str, Any]:
    """What gr.mount_gradio_app needs beside the blocks."""
    script = (HERE / "page.js").read_text("utf-8")
    return {
        "theme": studio_theme(),
        "css": "\n".join((HERE / name).read_text("utf-8") for name in ("page.css", "create.css", "gallery.css")),
        "head": f'<meta name="color-scheme" content="light dark"><script>{script}</script>',
        "footer_links": [],
        "run_history": False,
        "ssr_mode": False,
        "mcp_server": False,
        "enable_monitoring": False,
        "pwa": False,
    }

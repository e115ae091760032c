"""Our own components: a gr.HTML whose script builds the DOM.

The template is static and every value stays in `value`: gradio evaluates templates as code, and drops other properties
when it sends an update. Scripts set text through textContent alone.
"""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

HERE = Path(__file__).parent


class OwnComponent(gr.HTML):
    """Loads `<script>.js` from this folder; it gets element, trigger, props and watch from gradio.

    Args:
        script: Name of the script, without its suffix.
        value: Plain JSON that the script reads as `props.value`.
        elem_id: The id in the page.
        data: What the script finds in the dataset of its first element; texts without braces, which are gradio's.
        render: False when gradio makes a copy, which it does for each update that leaves the component as it is.
    """

    def __init__(
        self,
        script: str,
        *,
        value: Any = None,
        elem_id: str,
        render: bool = True,
        data: Mapping[str, str] | None = None,
    ) -> None:
        attributes = "".join(f' data-{name}="{escape(text)}"' for name, text in (data or {}).items())
        super().__init__(
            value,
            elem_id=elem_id,
            render=render,
            html_template=f'<div class="mq-{script.replace("_", "-")}"{attributes}></div>',
            js_on_load=(HERE / f"{script}.js").read_text("utf-8"),
            apply_default_css=False,
        )

    def preprocess(self, payload: Any) -> Any:
        """The browser's JSON as it is; handlers check it."""
        return payload

    def postprocess(self, value: Any) -> Any:
        """Plain JSON as it is."""
        return value

    def api_info(self) -> dict[str, Any]:
        """Any JSON."""
        return {"type": {}}

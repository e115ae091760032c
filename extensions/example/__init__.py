"""An example extension: one scheduler and one section of the page, through the public hooks.

Copy this folder to data/extensions under another name and change it; `python launch.py` shows it at the next start.
"""

import random
from typing import TYPE_CHECKING

from studio.hookspecs import SchedulerSpec, TabSpec, hookimpl

if TYPE_CHECKING:
    from studio.services import Studio


@hookimpl
def register_schedulers() -> list[SchedulerSpec]:
    """DEIS: a fast multistep solver that our built-in list leaves out (Zhang and Chen, arXiv:2204.13902)."""
    return [SchedulerSpec(name="deis", label="DEIS", class_name="DEISMultistepScheduler", sigmas=("default", "karras"))]


@hookimpl
def register_tabs() -> list[TabSpec]:
    """A section that throws prompts together from the words that the checkpoint knows."""
    return [TabSpec(name="ideas", label="Ideas", build=build_ideas)]


def build_ideas(studio: "Studio") -> None:
    """Lay the section out inside the page's Blocks."""
    import gradio as gr  # only the web process has a page; the worker loads this extension for its scheduler

    gr.Markdown("### Ideas\nPrompts put together from the checkpoint's own examples and words. Copy one you like.")
    ideas = gr.Textbox(suggest(studio), label="Prompts", lines=6, buttons=["copy"], interactive=False, elem_id="ideas")
    again = gr.Button("Throw again", elem_id="ideas-again")
    again.click(lambda: suggest(studio), outputs=ideas, api_visibility="private", show_progress="hidden")


def suggest(studio: "Studio", count: int = 6) -> str:
    """`count` prompts, a line each: example prompts of the checkpoint, shuffled by their halves."""
    examples = list(studio.card().example_prompts) or ["a red house under a night sky"]
    halves = [text.partition(" in ") if " in " in text else text.partition(" under ") for text in examples]
    things, joints, places = zip(*halves, strict=True)
    lines = []
    for _ in range(count):
        at = random.randrange(len(places))
        lines.append("".join((random.choice(things), joints[at], places[at])))
    return "\n".join(lines)

"""The section where pictures are made: the canvas and the form on the left, the result on the right."""

import json
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from studio.errors import StudioError
from studio.library.card import Card
from studio.library.fit import fits
from studio.library.words import base_word
from studio.services import Studio
from studio.ui.components.checkpoint_chooser import CheckpointChooser
from studio.ui.components.open_slider import OpenSlider
from studio.ui.components.own import OwnComponent
from studio.ui.editors import EDITORS
from studio.ui.form import CUSTOM, SHAPES, defaults

WORDS_FROM = [
    ("As typed", "typed"),
    ("None at all", "none"),
    ("A default sentence", "default"),
    ("From the picture", "automatic"),
]
WEIGHTS = [
    ("As A1111", "a1111"),
    ("As A1111, no norm", "no_norm"),
    ("As ComfyUI", "comfy"),
    ("As Compel", "compel"),
    ("Not at all", "none"),
]


@dataclass(frozen=True, kw_only=True)
class CreateTab:
    """Its widgets. `fields` are those that a draft keeps and a request is made of, by name; `pads` the editors of the
    canvas, by the kind of control that each draws; canvas_notice speaks of the one in front; grid shows what the
    grid_makers ask for.
    """

    fields: dict[str, Component]
    shape: gr.Dropdown
    preset: gr.Dropdown
    pads: dict[str, OwnComponent]
    canvas_notice: OwnComponent
    generate: gr.Button
    notice: OwnComponent
    words: OwnComponent
    inspector: OwnComponent
    result: OwnComponent
    grid: OwnComponent
    grid_makers: tuple[OwnComponent, ...]


def present_card(studio: Studio, checkpoint: str | None = None) -> Card:
    """The checkpoint's card; plain defaults while there is no checkpoint at all."""
    try:
        return studio.card(checkpoint)
    except StudioError:
        return Card(name=checkpoint or "")


def build_create_tab(studio: Studio, checkpoint: CheckpointChooser) -> CreateTab:
    """Lay the section out; events are wired in create_events."""
    start = defaults(present_card(studio))
    with gr.Row(elem_id="create", equal_height=False):
        with gr.Column(scale=55, min_width=320, elem_id="canvas-pane"):
            pads, canvas_notice, control = canvas(start)
            with gr.Column(elem_id="prompt-card"):
                with gr.Row(elem_id="prompt-row"):
                    prompt = prompt_box()
                    with gr.Column(elem_id="generate-box", min_width=0, scale=0):
                        generate = gr.Button("Generate", variant="primary", elem_id="generate", size="lg")
                notice = OwnComponent("notice_line", elem_id="notice")
                OwnComponent("reading_line", elem_id="reading")
                words = OwnComponent("words", elem_id="words")
                inspector = OwnComponent("prompt_inspector", elem_id="inspect")
                stack = OwnComponent("adapter_stack", value=start["adapters"], elem_id="adapters")
                main, shape, preset = main_row(studio, start)
                negative = negative_prompt()
                more = more_options(studio, start)
                with gr.Accordion("Compare", open=False, elem_id="compare"):
                    maker = OwnComponent("grid_maker", elem_id="grid-maker")
        with gr.Column(scale=45, min_width=320, elem_id="result-pane"):
            result = OwnComponent("result_view", elem_id="result")
            grid = OwnComponent("grid_view", value={}, elem_id="grid")
    fields = {"prompt": prompt, "negative_prompt": negative, "checkpoint": checkpoint, **control, **main, **more}
    fields["adapters"] = stack
    return CreateTab(
        fields=fields,
        shape=shape,
        preset=preset,
        pads=pads,
        canvas_notice=canvas_notice,
        generate=generate,
        notice=notice,
        words=words,
        inspector=inspector,
        result=result,
        grid=grid,
        grid_makers=(stack, maker),
    )


def canvas(start: dict[str, Any]) -> tuple[dict[str, OwnComponent], OwnComponent, dict[str, Component]]:
    """The tabs with their editors, the line that speaks of the one in front, and the stack of what counts."""
    tabs = [[e.kind, e.label, e.elem_id, e.follow, "picture" if e.picture else "unit"] for e in EDITORS.values()]
    data = {"tabs": json.dumps(tabs)}
    kind = OwnComponent("control_tabs", value=start["kind"], elem_id="control-tabs", data=data)
    pads = {editor.kind: editor.component(editor.elem_id) for editor in EDITORS.values()}
    notice = OwnComponent("notice_line", elem_id="canvas-notice")
    stack = OwnComponent("control_stack", value=start["stack"], elem_id="control-stack", data=data)
    return pads, notice, {"kind": kind, "stack": stack}


def prompt_box() -> gr.Textbox:
    """What the picture should show: the largest box of the form; it grows with the text."""
    return gr.Textbox(
        label="Prompt",
        show_label=False,
        placeholder="What should it show?",
        lines=2,
        max_lines=8,
        elem_id="prompt",
        container=False,
    )


def negative_prompt() -> gr.Textbox:
    """What the picture should not show, folded."""
    with gr.Accordion("Leave out", open=False, elem_id="negative-fold"):
        return gr.Textbox(
            label="Negative prompt",
            show_label=False,
            placeholder="What it should not show (negative prompt)",
            lines=2,
            max_lines=6,
            elem_id="negative-prompt",
        )


def main_row(studio: Studio, start: dict[str, Any]) -> tuple[dict[str, Component], gr.Dropdown, gr.Dropdown]:
    """Shape, count, seed and preset: what people change most."""
    presets = [(preset.label, preset.name) for preset in studio.presets()]
    with gr.Row(elem_id="main-row"):
        shape = gr.Dropdown([*SHAPES, CUSTOM], value="Square", label="Shape", elem_id="shape", min_width=120)
        count = gr.Number(start["count"], label="Pictures", precision=0, elem_id="count", min_width=72)
        seed = OwnComponent("seed_box", value=start["seed"], elem_id="seed")
        preset = gr.Dropdown([("None", ""), *presets], value="", label="Preset", elem_id="preset", min_width=140)
    return {"count": count, "seed": seed}, shape, preset


def vae_choices(studio: Studio, checkpoint: str | None) -> list[tuple[str, str]]:
    """The autoencoders as (label, name), those that fit first; the others say what they are for, and are refused."""
    chosen = next((entry for entry in studio.checkpoints() if entry.name == checkpoint), None)
    usable = [entry for entry in studio.library.entries("vae") if entry.usable]
    fitting = [entry for entry in usable if chosen is None or fits(entry, chosen)]
    own = [("The checkpoint's own", ""), *((entry.name, entry.name) for entry in fitting)]
    return own + [(f"{e.name} (made for {base_word(e.base)})", e.name) for e in usable if e not in fitting]


def more_options(studio: Studio, start: dict[str, Any]) -> dict[str, Component]:
    """Every other knob, folded."""
    schedulers = [(row.label, row.name) for row in studio.registry.schedulers.values()]
    sigmas = list(dict.fromkeys(name for row in studio.registry.schedulers.values() for name in row.sigmas))
    number: dict[str, Any] = {"precision": 0, "min_width": 100}
    with gr.Accordion("More", open=False, elem_id="more"):
        with gr.Row():
            steps = OpenSlider(1, 150, start["num_inference_steps"], step=1, label="Steps", elem_id="steps")
            guidance = OpenSlider(
                0, 30, start["guidance_scale"], step=0.5, label="Guidance: how strictly to obey", elem_id="guidance"
            )
        with gr.Row():
            scheduler = gr.Dropdown(schedulers, value=start["scheduler"], label="Scheduler", elem_id="scheduler")
            spacing = gr.Dropdown(sigmas, value="default", label="Sigmas", elem_id="sigmas")
            vae = gr.Dropdown(
                vae_choices(studio, start["checkpoint"]), value="", label="Autoencoder (VAE)", elem_id="vae"
            )
        with gr.Row():
            mode = gr.Dropdown(WORDS_FROM, value="typed", label="Prompt", elem_id="prompt-mode", min_width=120)
            width = gr.Number(start["width"], label="Width", step=8, elem_id="width", **number)
            height = gr.Number(start["height"], label="Height", step=8, elem_id="height", **number)
            skip = gr.Number(start["clip_skip"], label="Clip skip", elem_id="clip-skip", **number)
            weighting = gr.Dropdown(
                WEIGHTS, value="a1111", label="(word:1.2) counts", elem_id="prompt-weighting", min_width=140
            )
    return {
        "num_inference_steps": steps,
        "guidance_scale": guidance,
        "scheduler": scheduler,
        "sigmas": spacing,
        "vae": vae,
        "prompt_mode": mode,
        "width": width,
        "height": height,
        "clip_skip": skip,
        "prompt_weighting": weighting,
    }

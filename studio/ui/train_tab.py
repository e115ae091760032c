"""The section that teaches a checkpoint something of one's own: pictures, a name, one button, and what comes of it."""

import gradio as gr

from studio.ui.components.own import OwnComponent
from studio.ui.train.fields import GROUPS, described

STYLES = ("train/train.css", "train/mask.css", "train/plan.css", "train/run.css")
SCRIPTS = ("train/train.js", "train/files.js", "train/mask.js", "train/chart.js", "train/film.js")


def build_train_tab() -> None:
    """Its pictures, plans and runs come from our routes; what is typed is kept as a draft of this browser."""
    with gr.Column(elem_id="train-section"):
        OwnComponent("train_runs", elem_id="train-runs")
        with gr.Row(elem_id="train-new", equal_height=False):
            with gr.Column(scale=56, min_width=320, elem_id="train-pictures-pane"):
                OwnComponent("train_pictures", elem_id="train-pictures")
            with gr.Column(scale=44, min_width=320, elem_id="train-plan-pane"):
                OwnComponent("train_subject", elem_id="train-subject")
                OwnComponent("train_plan", value={"groups": described()}, elem_id="train-plan")
        with gr.Column(elem_id="train-folds"):
            OwnComponent("train_methods", elem_id="train-compare")
            OwnComponent("train_settings", value={"groups": described()}, elem_id="train-settings")
        settings = [row.name for rows in GROUPS.values() for row in rows]
        OwnComponent("train_run", value={"settings": settings}, elem_id="train-run")

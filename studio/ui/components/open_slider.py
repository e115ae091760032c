"""A slider whose number may be typed beyond its ends."""

import gradio as gr


class OpenSlider(gr.Slider):
    """The request says what does not fit, in a sentence beside the button; gradio's own check would answer each key
    with an error 500.
    """

    def preprocess(self, payload: float) -> float:
        """The number as typed; None when there is none."""
        return payload

    def get_block_name(self) -> str:
        """The script of gradio that shows it."""
        return "slider"

"""The table of defaults: one row for each method and family of base models, with where its figures come from.

Steps are those for FEW pictures or less; `advise` gives more pictures more steps. Rows of the starter say how
far they were measured on it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FEW = 5
MEASURED = "Measured on the starter: python launch.py bench --suite training."
DIFFUSERS = "https://github.com/huggingface/diffusers/tree/main/examples/"
KOHYA = "https://github.com/kohya-ss/sd-scripts, docs/train_network.md"
INVERSION_PAPER = "Gal et al., arXiv:2208.01618; diffusers textual_inversion README."
HYPERNETWORK_THREADS = "AUTOMATIC1111/stable-diffusion-webui, issues 2269 and 2740."
CONTROLNET_PAPER = "Zhang et al., arXiv:2302.05543."
T2I_PAPER = "Mou et al., arXiv:2302.08453."
IP_PAPER = "Ye et al., arXiv:2308.06721; IP-Adapter issue 114."


@dataclass(frozen=True)
class Row:
    """Defaults of one method on one family."""

    source: str
    values: Mapping[str, Any]


# For every method on the starter. The offset noise is what it was made with: see starter/unet.py.
ON_STARTER: dict[str, Any] = {"batch": 4, "offset_noise": 0.15, "snr_gamma": 5.0, "ema": 0.98}
SMALL_LORA: dict[str, Any] = {"learning_rate": 2e-3, "rank": 8, "alpha": 8.0, "conv_rank": 8}
# Rates and LAYOUT are those of the starter's own recipe. One run each on 64 pictures, 8 at once: at a rate of 2e-4 a
# ControlNet followed nothing for 1,500 steps, at 1.2e-3 for 450; on 64 others for more than 500, with LAYOUT
# for 200.
CONTROL_ON_STARTER: dict[str, Any] = {"batch": 8, "warmup": 50, "ema": 0.98}
LAYOUT: dict[str, Any] = {"snr_gamma": 5.0, "x0_weight": 0.5, "offset_noise": 0.15}
# Choices are drawn for each picture: one prompt alone would keep the class only where nothing else is said.
STARTER_CLASS = (
    "a {|big|small} {|red|blue|green|yellow|purple|black|white} {class} {|on the left|on the right}"
    " {in the snow|by the sea|at night|at sunset|in the desert|on the grass|on a plain blue background"
    "|on a plain yellow background}"
)
TABLE: dict[tuple[str, str], Row] = {
    ("lora", "starter"): Row(MEASURED, {**ON_STARTER, **SMALL_LORA, "steps": 200}),
    ("lora", "sd1"): Row(
        f"{DIFFUSERS}dreambooth; {KOHYA}", {"steps": 500, "learning_rate": 1e-4, "rank": 16, "alpha": 16.0}
    ),
    ("lora", "sdxl"): Row(
        f"{DIFFUSERS}dreambooth, README_sdxl; {KOHYA}",
        {"steps": 500, "accumulation": 4, "learning_rate": 1e-4, "rank": 16, "alpha": 16.0, "snr_gamma": 5.0},
    ),
    ("dreambooth", "starter"): Row(
        MEASURED,
        {
            **ON_STARTER,
            "steps": 150,
            "learning_rate": 3e-4,
            "text_learning_rate": 5e-3,
            "prior_preservation": True,
            "class_pictures": 48,
            "class_prompt": STARTER_CLASS,
        },
    ),
    ("dreambooth", "sd1"): Row(
        f"{DIFFUSERS}dreambooth; Ruiz et al., arXiv:2208.12242",
        {"steps": 800, "learning_rate": 5e-6, "prior_preservation": True, "class_pictures": 200},
    ),
    ("dreambooth", "sdxl"): Row(
        "kohya-ss/sd-scripts, docs/sdxl_train_network.md",
        {"steps": 800, "learning_rate": 1e-6, "prior_preservation": True, "class_pictures": 200},
    ),
    ("inversion", "starter"): Row(
        MEASURED,
        {**ON_STARTER, "ema": 0.0, "steps": 120, "learning_rate": 5e-3, "vectors": 4, "weight_decay": 0.0},
    ),
    ("inversion", "sd1"): Row(
        INVERSION_PAPER, {"steps": 3000, "accumulation": 4, "learning_rate": 5e-4, "vectors": 2, "weight_decay": 0.0}
    ),
    ("inversion", "sdxl"): Row(
        INVERSION_PAPER, {"steps": 2000, "accumulation": 4, "learning_rate": 5e-4, "vectors": 2, "weight_decay": 0.0}
    ),
    ("pivotal", "starter"): Row(
        MEASURED,
        {
            **ON_STARTER,
            **SMALL_LORA,
            "steps": 300,
            "text_learning_rate": 5e-3,
            "vectors": 4,
            "inversion_share": 0.3,
        },
    ),
    ("pivotal", "sd1"): Row(
        f"{DIFFUSERS}advanced_diffusion_training; cloneofsimo/lora",
        {"steps": 1000, "learning_rate": 1e-4, "text_learning_rate": 5e-4, "rank": 8, "alpha": 8.0, "vectors": 2},
    ),
    ("pivotal", "sdxl"): Row(
        f"{DIFFUSERS}advanced_diffusion_training",
        {
            "steps": 1000,
            "batch": 1,
            "learning_rate": 1.0,
            "text_learning_rate": 1.0,
            "optimizer": "prodigy",
            "rank": 8,
            "alpha": 8.0,
            "vectors": 2,
            "snr_gamma": 5.0,
        },
    ),
    ("hypernetwork", "starter"): Row(MEASURED, {**ON_STARTER, "steps": 160, "learning_rate": 1e-3}),
    ("hypernetwork", "sd1"): Row(HYPERNETWORK_THREADS, {"steps": 4000, "learning_rate": 1e-5, "schedule": "linear"}),
    ("hypernetwork", "sdxl"): Row(HYPERNETWORK_THREADS, {"steps": 4000, "learning_rate": 5e-6, "schedule": "linear"}),
    ("controlnet", "starter"): Row(MEASURED, {**CONTROL_ON_STARTER, **LAYOUT, "steps": 1000, "learning_rate": 1.2e-3}),
    ("controlnet", "sd1"): Row(CONTROLNET_PAPER, {"steps": 8000, "batch": 4, "accumulation": 16}),
    ("controlnet", "sdxl"): Row(CONTROLNET_PAPER, {"steps": 8000, "batch": 1, "accumulation": 64}),
    ("t2i_adapter", "starter"): Row(MEASURED, {**CONTROL_ON_STARTER, **LAYOUT, "steps": 600, "learning_rate": 1.5e-3}),
    ("t2i_adapter", "sd1"): Row(T2I_PAPER, {"steps": 20000, "batch": 8, "timesteps": "cubic"}),
    ("t2i_adapter", "sdxl"): Row(f"{DIFFUSERS}t2i_adapter", {"steps": 20000, "batch": 8, "accumulation": 16}),
    ("ip_adapter", "starter"): Row(MEASURED, {**CONTROL_ON_STARTER, "steps": 1000, "learning_rate": 1e-3}),
    ("ip_adapter", "sd1"): Row(IP_PAPER, {"steps": 20000, "batch": 8, "learning_rate": 1e-4}),
    ("ip_adapter", "sdxl"): Row(IP_PAPER, {"steps": 20000, "batch": 4, "accumulation": 2, "learning_rate": 1e-4}),
}
# What a method asks for on every model, under its row.
METHOD_VALUES: dict[str, dict[str, Any]] = {
    "dreambooth": {"prior_loss_weight": 1.0},
    "inversion": {"keep_norm": True},
    "controlnet": {"learning_rate": 1e-5, "caption_dropout": 0.5, "control_kind": "scribble", "annotator": "scribble"},
    "t2i_adapter": {
        "learning_rate": 1e-5,
        "timesteps": "cubic",
        "control_kind": "scribble",
        "annotator": "scribble",
    },
    "ip_adapter": {"caption_dropout": 0.05},
}
FAMILY_LIKE = {"sd2": "sd1"}
HELD_OUT, HELD_OUT_FROM = 0.2, 5
CLASS_PICTURES = {"starter": 24}

# Why a field has its value. {value} is put in; what is not here needs no word.
WHY: dict[str, str] = {
    "learning_rate": "{value} is what others reach a likeness with, without losing the model.",
    "text_learning_rate": "{value}: words are learned at a rate of their own.",
    "optimizer": "{value}: steady for most; Prodigy finds its rate itself.",
    "rank": "{value} dimensions hold one subject; more are slower and remember the pictures sooner.",
    "alpha": "Equal to the rank, so that the rate means what it says.",
    "conv_rank": "Convolutions learn too: a shape that the model was never shown lives there.",
    "ema": "Results are averages over the last steps, which evens out what single steps overdo.",
    "offset_noise": "As the checkpoint was trained: without it the mean colour is read from the noise.",
    "batch": "{value} at once: an even step without much memory.",
    "accumulation": "{value} batches make one step, which is as even as a large batch and needs little memory.",
    "prior_preservation": "Pictures of the class, made by the model itself, keep it from forgetting the class.",
    "class_pictures": "{value} pictures of the class; they are made once and used again.",
    "prior_loss_weight": "How much the class counts beside the subject; 1 in the paper.",
    "class_prompt": "The class in the model's own words.",
    "vectors": "{value} vectors hold more than one, and leave room in the prompt.",
    "keep_norm": "The word keeps the length of other words, so that a prompt stays in balance.",
    "caption_dropout": "This share of captions is left out, so that the condition itself is learned.",
    "timesteps": "{value}: early steps, where layout is decided, come more often.",
    "snr_gamma": "Easy timesteps count less: min-SNR, Hang et al., arXiv:2303.09556.",
    "x0_weight": "The layout is decided where nearly all is noise; this lets errors there count.",
    "resolution": "The size that the checkpoint was trained on.",
    "held_out": "These pictures are kept for measuring, which is how memorising shows.",
    "trigger": "{value} calls it.",
    "prompt_template": "The caption of pictures without one.",
    "train_text_encoder": "Off: it costs memory, and the words of the model stay as they are.",
    "warmup": "{value} steps until the full rate, which would be too high for the first ones.",
    "schedule": "{value}: a lower rate at the end settles what was learned.",
    "control_kind": "{value}: change it to the map that you want to draw.",
}


def row(method: str, family: str) -> Row:
    """The row of that method and family, with what the method asks for everywhere."""
    found = TABLE[method, FAMILY_LIKE.get(family, family)]
    return Row(found.source, {**METHOD_VALUES.get(method, {}), **found.values})

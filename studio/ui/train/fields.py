"""Every setting of a training as the page shows it: its group, its plain words, and the methods it counts for."""

from dataclasses import MISSING, dataclass, fields
from typing import Any, get_type_hints

from studio.training_params import CHOICES, CONTROL_METHODS, RANGES, TrainingParams

ASKED = ("name", "method", "subject", "dataset", "checkpoint", "trigger", "class_word")
"""What the form asks in its own places."""
FOUND = ("dataset_id", "checkpoint_id", "base", "version")
"""What nobody types: it follows from what is chosen."""
LOW_RANK = ("lora", "pivotal")
WORDS = ("inversion", "pivotal")
WEIGHTS = ("lora", "dreambooth", "pivotal")
REMEMBERS = "Pictures of its kind are learned beside yours, so that other things of its kind stay as they are."


@dataclass(frozen=True)
class Setting:
    """One line of "All settings".

    Fields:
        name: Of the field in TrainingParams. label, hint: plain words; the field's own term is in its tooltip.
        methods: For which it counts; empty is for all.
        gpus: It is offered where there are as many.
    """

    name: str
    label: str
    hint: str = ""
    methods: tuple[str, ...] = ()
    gpus: int = 0


GROUPS: dict[str, tuple[Setting, ...]] = {
    "What it learns": (
        Setting("prompt_template", "Caption of a picture without one", "{trigger} and {class} are put in."),
        Setting("caption_dropout", "Captions left out", "Share of the pictures that are shown without words, 0 to 1."),
        Setting("train_text_encoder", "Words learn too", "The text encoder is trained beside the UNet.", WEIGHTS),
        Setting("control_kind", "Kind of control", "Such as scribble, pose or depth.", CONTROL_METHODS),
        Setting("annotator", "Maps are drawn by", "The annotator that turns pictures into maps.", CONTROL_METHODS),
        Setting("start_from", "Goes on from", "Name of a control model; empty begins anew.", CONTROL_METHODS),
    ),
    "How long and how fast": (
        Setting("steps", "Steps"),
        Setting("batch", "Pictures at once", "More is smoother and takes more memory."),
        Setting("accumulation", "Batches to a step", "As many pictures as that many batches, in the memory of one."),
        Setting("processes", "GPUs at once", "Each takes as many pictures again; a step is of all of them.", gpus=2),
        Setting("learning_rate", "Learning rate", "How far each step goes."),
        Setting("text_learning_rate", "Learning rate of words", "Of the text encoder, or of the trigger alone."),
        Setting("optimizer", "Optimizer", "Prodigy finds its own rate: leave the rate at 1."),
        Setting("schedule", "Rate over the steps"),
        Setting("warmup", "Warm-up", "Steps until the full rate."),
        Setting("weight_decay", "Weight decay", "0 turns it off."),
        Setting("clip_norm", "Longest gradient", "Longer ones are shortened to this; 0 turns it off."),
        Setting("ema", "Averaged weights", "How slowly the average follows, such as 0.999; 0 is none."),
        Setting("precision", "Numbers of frozen parts", "What learns is kept in fp32."),
        Setting("gradient_checkpointing", "Save memory", "Compute parts twice instead of keeping them."),
    ),
    "Shape of what learns": (
        Setting("rank", "Rank", "How much a LoRA can hold.", LOW_RANK),
        Setting("alpha", "Alpha", "How strongly its rank counts: alpha / rank.", LOW_RANK),
        Setting("conv_rank", "Rank of convolutions", "0 leaves them out.", LOW_RANK),
        Setting("dora", "DoRA", "Direction and length of weights learn apart.", LOW_RANK),
        Setting("rslora", "rsLoRA", "Alpha is divided by the root of the rank.", LOW_RANK),
        Setting("lora_plus", "Rate of up matrices", "Times the learning rate; 1 is plain.", LOW_RANK),
        Setting("vectors", "Vectors of the word", "More hold more, and bend the prompt more.", WORDS),
        Setting("initializer", "The word begins as", "Empty is the kind of thing.", WORDS),
        Setting("keep_norm", "Keep its length", "A word as long as other words mixes better with them.", WORDS),
        Setting("inversion_share", "Share for the word", "Of the steps; the LoRA learns in the rest.", ("pivotal",)),
        Setting("layer_structure", "Widths of layers", "Times the input, from 1 to 1.", ("hypernetwork",)),
        Setting("activation", "Activation", "Linear, relu, swish and others.", ("hypernetwork",)),
        Setting("layer_norm", "Layer norm", "", ("hypernetwork",)),
        Setting("dropout", "Dropout", "Share of values that are left out, 0 to 0.9.", ("hypernetwork",)),
        Setting("middle_only", "Only into the middle", "Learns faster at first, follows less.", ("controlnet",)),
        Setting("unlocked_decoder", "Decoder learns too", "For many clean pictures, low rate.", ("controlnet",)),
    ),
    "Loss": (
        Setting("loss", "Loss", "Huber minds outliers less."),
        Setting("huber_c", "Huber's turn", "Where it goes from square to straight."),
        Setting("snr_gamma", "Min-SNR gamma", "Evens out easy and hard noise levels; 0 is off, 5 is usual."),
        Setting("x0_weight", "Layout counts", "Weight of the guessed picture's own error; 0 is off, 0.5 is much."),
        Setting("offset_noise", "Offset noise", "Helps very dark and very bright pictures; 0 is off."),
        Setting("zero_terminal_snr", "Zero-terminal SNR", "Rescale the noise so that the last step is noise alone."),
        Setting("timesteps", "Noise levels drawn", "Cubic minds layout more than detail."),
        Setting("masked", "Only what masks show", "What was not painted does not count."),
        Setting("prior_preservation", "Remember the kind", REMEMBERS, WEIGHTS),
        Setting("prior_loss_weight", "Weight of that memory", "", WEIGHTS),
        Setting("class_pictures", "Pictures of the kind", "The model makes them itself, once.", WEIGHTS),
        Setting("class_prompt", "Their prompt", "", WEIGHTS),
    ),
    "Data and saving": (
        Setting("resolution", "Resolution", "Pixels of the shorter side's bucket."),
        Setting("crop", "Crop", "Bucket keeps each picture's shape as far as it can."),
        Setting("flip", "Mirror pictures", "Not for faces, and not for things with letters."),
        Setting("held_out", "Kept for measuring", "Share of the pictures that it never learns, 0 to 0.5."),
        Setting("save_every", "Save every", "Steps; 0 is at the end alone."),
        Setting("sample_every", "Sample pictures every", "Steps; 0 is at the end alone."),
        Setting("measure_every", "Measure every", "Steps; 0 is at the end alone."),
        Setting(
            "sample_prompts",
            "Sample prompts",
            "One on a line. Without any, a control model's samples follow pictures that it never learns.",
        ),
        Setting("seed", "Seed", "Of everything that is drawn."),
    ),
}


def described() -> list[dict[str, Any]]:
    """The groups with all that a script needs to draw their fields: kind, default, range and choices."""
    return [{"label": label, "fields": [_described(row) for row in rows]} for label, rows in GROUPS.items()]


def _described(row: Setting) -> dict[str, Any]:
    kind = get_type_hints(TrainingParams)[row.name]
    word = {bool: "check", int: "whole", float: "number", str: "text"}.get(kind, "lines")
    low, high = RANGES.get(row.name, (None, None))
    return {
        "name": row.name,
        "label": row.label,
        "hint": row.hint,
        "methods": list(row.methods),
        "gpus": row.gpus,
        "kind": "choice" if row.name in CHOICES else "numbers" if row.name == "layer_structure" else word,
        "choices": list(CHOICES.get(row.name, ())),
        "low": low,
        "high": high,
        "default": _default(row.name),
    }


def _default(name: str) -> Any:
    value = next(one.default for one in fields(TrainingParams) if one.name == name)
    return None if value is MISSING else list(value) if isinstance(value, tuple) else value

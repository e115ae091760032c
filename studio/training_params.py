"""What a training run is, as plain data: everything that changes the weights it makes, and nothing else.

A person gives pictures, a name and a few words; `studio.advice` chooses the rest with a reason for each. What runs is
frozen `TrainingParams`, in which nothing is left to choose: they are kept beside the run, and in the header of what it
makes. No torch and no gradio here.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from studio.errors import InvalidRequestError
from studio.params import check_choice, check_range
from studio.plain import read_plain

TRAINING_VERSION = 1
METHODS = ("lora", "dreambooth", "inversion", "pivotal", "hypernetwork", "controlnet", "t2i_adapter", "ip_adapter")
CONTROL_METHODS = ("controlnet", "t2i_adapter", "ip_adapter")
SUBJECTS = ("object", "person", "animal", "style")
OPTIMIZERS = ("adamw", "adamw8bit", "prodigy", "adafactor", "lion")
SCHEDULES = ("constant", "linear", "cosine")
LOSSES = ("mse", "huber")
TIMESTEPS = ("uniform", "cubic")
CROPS = ("bucket", "center", "random")
TRAINING_PRECISIONS = ("fp32", "bf16", "fp16")
NAME = re.compile(r"[\w][\w .()+-]{0,79}")
STEPS_MAX, SIDE_MAX = 1_000_000, 2048


@dataclass(frozen=True, kw_only=True)
class TrainingParams:
    """One run, resolved.

    What it learns:
        name: Of the result, and of its file without the ending.
        method: Of METHODS. subject: Of SUBJECTS.
        dataset: The name of a folder in data/datasets; dataset_id: of its pictures, captions and masks (sha256).
        checkpoint, checkpoint_id, base: The model that learns, by name and content, and its base model.
        trigger: The word that calls the result. class_word: what kind of thing it is, such as "cup"; may be "".
        prompt_template: The caption of a picture without one; {trigger} and {class} are put in.
        caption_dropout: Share of captions that are left out, 0 to 1.
    How long and how fast:
        steps: Of the optimizer. batch, accumulation: pictures at once, and how many such batches make a step.
        processes: That share the run, each with a GPU and batches of its own.
        learning_rate, text_learning_rate: Of the model and of the text encoder; in a DreamBooth whose text encoder
            rests, of the trigger's own rows in its table of words, which 0 leaves.
        optimizer, schedule: Of OPTIMIZERS, SCHEDULES. warmup: steps until the full rate.
        weight_decay, clip_norm: 0 turns them off. ema: decay of the averaged weights, 0 is none.
        precision: What the frozen parts compute in, of TRAINING_PRECISIONS; what learns is kept in fp32.
    Shapes of what learns:
        rank, alpha: Of a LoRA's linear layers. conv_rank: of its convolutions, 0 leaves them out.
        dora, rslora: Those variants. lora_plus: factor on the rate of the up matrices, 1 is plain.
        train_text_encoder: Whether the text encoders learn too.
        vectors, initializer, keep_norm: Of a textual inversion: how many, the word they begin as, and whether their
            length is kept. inversion_share: the share of a pivotal run's steps that teaches the word.
        layer_structure, activation, layer_norm, dropout: Of a hypernetwork.
        control_kind, annotator: Of a control model. middle_only, unlocked_decoder: modes of a ControlNet.
        start_from: Name of a control model to go on from; "" begins anew.
    What is lost:
        loss: Of LOSSES; huber_c: where Huber's turns from square to straight. snr_gamma: of min-SNR, 0 is off.
        x0_weight: How much the error of the guessed picture counts beside that, which minds the layout; 0 is off.
        offset_noise: 0 is off. zero_terminal_snr: rescale the schedule. timesteps: of TIMESTEPS.
        masked: Count only what the masks show. prior_preservation, prior_loss_weight, class_pictures, class_prompt:
            Of DreamBooth's second half: pictures of the class that the model made itself.
    Data and saving:
        resolution: Of the shorter side's bucket, pixels. crop, flip: how pictures are cut, and whether mirrored too.
        held_out: Share of the pictures that are kept for measuring, 0 to 0.5.
        gradient_checkpointing: Less memory for more time.
        save_every, sample_every, measure_every: In steps, 0 is never (but for the end).
        sample_prompts: What sample pictures are asked. seed: of everything that is drawn.
    """

    name: str
    method: str = "lora"
    subject: str = "object"
    dataset: str = ""
    dataset_id: str = ""
    checkpoint: str = ""
    checkpoint_id: str = ""
    base: str = ""
    trigger: str = ""
    class_word: str = ""
    prompt_template: str = "a {trigger} {class}"
    caption_dropout: float = 0.0

    steps: int = 400
    batch: int = 1
    accumulation: int = 1
    processes: int = 1
    learning_rate: float = 1e-4
    text_learning_rate: float = 0.0
    optimizer: str = "adamw"
    schedule: str = "constant"
    warmup: int = 0
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    ema: float = 0.0
    precision: str = "fp32"

    rank: int = 16
    alpha: float = 16.0
    conv_rank: int = 0
    dora: bool = False
    rslora: bool = False
    lora_plus: float = 1.0
    train_text_encoder: bool = False
    vectors: int = 1
    initializer: str = ""
    keep_norm: bool = True
    inversion_share: float = 0.5
    layer_structure: tuple[float, ...] = (1.0, 2.0, 1.0)
    activation: str = "linear"
    layer_norm: bool = False
    dropout: float = 0.0
    control_kind: str = ""
    annotator: str = ""
    middle_only: bool = False
    unlocked_decoder: bool = False
    start_from: str = ""

    loss: str = "mse"
    huber_c: float = 0.1
    snr_gamma: float = 0.0
    x0_weight: float = 0.0
    offset_noise: float = 0.0
    zero_terminal_snr: bool = False
    timesteps: str = "uniform"
    masked: bool = False
    prior_preservation: bool = False
    prior_loss_weight: float = 1.0
    class_pictures: int = 0
    class_prompt: str = ""

    resolution: int = 512
    crop: str = "bucket"
    flip: bool = False
    held_out: float = 0.0
    gradient_checkpointing: bool = False
    save_every: int = 0
    sample_every: int = 0
    measure_every: int = 0
    sample_prompts: tuple[str, ...] = ()
    seed: int = 0

    version: int = TRAINING_VERSION

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise InvalidRequestError(
                f"The name is {self.name[:40]!r}.", field="name", hint="Use 1 to 80 letters, digits, spaces and .()+-."
            )
        for name, choices in CHOICES.items():
            check_choice(name, getattr(self, name), choices)
        for name, (low, high) in RANGES.items():
            check_range(name, getattr(self, name), low, high)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON and TOML hold them."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The params of plain values; fields that are not given are at their defaults.

        Raises: InvalidRequestError, naming a field that is unknown, of a wrong type or out of its range.
        """
        return read_plain(cls, data, "training")


CHOICES: dict[str, tuple[str, ...]] = {
    "method": METHODS,
    "subject": SUBJECTS,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "precision": TRAINING_PRECISIONS,
    "loss": LOSSES,
    "timesteps": TIMESTEPS,
    "crop": CROPS,
}
RANGES: dict[str, tuple[float, float]] = {
    "caption_dropout": (0, 1),
    "steps": (1, STEPS_MAX),
    "batch": (1, 64),
    "accumulation": (1, 256),
    "processes": (1, 16),
    "learning_rate": (0, 10),
    "text_learning_rate": (0, 10),
    "warmup": (0, STEPS_MAX),
    "weight_decay": (0, 1),
    "clip_norm": (0, 100),
    "ema": (0, 0.99999),
    "rank": (1, 1024),
    "alpha": (0.001, 4096),
    "conv_rank": (0, 1024),
    "lora_plus": (0.1, 64),
    "vectors": (1, 64),
    "inversion_share": (0, 1),
    "dropout": (0, 0.9),
    "huber_c": (1e-4, 100),
    "snr_gamma": (0, 20),
    "x0_weight": (0, 10),
    "offset_noise": (0, 1),
    "prior_loss_weight": (0, 10),
    "class_pictures": (0, 1000),
    "resolution": (32, SIDE_MAX),
    "held_out": (0, 0.5),
    "save_every": (0, STEPS_MAX),
    "sample_every": (0, STEPS_MAX),
    "measure_every": (0, STEPS_MAX),
    "seed": (0, 2**32 - 1),
}

"""Every tool with the fields that it asks for: one table for the page, the routes and what checks a request."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

RANK = 32  # of an extracted LoRA, where nothing else is said


@dataclass(frozen=True, kw_only=True)
class Field:
    """One thing that a person chooses.

    Fields:
        name: As in a request and in the order for the process.
        kind: models (several), model (one, may be ""), whole, number, choice, check, blocks or text.
        of: The kind of models to choose from.
        slots: What each of the models is, as a person calls it; `least` of them are needed, and more may be added if
            `many`. weighted: each has a weight for the UNet, and one for the text encoders.
        low, high: Limits of a number.
        choices: Values with their words.
        folded: Whether it is only looked for by those who know that they need it.
    """

    name: str
    label: str
    kind: str
    hint: str = ""
    default: Any = ""
    of: str = ""
    slots: tuple[str, ...] = ()
    least: int = 0
    many: bool = False
    weighted: bool = False
    low: float | None = None
    high: float | None = None
    choices: tuple[tuple[str, str], ...] = ()
    folded: bool = False


@dataclass(frozen=True, kw_only=True)
class Tool:
    """What can be made.

    Fields:
        makes: The kind of model that comes out.
        about: What it is for, before anything is chosen.
        comes: What comes out, as a sentence without its full stop; {count} is how many models go in.
        ending: What the name of a result ends in, while nobody gives it another.
    """

    name: str
    label: str
    makes: str
    about: str
    comes: str
    ending: str
    fields: tuple[Field, ...]

    def field(self, name: str) -> Field | None:
        """The field of that name, if the tool has it."""
        return next((field for field in self.fields if field.name == name), None)


def _rank(hint: str, default: int = 0) -> Field:
    return Field(name="rank", label="Rank", kind="whole", hint=hint, default=default, low=0, high=4096)


def _models(of: str, *slots: str, least: int, many: bool = False) -> Field:
    label = {"lora": "LoRAs", "checkpoint": "Checkpoints"}[of]
    weighted = of == "lora" and many
    return Field(
        name="files", label=label, kind="models", of=of, slots=slots, least=least, many=many, weighted=weighted
    )


NAME = Field(name="name", label="Name of the result", kind="text", hint="Nothing is written over.")
ENERGY = Field(
    name="energy",
    label="Share that is kept",
    kind="number",
    default=1.0,
    low=0.01,
    high=1.0,
    hint="The fewest dimensions that hold this share of the change, such as 0.95; 1 is all of it.",
    folded=True,
)
PRECISION = Field(
    name="precision",
    label="Precision",
    kind="choice",
    choices=(("", "As the files"), ("fp16", "fp16"), ("bf16", "bf16"), ("fp32", "fp32")),
    folded=True,
)
TARGET = Field(
    name="checkpoint",
    label="Checkpoint that it is for",
    kind="model",
    of="checkpoint",
    hint="Only if the base model alone does not tell the layers.",
    folded=True,
)
TOOLS = (
    Tool(
        name="merge-loras",
        label="Merge LoRAs",
        makes="lora",
        about="Several LoRAs as one file that does the same.",
        comes="One LoRA that does at a weight of 1 what these {count} do at their weights",
        ending="merged",
        fields=(
            _models("lora", "First", "Second", least=2, many=True),
            _rank("Empty: exactly as it is. A number cuts the sum down to so many dimensions."),
            NAME,
            ENERGY,
            PRECISION,
            TARGET,
        ),
    ),
    Tool(
        name="bake",
        label="Bake into a checkpoint",
        makes="checkpoint",
        about="A checkpoint with LoRAs merged in for good.",
        comes="A checkpoint that paints without any LoRA as this one does with {count}",
        ending="baked",
        fields=(
            Field(name="checkpoint", label="Checkpoint", kind="model", of="checkpoint", least=1),
            _models("lora", "LoRA", least=1, many=True),
            NAME,
        ),
    ),
    Tool(
        name="extract",
        label="Extract a LoRA",
        makes="lora",
        about="What a trained checkpoint learned, as a LoRA for the one that it was trained from.",
        comes="A LoRA of the difference between both",
        ending="extracted",
        fields=(
            _models("checkpoint", "Trained from", "What came of it", least=2),
            _rank("At most so many dimensions: more is closer, and larger.", RANK),
            Field(
                name="rest",
                label="Keep changed biases and norms too",
                kind="check",
                default=False,
                hint="They are kept whole, which some programs cannot read.",
            ),
            NAME,
            ENERGY,
            PRECISION,
        ),
    ),
    Tool(
        name="resize",
        label="Change its rank",
        makes="lora",
        about="A LoRA with a smaller rank: a smaller file that does nearly the same.",
        comes="The same LoRA, cut down to what matters most",
        ending="small",
        fields=(
            _models("lora", "LoRA", least=1),
            _rank("At most so many dimensions.", 16),
            NAME,
            ENERGY,
            PRECISION,
            TARGET,
        ),
    ),
    Tool(
        name="respell",
        label="Change its layout",
        makes="lora",
        about="A LoRA in the spelling of other programs; not a bit of its numbers changes.",
        comes="The same LoRA with the names that the others use",
        ending="respelled",
        fields=(
            _models("lora", "LoRA", least=1),
            Field(
                name="spelling",
                label="Spelled for",
                kind="choice",
                default="peft",
                choices=(("peft", "diffusers and PEFT"), ("kohya", "kohya, A1111 and ComfyUI")),
            ),
            NAME,
            TARGET,
        ),
    ),
    Tool(
        name="merge",
        label="Merge checkpoints",
        makes="checkpoint",
        about="A checkpoint between two, or one with what sets two others apart: A + (B - C).",
        comes="A checkpoint mixed of these {count}, with the autoencoder of A",
        ending="mixed",
        fields=(
            _models("checkpoint", "A", "B", "C, taken away from B; may stay empty", least=2),
            Field(
                name="share",
                label="How much of B, or of the difference",
                kind="number",
                default=None,
                hint="0 is A alone. Empty: 0.5 of two, 1 of three.",
                low=-2.0,
                high=2.0,
            ),
            NAME,
            Field(
                name="blocks",
                label="Other shares for parts",
                kind="blocks",
                hint="Such as unet.down_blocks.1=0.2, text_encoder=0",
                folded=True,
            ),
        ),
    ),
)
BY_NAME = {tool.name: tool for tool in TOOLS}


def described(tools: Sequence[Tool] = TOOLS) -> list[dict[str, Any]]:
    """The table as plain values."""
    return [asdict(tool) for tool in tools]


def usual_share(count: int) -> float:
    """How much is taken of the second of two checkpoints, or of the difference of the last two of three."""
    return 0.5 if count == 2 else 1.0

"""What a model turned out to be."""

from collections.abc import Iterable
from dataclasses import dataclass

from studio.library.card import Card
from studio.library.header import TensorInfo
from studio.library.names import BASES_BY_WIDTH

DTYPES = {"F64": "fp64", "F32": "fp32", "F16": "fp16", "BF16": "bf16", "F8_E4M3": "fp8", "F8_E5M2": "fp8"}
CONTROL_WORDS = {
    "union": ("union", "promax"),
    "scribble": ("scribble", "sketch"),
    "canny": ("canny",),
    "depth": ("depth",),
    "pose": ("openpose", "pose"),
    "segments": ("seg",),
    "lineart": ("lineart",),
    "softedge": ("softedge", "hed"),
    "normal": ("normal",),
    "mlsd": ("mlsd",),
    "tile": ("tile",),
    "shuffle": ("shuffle",),
    "inpaint": ("inpaint",),
}
BASE_NAMES = {"sd1": "SD 1", "sd2": "SD 2", "sdxl": "SDXL", "sdxl-refiner": "the SDXL refiner"}


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What was found. Unknown is an answer.

    Fields:
        kind, base, variant: As `models list --json` names them.
        control_kind: What a control model's hint shows; "" for other kinds, and where nobody says.
        prediction_type: Of a checkpoint, as diffusers names it; "" where nothing tells.
        zero_snr: Whether a checkpoint was trained with a schedule that ends in pure noise.
        family: Which sort of its kind, such as loha, plus or light; "" where there is one.
        reason: Why it is not usable, in sentences for people.
        evidence: How we know, in a sentence.
        width: Of the text's vectors that it reads or holds; 0 if it does not say.
        possible: Of an unknown base, those that its tensors leave open to what is said beside it; None if they leave
            every one open.
        scale, channels: By how much an upscaler makes a side grow, and its channels in and out; 0 and () before the
            worker has said so.
        features: How wide an image encoder's projected and hidden features are, or those that an IP-Adapter reads; 0
            where it reads none of that sort.
        asked: Whether the worker has looked at it, too.
    """

    kind: str = "unknown"
    base: str = "unknown"
    variant: str = "normal"
    control_kind: str = ""
    prediction_type: str = ""
    zero_snr: bool = False
    family: str = ""
    format: str = ""
    precision: str = "unknown"
    usable: bool = False
    reason: str = ""
    card: Card | None = None
    evidence: str = ""
    trigger_words: tuple[str, ...] = ()
    width: int = 0
    possible: tuple[str, ...] | None = None
    scale: int = 0
    channels: tuple[int, ...] = ()
    features: tuple[int, ...] = ()
    asked: bool = False

    def allows(self, base: str) -> bool:
        """Whether its tensors leave it open that it is for that base model."""
        if self.base != "unknown" or (self.width and BASES_BY_WIDTH.get(self.width) != base):
            return False
        return self.possible is None or base in self.possible


def precision(tensors: Iterable[TensorInfo]) -> str:
    """The precision that most bytes of the weights are stored in; whole numbers do not count beside them."""
    sizes: dict[str, int] = {}
    for info in tensors:
        sizes[info.dtype] = sizes.get(info.dtype, 0) + info.end - info.start
    most = max(sizes, key=lambda dtype: (dtype in DTYPES, sizes[dtype]), default="unknown")
    return DTYPES.get(most, most.lower())


def guess_control_kind(name: str) -> str:
    """The control kind that a file's name speaks of; "" if none."""
    lowered = name.lower()
    return next((kind for kind, words in CONTROL_WORDS.items() if any(word in lowered for word in words)), "")

"""The methods in words: what each is good at, and what it costs."""

from dataclasses import asdict, dataclass
from typing import Any

from studio.advice.wish import Base, Pictures, Wish
from studio.training_params import METHODS

FIRST = 8  # pictures below which one word may hold what there is to learn


@dataclass(frozen=True)
class TradeOffs:
    """How a method stands beside the others, a few words each."""

    concepts: str
    fidelity: str
    disk: str
    time: str
    layout: str


@dataclass(frozen=True)
class MethodText:
    """A method in words. fits: subjects that it is made for, or "control"."""

    name: str
    label: str
    text: str
    fits: tuple[str, ...]
    trade_offs: TradeOffs

    def view(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"fits": list(self.fits)}


SUBJECT_KINDS = ("object", "person", "animal", "style")
NONE, SOME = "none: the prompt decides", "the picture you show, not a drawing"
TABLE = (
    MethodText(
        "lora",
        "LoRA",
        "A small addition to the model's layers. The best start for nearly everything.",
        SUBJECT_KINDS,
        TradeOffs("one in a file; several files mix", "high", "3 to 150 MB", "short", NONE),
    ),
    MethodText(
        "dreambooth",
        "DreamBooth",
        "The whole model learns. Closest likeness, and pictures of the class keep the rest as it was.",
        ("object", "person", "animal"),
        TradeOffs("one in a checkpoint", "highest", "a whole checkpoint: 2 to 7 GB", "longest", NONE),
    ),
    MethodText(
        "inversion",
        "Textual inversion",
        "Only a new word is learned; the model stays as it is, so it harms nothing.",
        ("object", "style"),
        TradeOffs("one in a word; many words mix in a prompt", "middling", "a few KB", "middling", NONE),
    ),
    MethodText(
        "pivotal",
        "Pivotal tuning",
        "First a word, then a LoRA around it: faithful, and it mixes well.",
        ("object", "person", "animal"),
        TradeOffs("one in a file and a word", "high", "3 to 150 MB", "long", NONE),
    ),
    MethodText(
        "hypernetwork",
        "Hypernetwork",
        "Small networks before the attention layers. Older tools read it; good for a look.",
        ("style",),
        TradeOffs("one; a few can follow each other", "middling", "20 to 200 MB", "long", NONE),
    ),
    MethodText(
        "ip_adapter",
        "IP-Adapter",
        "Teaches the model to take a picture as a prompt. For many pictures; no word is needed.",
        ("control",),
        TradeOffs("any: you show it when you generate", "middling", "20 to 700 MB", "very long", SOME),
    ),
    MethodText(
        "controlnet",
        "ControlNet",
        "Teaches the model to follow a map: a scribble, a pose, depth. Needs a thousand pictures or more.",
        ("control",),
        TradeOffs("none: it learns to obey", "none", "700 MB to 2.5 GB", "very long", "exact, the strongest"),
    ),
    MethodText(
        "t2i_adapter",
        "T2I-Adapter",
        "As a ControlNet, sixteen times smaller and quicker, and it obeys a little less.",
        ("control",),
        TradeOffs("none: it learns to obey", "none", "150 to 300 MB", "very long", "good, looser than a ControlNet"),
    ),
)
BY_NAME = {one.name: one for one in TABLE}
assert set(BY_NAME) == set(METHODS)


def choose_method(wish: Wish, pictures: Pictures, base: Base) -> tuple[str, str]:
    """A method for who named none, and why. Source of the comparison: DreamBench figures in arXiv:2208.12242."""
    few = f"{pictures.count} picture" + ("" if pictures.count == 1 else "s")
    if wish.subject == "style":
        return "lora", f"A style lies in many layers: a LoRA reaches them all, and {few} do for it."
    if wish.subject == "person":
        return "lora", "Faces need more than a word can hold; a LoRA keeps them at a hundredth of a checkpoint's size."
    size = "the whole model" if base.family == "starter" else "a whole checkpoint of gigabytes"
    return "lora", f"From {few} a LoRA learns nearly as well as {size}, and it is small and mixes with others."


def compared(wish: Wish, pictures: Pictures, chosen: str) -> list[dict[str, str]]:
    """What each method would mean for these pictures; the chosen one first."""
    order = sorted(TABLE, key=lambda one: (one.name != chosen, wish.subject not in one.fits))
    return [{"name": one.name, "label": one.label, "text": _said(one, wish, pictures)} for one in order]


def _said(one: MethodText, wish: Wish, pictures: Pictures) -> str:
    if "control" in one.fits:
        return f"{one.text} You have {pictures.count}."
    if one.name == "inversion" and pictures.count > FIRST:
        return f"{one.text} With {pictures.count} pictures a word holds less than they show."
    if wish.subject not in one.fits:
        article = "an" if wish.subject[0] in "aeio" else "a"
        return f"{one.text} For {article} {wish.subject} others do better."
    return one.text

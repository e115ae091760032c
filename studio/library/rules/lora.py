"""LoRA and its kin: small changes of a checkpoint's weights, in every spelling that trainers have.

Source: KohakuBlueleaf/LyCORIS, lycoris/modules/*.py (`weight_list`); kohya-ss/sd-scripts, networks/lora.py; diffusers,
utils/state_dict_utils.py; ComfyUI, comfy/weight_adapter and comfy/lora.py.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache

from studio.library.header import Tensors
from studio.library.identity import BASE_NAMES, Identity
from studio.library.names import BASES_BY_WIDTH, Shape
from studio.library.roles import BUNDLE, block_size, embedding_in, role_of
from studio.library.rules.subject import Subject, shown

PAIR = ("down", "up")
BUNDLED_MAX = 40  # tensors of embeddings whose names are kept
FAMILIES = (  # which sort it is, by roles that a module of it has; the first one that fits
    ("loha", ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")),
    ("lokr", ("lokr_w1", "lokr_w2")),
    ("lokr", ("lokr_w1", "lokr_w2_a", "lokr_w2_b")),
    ("lokr", ("lokr_w1_a", "lokr_w1_b", "lokr_w2")),
    ("lokr", ("lokr_w1_a", "lokr_w1_b", "lokr_w2_a", "lokr_w2_b")),
    ("boft", ("boft_blocks",)),
    ("boft", ("boft_R",)),
    ("oft", ("oft_blocks",)),
    ("oft", ("oft_R",)),
    ("oft", ("oft_diag",)),
    ("glora", ("glora_a1", "glora_a2", "glora_b1", "glora_b2")),
    ("ia3", ("on_input", "ia3")),
    ("lora", PAIR),
    ("full", ("diff",)),
    ("full", ("set_weight",)),
    ("full", ("w_norm",)),
)
SHOWN = {
    "loha": "LoHa",
    "lokr": "LoKr",
    "glora": "GLoRA",
    "ia3": "IA3",
    "lora": "LoRA",
    "locon": "LoCon",
    "dora": "DoRA",
}
SPELLINGS = (
    ("kohya's", ("lora_unet_", "lora_te", "lycoris_", "oft_unet_")),
    ("PEFT's", ("base_model.model.",)),
    ("diffusers'", ("unet.", "text_encoder.", "text_encoder_2.", "transformer.")),
)
MOTION = "motion_modules"  # they lie within a UNet's blocks
OTHERS = tuple(
    (what, re.compile(pattern))
    for what, pattern in (
        ("FLUX.1", r"double_blocks_\d|(^|_)single_blocks_\d|single_transformer_blocks_\d"),
        ("Stable Diffusion 3", r"joint_blocks_\d|^lora_te3_"),
        ("an AnimateDiff motion module", rf"{MOTION}|temporal_transformer"),
        (
            "a transformer such as FLUX.1's or Stable Diffusion 3's",
            r"transformer_blocks_\d+_attn_(to|add)|^transformer_",
        ),
        ("a video transformer", r"(^|_)blocks_\d+_(self|cross)_attn_"),
        ("another transformer", r"(^|_)layers_\d+_(attention|self_attn|mlp|feed_forward)_"),
    )
)
PRIOR = "lora_prior_unet_"  # its modules are named as those of our UNets
UNET_PLACE = re.compile(  # the part of a module's name that says where in a UNet it lies
    r"(down|up)_blocks_\d+_(attentions_)?|(input|output)_blocks_\d+_(1_(transformer|proj|norm))?|mid(dle)?_block_"
)
UNET_DEPTH = re.compile(r"transformer_blocks_\d+_")
TEXT_PLACE = re.compile(r"^(lora_te\d?_)?(text_encoder_2_)?.*?text_model_encoder_layers_\d+_")
TEXT_LAYERS = ("_q_proj", "_k_proj", "_v_proj", "_out_proj", "_fc1")  # they read vectors of the encoder's width
READS_TEXT = tuple(f"attn2_{way}to_{part}" for way in ("", "processor_") for part in "kv")
EVERY = frozenset(("sd1", "sd2", "sdxl", "sdxl-refiner"))
PLACES = tuple(  # where a module lies, and the base models that have it
    (re.compile(pattern), frozenset(bases.split()))
    for pattern, bases in (
        (r"^down_blocks_0_attentions|^input_blocks_[12]_1_", "sd1 sd2"),
        (r"^up_blocks_0_attentions|^output_blocks_[012]_1_", "sdxl"),
        (r"^(down|up)_blocks_3_attentions|^output_blocks_(9|10|11)_1_", "sd1 sd2"),
        (r"^(down|up)_blocks_3_|^(input|output)_blocks_(9|10|11)_", "sd1 sd2 sdxl-refiner"),
        (r"^transformer_blocks_[123]_", "sdxl sdxl-refiner"),
        (r"^transformer_blocks_[4-9]_", "sdxl"),
        (r"^transformer_blocks_\d\d", ""),
        (r"^lora_te_", "sd1 sd2"),
        (r"^lora_te1_", "sdxl"),
        (r"^lora_te2_|^text_encoder_2_", "sdxl sdxl-refiner"),
        (r"text_model_encoder_layers_(1[2-9]|2\d|3[01])_", "sd2 sdxl sdxl-refiner"),
    )
)
CLIP_WIDTHS = {768: frozenset(("sd1", "sdxl")), 1024: frozenset(("sd2",)), 1280: frozenset(("sdxl", "sdxl-refiner"))}
MOST = 0.9


@dataclass
class Modules:
    """A file's tensors by the module that they change.

    Fields:
        roles: For each module, its tensors' shapes by what they are of it.
        strange: How many tensors are no part of a change.
    """

    roles: dict[str, dict[str, Shape]] = field(default_factory=dict[str, dict[str, Shape]])
    strange: int = 0


def recognise(subject: Subject) -> Identity | None:
    """A LoRA or one of its kin; None if it is none."""
    change = subject.tensors.once(_change)
    if change is None:
        return None
    family, signs = change.family, change.signs
    base, width, why = _base(subject, signs)
    other = base == "unknown" and (signs.other or subject.said_other)
    sort = f"It is a {SHOWN.get(family, family.upper())} in {change.spelling} spelling"
    evidence = f"{sort} for {change.layers} layers."
    return Identity(
        kind="lora",
        base=base,
        family=family,
        precision=subject.precision,
        usable=not other,
        reason=f"It is for {other}." if other else "",
        width=width,
        possible=() if signs.other or subject.said_other or not signs.places else tuple(sorted(signs.bases)),
        trigger_words=tuple(dict.fromkeys((*change.bundled, *subject.triggers))),
        evidence=f"{evidence} {why}".strip(),
    )


@dataclass(frozen=True)
class Change:
    """What the tensors of a LoRA say, whatever else its file says. bundled: the embeddings that came with it."""

    family: str
    layers: int
    spelling: str
    signs: "Signs"
    bundled: tuple[str, ...]


def _change(tensors: Tensors) -> Change | None:
    modules = _modules(tensors)
    family = _family(modules)
    if not family or modules.strange > (1 - MOST) * len(tensors):
        return None
    bundled = [shown(word) for name in tensors if (word := embedding_in(name)[0])][:BUNDLED_MAX]
    return Change(family, len(modules.roles), _spelling(modules), _signs(modules), tuple(bundled))


def _modules(tensors: Tensors) -> Modules:
    found = Modules()
    for name, info in tensors.items():
        stem, role = role_of(name, tensors)
        if role:
            found.roles.setdefault(stem, {})[role] = info.shape
        elif not name.startswith(BUNDLE):
            found.strange += 1
    return found


def _family(modules: Modules) -> str:
    """The sort that most modules are of; "" if no module is whole."""
    counts: Counter[str] = Counter()
    for roles in modules.roles.values():
        family = _whole(frozenset(roles))
        if family == "oft" and len(roles.get("oft_blocks") or roles.get("oft_diag") or ()) == 4:
            family = "boft"
        if family == "lora":
            family = "dora" if roles.keys() & {"dora_scale", "magnitude"} else "lora"
            family = "locon" if family == "lora" and (_is_kernel(roles["down"]) or "mid" in roles) else family
        counts[family] += 1
    del counts[""]
    if not counts or sum(counts.values()) < len(modules.roles) / 2:
        return ""
    return next((name for name in ("dora", "locon") if counts[name]), "") or counts.most_common(1)[0][0]


@lru_cache(maxsize=256)
def _whole(roles: frozenset[str]) -> str:
    """The first sort of which nothing is missing among these; "" if each lacks something. Most modules of a file have
    the same."""
    return next((name for name, needed in FAMILIES if roles.issuperset(needed)), "")


def _is_kernel(shape: Shape) -> bool:
    return len(shape) == 4 and shape[2] > 1


def _spelling(modules: Modules) -> str:
    first = next(iter(modules.roles))
    return next((whose for whose, starts in SPELLINGS if first.startswith(starts)), "ComfyUI's")


@dataclass
class Signs:
    """What speaks for a base model: places of modules, widths of texts that are read, widths within text encoders."""

    places: set[str] = field(default_factory=set[str])
    widths: set[int] = field(default_factory=set[int])
    text_widths: set[int] = field(default_factory=set[int])
    other: str = ""

    @property
    def bases(self) -> frozenset[str]:
        """The base models that have all of it."""
        found = EVERY
        for pattern, bases in PLACES:
            if any(pattern.search(place) for place in self.places):
                found &= bases
        for width in self.widths:
            found &= {BASES_BY_WIDTH.get(width, "")}
        for width in self.text_widths:
            found &= CLIP_WIDTHS.get(width, frozenset())
        return found


def _signs(modules: Modules) -> Signs:
    signs, strange = Signs(), 0
    for stem, roles in modules.roles.items():
        module = stem.replace(".", "_")
        if module.startswith(PRIOR):
            signs.other = "Stable Cascade"
        elif (place := UNET_PLACE.search(module)) and MOTION not in module:
            signs.places.add(place[0])
            if depth := UNET_DEPTH.search(module):
                signs.places.add(depth[0])
            if module.endswith(READS_TEXT) and (width := _input(roles)):
                signs.widths.add(width)
        elif text := TEXT_PLACE.search(module):
            signs.places.add(text[0])
            if module.endswith(TEXT_LAYERS) and (width := _input(roles)):
                signs.text_widths |= {width} if "te2" not in text[0] and "encoder_2" not in text[0] else set()
        else:
            strange += 1
            signs.other = signs.other or next((what for what, pattern in OTHERS if pattern.search(module)), "")
    if signs.places and strange > len(modules.roles) / 2:  # a text encoder of ours beside another network
        signs.other = signs.other or "another network than a UNet"
    return signs


def _base(subject: Subject, signs: Signs) -> tuple[str, int, str]:
    """The base model, the width of the texts that it reads if it changes that, and what stands against a base model."""
    if signs.other:
        return "unknown", 0, ""
    bases = signs.bases
    width = next(iter(signs.widths)) if len(signs.widths) == 1 else 0
    if subject.said_base and bases:
        bases &= {subject.said_base}
    if len(bases) == 1:
        return next(iter(bases)), width, ""
    if not bases:
        return "unknown", width, "What it changes is of no single base model."
    if subject.said_other:
        return "unknown", width, ""
    names = " or ".join(BASE_NAMES[base] for base in sorted(bases) if base != "sdxl-refiner")
    return (
        "unknown",
        width,
        f"What it changes is the same in {names}." if bases != EVERY else "It does not say for what.",
    )


def _input(roles: dict[str, Shape]) -> int:
    """How wide the vectors are that a changed module reads; 0 if its tensors do not tell."""
    for role, place in (("down", 1), ("hada_w1_b", 1), ("glora_b2", 1), ("diff", 1), ("set_weight", 1)):
        if len(shape := roles.get(role, ())) > place:
            return shape[place] if "mid" not in roles else 0
    if len(blocks := roles.get("boft_R", ())) == 4:
        return blocks[1] * blocks[2]
    if len(rows := roles.get("oft_R", ())) == 2 and rows[0] > 1:  # one row may be for all blocks
        return rows[0] * block_size(rows[1])
    first = roles.get("lokr_w1") or roles.get("lokr_w1_b") or ()
    second = roles.get("lokr_w2") or roles.get("lokr_w2_b") or ()
    return first[1] * second[1] if len(first) > 1 and len(second) > 1 else 0

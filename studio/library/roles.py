"""What a tensor of a LoRA, or of its kin, is of the layer that it changes: told by how its name ends.

Source: KohakuBlueleaf/LyCORIS, lycoris/modules/*.py (`weight_list`); kohya-ss/sd-scripts, networks/lora.py; diffusers,
utils/state_dict_utils.py; ComfyUI, comfy/weight_adapter and comfy/lora.py; peft, tuners/oft and tuners/boft.
"""

import math
from collections.abc import Container

SAME = "alpha dora_scale reshape_weight set_weight diff diff_b w_norm b_norm on_input rescale scalar".split()
HADA = [f"hada_{name}" for name in "w1_a w1_b w2_a w2_b t1 t2".split()]
LOKR = [f"lokr_{name}" for name in "w1 w1_a w1_b w2 w2_a w2_b t1 t2".split()]
OFT = "oft_blocks oft_R oft_diag boft_blocks boft_R boft_s".split()
GLORA = "a1 a2 b1 b2 bm".split()
BY_ONE: dict[str, str] = {  # by the last word of a name
    **{name: name for name in (*SAME, *HADA, *LOKR, *OFT)},
    **dict.fromkeys(("magnitude_vector", "lora_magnitude_vector"), "magnitude"),
    "lora_A": "down",
    "lora_B": "up",
}
BY_TWO: dict[str, str] = {  # by its last two words
    **{f"{name}.weight": f"glora_{name}" for name in GLORA},
    **dict.fromkeys(("lora_up.bias", "lora_B.bias"), "up_bias"),
    "lora_magnitude_vector.weight": "magnitude",
    "lora_down.weight": "down",
    "lora_up.weight": "up",
    "lora_mid.weight": "mid",
    "lora_A.weight": "down",
    "lora_B.weight": "up",
    "oft_R.weight": "oft_R",
    "boft_R.default": "boft_R",
    "boft_s.default": "boft_s",
}
BY_THREE = {  # by its last three words
    "lora_A.default.weight": "down",
    "lora_B.default.weight": "up",
    "lora_B.default.bias": "up_bias",
    "oft_R.default.weight": "oft_R",
    "lora_magnitude_vector.default.weight": "magnitude",
}
WORDS = {"down.weight": "down", "up.weight": "up"}  # after one of:
BUNDLE, TABLE = "bundle_emb.", ".string_to_param."
STEMS = ("_lora", ".lora", ".lora_linear_layer")


def role_of(name: str, names: Container[str]) -> tuple[str, str]:
    """The layer that a tensor changes, as its file spells it, and what it is of it; ("", "") for no part of a change.

    names: Those of all tensors in the file. The numbers of an IA3 have no name of their own: another tensor tells.
    """
    stem, _, last = name.rpartition(".")
    if role := BY_ONE.get(last):
        return stem, role
    if last == "weight" and f"{stem}.on_input" in names:
        return stem, "ia3"
    stem, _, before = stem.rpartition(".")
    if role := BY_TWO.get(two := f"{before}.{last}"):
        return stem, role
    if (role := WORDS.get(two)) and stem.endswith(STEMS):
        return stem[: stem.rindex("lora") - 1], role
    stem, _, third = stem.rpartition(".")
    role = BY_THREE.get(f"{third}.{two}", "")
    return (stem, role) if role else ("", "")


def block_size(above: int) -> int:
    """How large a block of an OFT is of which a file holds that many numbers, those above the diagonal; 0 for none."""
    size = (1 + math.isqrt(1 + 8 * above)) // 2
    return size if size * (size - 1) // 2 == above else 0


def embedding_in(name: str) -> tuple[str, str]:
    """The embedding inside of a LoRA's file that a tensor is of, and the tensor's name in a file of its own.

    ("", "") for a tensor of none. Source: AUTOMATIC1111, extensions-builtin/Lora/networks.py.
    """
    if not name.startswith(BUNDLE):
        return "", ""
    inner = name.removeprefix(BUNDLE)
    word, table, rest = inner.partition(TABLE)
    if table:
        return word, f"{TABLE[1:]}{rest}"
    word, _, role = inner.rpartition(".")
    return word, role

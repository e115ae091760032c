"""Embeddings inside of a LoRA's file: words that were learned together with it, and mean something beside it.

Source: AUTOMATIC1111, extensions-builtin/Lora/networks.py (`bundle_emb`); Nerogar/OneTrainer, the savers of LoRAs
(`bundle_additional_embeddings`); ComfyUI, comfy/sd1_clip.py (bundled_embed).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from studio.adapters.source import Shape, Tensors
from studio.library.roles import embedding_in

TOKENS = ".embeddings.token_embedding.weight"  # of a text encoder, (words, width)
READ = ("emb_params", "clip_l", "clip_g")
STRANGE = "is a part of an embedding that no text encoder here reads"


@dataclass(frozen=True)
class Bundled:
    """One embedding of a file, as a file of its own (see studio.adapters.source.Tensors).

    keys: Names in the file, by the names that they would have in an embedding's own; only those that are read.
    """

    name: str
    weights: Tensors
    keys: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def title(self) -> str:
        """What a person calls it."""
        return f"{self.name} in {self.weights.title}"

    @property
    def metadata(self) -> Mapping[str, str]:
        """None: the header is the LoRA's."""
        return {}

    @property
    def shapes(self) -> Mapping[str, Shape]:
        """By the names that an embedding's own file would have."""
        return {name: self.weights.shapes[key] for name, key in self.keys.items()}

    def tensor(self, name: str) -> Tensor:
        """See `Tensors.tensor`."""
        return self.weights.tensor(self.keys[name])

    def fault(self, targets: Mapping[str, Shape]) -> str:
        """Why the text encoders that have these parameters cannot read it, as what follows a name; "" if they can."""
        shapes = [self.shapes[name] for name in sorted(self.keys, key=_order)]
        here = [shape[1] for name, shape in targets.items() if name.endswith(TOKENS)]
        found = [shape[-1] for shape in shapes if shape]
        if len(found) < len(shapes) or (here and found != here):
            return f"is an embedding of {_widths(found)}, and the text encoders here read {_widths(here)}"
        return ""


def bundled_in(weights: Tensors) -> tuple[dict[str, Bundled], list[str]]:
    """The embeddings of a file by name, and the names of tensors that are a part of one and never read."""
    found: dict[str, Bundled] = {}
    strange: list[str] = []
    for key in weights.shapes:
        name, role = embedding_in(key)
        if name and (role in READ or role.startswith("string_to_param.")):
            found.setdefault(name, Bundled(name, weights)).keys[role] = key
        elif name:
            strange.append(key)
    return found, strange


def _order(role: str) -> int:
    return READ.index(role) if role in READ else 0


def _widths(found: Sequence[int]) -> str:
    return f"width {' and '.join(map(str, found))}" if found else "none"

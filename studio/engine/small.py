"""Small files at work: hypernetworks as units of the loop, embeddings as vectors for the text encoders."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffusers import UNet2DConditionModel
from torch import Tensor

from studio.adapters.embeddings import EmbeddingFile, read_embedding
from studio.adapters.hypernetworks import Hypernetwork
from studio.adapters.stack import Stack, Weighted
from studio.engine.prompt import PromptEncoder, Vectors
from studio.engine.store import Store
from studio.engine.units.hypernetwork import HypernetworkUnit, widths_attended_to
from studio.engine.units.unit import Unit
from studio.engine.weights import open_weights
from studio.errors import BaseModelMismatchError
from studio.messages import ModelLocation
from studio.params import AdapterRef, GenerationParams
from studio.prompts.embeddings import find_embeddings

REMEMBERED = 64


@dataclass
class SmallFiles:
    """Reads what a generation names. read: the embeddings that were used last, by content id."""

    store: Store
    read: OrderedDict[str, EmbeddingFile] = field(default_factory=OrderedDict[str, EmbeddingFile])

    def hypernetworks(
        self, params: GenerationParams, models: Mapping[str, ModelLocation], unet: UNet2DConditionModel
    ) -> tuple[list[Unit], list[str]]:
        """A unit for each hypernetwork, in the order of the stack, and sentences on what of them goes unused.

        Raises: ModelNotFoundError, if one cannot be read; BaseModelMismatchError, if none of it fits the UNet.
        """
        made: list[Unit] = []
        warnings: list[str] = []
        for ref in params.adapters:
            if ref.kind == "hypernetwork":
                model: Hypernetwork = self.store.control(models[ref.id])
                warnings += _unused(ref.name, model, unet)
                made.append(HypernetworkUnit(model, _weighted(ref)))
        return made, warnings

    def embeddings(
        self, params: GenerationParams, models: Mapping[str, ModelLocation], prompts: PromptEncoder
    ) -> tuple[dict[str, tuple[Tensor, ...]], list[str]]:
        """The vectors of each embedding by its name, (n, width) for each text encoder, and sentences on what of them
        goes unused.

        Raises: ModelNotFoundError, if one cannot be read; BaseModelMismatchError, if it is of another width.
        """
        widths = _widths(prompts)
        found = {ref.name: self._embedding(ref.name, models[ref.id]) for ref in params.embeddings}
        warnings = [
            f"The embedding {name} holds {', '.join(embedding.left_out[:3])} too, which no text encoder here reads."
            for name, embedding in found.items()
            if embedding.left_out
        ]
        return {name: embedding.for_encoders(widths) for name, embedding in found.items()}, warnings

    def _embedding(self, name: str, location: ModelLocation) -> EmbeddingFile:
        if location.id not in self.read:
            self.read[location.id] = read_embedding(open_weights(Path(location.path), location.name), name)
        self.read.move_to_end(location.id)
        while len(self.read) > REMEMBERED:
            self.read.popitem(last=False)
        return self.read[location.id]


def bundled(params: GenerationParams, prompts: PromptEncoder, stack: Stack) -> tuple[dict[str, Vectors], list[str]]:
    """The embeddings inside of the stack's files that some words of the params name, and sentences on those that
    another one of the same name goes before: a file of its own, or that of an adapter further up in the stack.

    Raises: ModelNotFoundError, if one cannot be read; BaseModelMismatchError, if it is of another width.
    """
    texts = params.texts()
    found: dict[str, Vectors] = {}
    owners = {ref.name.casefold(): "a file of its own" for ref in params.embeddings}
    notes: list[str] = []
    for adapter in stack:
        for name in dict.fromkeys(named.name for text in texts for named in find_embeddings(text, adapter.embeddings)):
            if (owner := owners.setdefault(name.casefold(), adapter.title)) != adapter.title:
                notes.append(f"The embedding {name} in {adapter.title} is passed over; that of {owner} is used.")
                continue
            embedding = read_embedding(adapter.embeddings[name], name)
            found[name] = Vectors(f"{adapter.id} {name}", embedding.for_encoders(_widths(prompts)))
    return found, notes


def hypernetworks_of(params: GenerationParams, models: Mapping[str, ModelLocation]) -> list[ModelLocation]:
    """The hypernetworks of a generation, each once."""
    return [models[name] for name in dict.fromkeys(r.id for r in params.adapters if r.kind == "hypernetwork")]


def _widths(prompts: PromptEncoder) -> list[int]:
    """Of the tokens of the checkpoint's text encoders."""
    return [encoder.get_input_embeddings().embedding_dim for encoder in prompts.text_encoders]


def _weighted(ref: AdapterRef) -> Weighted:
    names = ("id", "weight", "blocks", "start", "end", "curve")
    shared: dict[str, Any] = {name: getattr(ref, name) for name in names}
    return Weighted(title=ref.name, deltas={}, **shared)


def _unused(name: str, model: Hypernetwork, unet: UNet2DConditionModel) -> list[str]:
    """What of the hypernetwork finds nothing to change, as a sentence."""
    there = widths_attended_to(unet)
    unused, widths = sorted(model.widths - there), ", ".join(map(str, sorted(there)))
    if not model.widths & there:
        made_for = ", ".join(map(str, unused))
        raise BaseModelMismatchError(
            f"The hypernetwork {name}", expected=f"features of widths {widths}", found=f"features of widths {made_for}"
        )
    many = " and ".join(map(str, unused))
    return [f"The hypernetwork {name} is for features of width {many} too; this checkpoint has none."] if unused else []

"""Embeddings: vectors that stand in a prompt for words nobody has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import Tensor

from studio.adapters.source import Tensors
from studio.errors import BaseModelMismatchError, ModelNotFoundError

ONE = ""  # of files for models with one text encoder
TWO = ("clip_l", "clip_g")  # SDXL's text encoders, in the order in which it reads them
TABLE, TOKENS = "string_to_param.", "string_to_token."
KOHYA = "emb_params"
AGAIN = "Download it again, from where it was published."


@dataclass(frozen=True)
class EmbeddingFile:
    """What an embedding's file holds.

    Fields:
        name: What a prompt calls it.
        vectors: (n, width), fp32, by the text encoder that reads them: "clip_l" and "clip_g", or "" for the only one.
        layout: Which programs write such files: "A1111", "kohya", "SDXL" or "diffusers".
        left_out: Names of its tensors that no text encoder here takes.
    """

    name: str
    vectors: Mapping[str, Tensor]
    layout: str
    left_out: tuple[str, ...] = ()

    def for_encoders(self, widths: Sequence[int]) -> tuple[Tensor, ...]:
        """The vectors for each text encoder of a checkpoint, (n, width).

        widths: Of these text encoders' tokens, in order.
        Raises: BaseModelMismatchError, naming both widths, if the embedding was made for others.
        """
        given = [self.vectors[name] for name in (ONE, *TWO) if name in self.vectors]
        found = [vectors.shape[1] for vectors in given]
        if found != list(widths):
            raise BaseModelMismatchError(
                f"The embedding {self.name}",
                expected=_encoders(widths),
                found=_encoders(found),
                hint="Take an embedding that was made for this checkpoint's base model, or leave its name out.",
            )
        return tuple(given)


def read_embedding(weights: Tensors, name: str) -> EmbeddingFile:
    """The vectors of an embedding's file, in any of the four layouts that are in use.

    Raises: ModelNotFoundError, if it is no embedding, holds several, or numbers that are not finite.
    Source: AUTOMATIC1111, modules/textual_inversion/textual_inversion.py; kohya-ss/sd-scripts, the textual inversion
        scripts; diffusers, loaders/textual_inversion.py.
    """
    names = [found for found in weights.shapes if not found.startswith(TOKENS)]
    table = [found for found in names if found.startswith(TABLE)]
    two = [found for found in TWO if found in names]
    if table:
        layout, wanted = "A1111", dict.fromkeys(table, ONE)
    elif KOHYA in names:
        layout, wanted = "kohya", {KOHYA: ONE}
    elif two:
        layout, wanted = "SDXL", {found: found for found in two}
    else:
        layout, wanted = "diffusers", dict.fromkeys(names, ONE)
    if len(wanted) != len(set(wanted.values())):
        _refuse(weights, f"has {len(wanted)} embeddings where one is expected")
    vectors = {encoder: _vectors(weights, found) for found, encoder in wanted.items()}
    if len({len(rows) for rows in vectors.values()}) != 1:
        _refuse(weights, "has not as many vectors for each text encoder")
    return EmbeddingFile(name, vectors, layout, tuple(found for found in names if found not in wanted))


def _vectors(weights: Tensors, name: str) -> Tensor:
    vectors = weights.tensor(name)
    if vectors.ndim == 1:
        vectors = vectors[None]
    if vectors.ndim != 2 or not vectors.numel() or not vectors.is_floating_point():
        _refuse(weights, f"has something of the shape {tuple(vectors.shape)} where vectors are expected")
    vectors = vectors.detach().to(torch.float32, copy=True)
    if not vectors.isfinite().all():
        _refuse(weights, "holds numbers that are not finite")
    return vectors


def _refuse(weights: Tensors, said: str) -> NoReturn:
    raise ModelNotFoundError(f"The embedding {weights.title} {said}.", hint=AGAIN)


def _encoders(widths: Sequence[int]) -> str:
    """Text encoders of those widths, in words."""
    return f"{'a text encoder' if len(widths) == 1 else 'text encoders'} of width {' and '.join(map(str, widths))}"

"""What the denoise loop is told at each step: rows of embeddings, for as many pictures as there are."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from studio.engine.denoise import Joined, Words
from studio.engine.prompt import Embedding, Told


@dataclass
class Telling:
    """Words by the loop's steps.

    Fields:
        told: By the steps that a person counts.
        calls: Steps of the loop, which schedulers of second order have two of for one of a person's.
        pictures: Rows of one prompt.
        guided: Whether there are rows for the negative prompt, before those for the prompt.
        size: (width, height) of the pictures, which SDXL is told.
        like: A tensor of the UNet, for its device and dtype.
    """

    told: Told
    calls: int
    pictures: int
    guided: bool
    size: tuple[int, int]
    like: Tensor
    _made: dict[tuple[int, ...], Words] = field(default_factory=dict, init=False)

    def __call__(self, index: int) -> Words:
        """The words at a step of the loop, from 0; made once for all steps that say the same."""
        step = index * self.told.steps // self.calls + 1
        lines, untold = [line.at(step) for line in self.told.lines], self.told.untold.at(step)
        key = tuple(id(said) for said in (*lines, untold))
        if key not in self._made:
            self._made[key] = self._words(lines, untold)
        return self._made[key]

    def _words(self, lines: list[Embedding], untold: Embedding) -> Words:
        first, *more = lines
        weights = [line.weight for line in self.told.lines]
        return Words(
            prompt_embeds=self._rows(first.tokens),
            negative_embeds=self._rows(untold.tokens) if self.guided else None,
            added=self._added([untold, first] if self.guided else [first]),
            weight=weights[0],
            joined=[
                Joined(weight, self._rows(said.tokens), self._added([said]))
                for weight, said in zip(weights[1:], more, strict=True)
            ],
        )

    def _rows(self, tokens: Tensor) -> Tensor:
        return tokens.to(self.like).expand(self.pictures, -1, -1)

    def _added(self, embeddings: list[Embedding]) -> Mapping[str, Tensor]:
        """What SDXL is told beside the words: the pooled prompt, and a picture of this size that nobody cut."""
        pooled = [said.pooled for said in embeddings if said.pooled is not None]
        if not pooled:
            return {}
        rows = torch.cat([row.expand(self.pictures, -1) for row in pooled]).to(self.like)
        width, height = self.size
        sizes = torch.tensor([[height, width, 0, 0, height, width]]).to(self.like)
        return {"text_embeds": rows, "time_ids": sizes.expand(len(rows), -1)}

"""Regional prompts inside a layer: where a region was painted, its own words are attended to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class RegionWords:
    """What one region says, and where.

    Fields:
        words: (1, L, D).
        share: (1, 1, h, w), 0 to 1: how much they count instead of the prompt; of all regions together 1 at most,
            before the unit's scale.
    """

    words: Tensor
    share: Tensor


@dataclass(frozen=True)
class Regions:
    """The regions of a step. guided: Whether the first half of the batch is the unguided one, which hears nothing."""

    parts: Sequence[RegionWords]
    guided: bool = True

    def told(self, rows: Tensor) -> Tensor:
        """Of the rows of a batch those with words."""
        return rows[len(rows) // 2 :] if self.guided else rows

    def blended(self, attended: Tensor, attend: Callable[[Tensor], Tensor]) -> Tensor:
        """What the layer gives, from what the prompt's words gave, (B, heads, length, width).

        attend: What the rows with words get of other words (1, L, D).
        Source: laksjdjf/attention-couple-ComfyUI and hako-mikan/sd-webui-regional-prompter, attention mode: each prompt
        is attended to by itself, and what comes of it is summed by masks.
        """
        told = self.told(attended)
        shares = [mean_along(part.share, told.shape[2]).to(told) for part in self.parts]
        blend = told * (1 - torch.stack(shares).sum(0))
        for part, share in zip(self.parts, shares, strict=True):
            blend = blend + share * attend(part.words)
        return torch.cat([attended[: len(attended) - len(told)], blend])


def mean_along(mask: Tensor, length: int) -> Tensor:
    """The means of a mask (1, 1, h, w) over a layer's positions, (1, 1, length, 1), so that shares add up still."""
    return F.adaptive_avg_pool2d(mask.float(), grid_of(mask, length)).reshape(1, 1, length, 1)


def grid_of(mask: Tensor, length: int) -> tuple[int, int]:
    """Rows and columns of a layer with so many positions, in the mask's aspect."""
    rows = max(1, round((length * mask.shape[2] / mask.shape[3]) ** 0.5))
    while length % rows:
        rows -= 1
    return rows, length // rows

"""The eye of the evaluation: pictures and words as directions, by any CLIP of transformers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from studio.control.fitting import fitted
from studio.engine.conditions import MEAN, SPREAD, to_unit_range

Values = NDArray[np.float64]
Picture = NDArray[np.uint8]
AT_ONCE = 32


class See(Protocol):
    """Whatever reads pictures and words. Both give rows of length one, (N, D); words are None where it reads none."""

    def pictures(self, images: Sequence[Picture]) -> Values:
        """What it sees in 8-bit RGB pictures, (H, W, 3) each, of any sizes: their middle squares."""
        ...

    def words(self, texts: Sequence[str]) -> Values | None:
        """What it reads."""
        ...


@dataclass(frozen=True)
class Sight:
    """A CLIP, and its tokenizer if it knows words."""

    clip: Any
    tokenizer: Any = None

    @torch.no_grad()
    def pictures(self, images: Sequence[Picture]) -> Values:
        """As `See` says."""
        rows = [self._looked(images[start : start + AT_ONCE]) for start in range(0, len(images), AT_ONCE)]
        return _directions(torch.cat(rows))

    @torch.no_grad()
    def words(self, texts: Sequence[str]) -> Values | None:
        """As `See` says."""
        if self.tokenizer is None:
            return None
        ids = self.tokenizer(
            list(texts),
            padding="max_length",
            max_length=self.clip.config.text_config.max_position_embeddings,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        return _directions(self.clip.text_projection(self.clip.text_model(input_ids=ids).pooler_output))

    def _looked(self, images: Sequence[Picture]) -> Tensor:
        side = self.clip.config.vision_config.image_size
        squares = [to_unit_range(fitted(Image.fromarray(one), (side, side), "crop")) for one in images]
        mean, spread = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, SPREAD))
        return self.clip.visual_projection(
            self.clip.vision_model(pixel_values=(torch.cat(squares) - mean) / spread).pooler_output
        )


def open_sight(folder: Path, tokenizer: Path | None = None) -> Sight:
    """The CLIP of a folder, in fp32 on the CPU.

    tokenizer: The folder of its words; without one, the CLIP's own folder, or that of the pipeline beside it.
    """
    from transformers import CLIPModel, CLIPTokenizer

    clip = CLIPModel.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval().requires_grad_(False)
    places = [tokenizer] if tokenizer else [folder, *sorted(folder.parent.glob("*/tokenizer"))]
    words = next((place for place in places if (place / "tokenizer.json").exists()), None)
    return Sight(clip, CLIPTokenizer.from_pretrained(words, local_files_only=True) if words else None)


def _directions(rows: Tensor) -> Values:
    return F.normalize(rows.double(), dim=1).numpy()

"""The reference: whether pictures become like the one that is shown, and keep to the words."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import studio.engine  # noqa: F401  (before diffusers)

# isort: split
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPModel

from studio.bench.control.shares import measured
from studio.bench.control.sheet import Strip
from studio.bench.control.suite import Look, Trial, kept_figures, say
from studio.bench.figures import Figure
from studio.control.ip_adapter import IPAdapter
from studio.engine.units.unit import Setting
from studio.starter.clip import pixels
from studio.starter.obedience import EachItsPicture, Values
from studio.starter.render import Bytes
from studio.starter.text import tokenize

REFERENCE, BEGINNING = "reference of other words", 0.5  # the weight that the page begins with


@dataclass(frozen=True)
class Likeness:
    """The pack's CLIP. tokenizer: the checkpoint's."""

    clip: Any
    tokenizer: Any

    @torch.no_grad()
    def features(self, images: Bytes) -> Tensor:
        """What it makes of pictures, (N, D), as the IP-Adapter takes them."""
        seen = self.clip.vision_model(pixel_values=pixels(images)).pooler_output
        return self.clip.visual_projection(seen)

    def pictures(self, images: Bytes, others: Bytes) -> Values:
        """Cosine of each picture with its other, (N,)."""
        return F.cosine_similarity(self.features(images), self.features(others)).double().numpy()

    @torch.no_grad()
    def words(self, images: Bytes, captions: list[str]) -> Values:
        """Cosine of each picture with its caption, (N,)."""
        said = self.clip.text_model(input_ids=tokenize(self.tokenizer, captions)).pooler_output
        return F.cosine_similarity(self.features(images), self.clip.text_projection(said)).double().numpy()


def reference_figures(trial: Trial) -> dict[str, Figure]:
    """The next scene's picture beside a scene's words, at the strength that the page begins with and at full strength;
    and for information the scene's own picture, which the words tell of already.
    """
    sitting, likeness = trial.sitting, open_likeness(trial.pack, trial.painter.pipeline.tokenizer)
    adapter = IPAdapter.from_state(
        {name: tensor.float() for name, tensor in load_file(trial.pack / "ip-adapter" / "model.safetensors").items()}
    )
    true = sitting.exam.images
    other, captions = np.roll(true, -1, 0), sitting.exam.captions
    figures: dict[str, Figure] = {}
    for title, pictures, scale in (
        (REFERENCE, other, BEGINNING),
        ("reference of other words at full strength", other, 1.0),
        ("reference of the same words at full strength", true, 1.0),
    ):
        say(title)
        on = show(trial, adapter, likeness.features(pictures), scale)
        words = [likeness.words(look.images, captions) for look in (sitting.off, on)]
        change = measured(words[1] - words[0], "cosine")
        held = {
            f"{title}: likeness to the words, on - off": replace(change, bar=-2 * (change.error or 0), better="higher")
        }
        found = (
            likeness_figures(title, likeness, pictures, (sitting.off, on)) | held | kept_figures(title, sitting.off, on)
        )
        if title == REFERENCE:
            trial.strips.append(strip(likeness, other, sitting.off, on))
        else:
            found = {name: replace(figure, bar=None) for name, figure in found.items()}
        figures |= found
    return figures


def show(trial: Trial, adapter: IPAdapter, features: Tensor, scale: float = 1.0) -> Look:
    """The exam's pictures, each shown another picture beside its words. features: (N, D), of those."""
    made = partial(EachItsPicture, adapter)
    return trial.paint(trial.sitting, lambda rows: [made(features[list(rows)], Setting(scale=scale))])


def likeness_figures(title: str, likeness: Likeness, pictures: Bytes, looks: tuple[Look, Look]) -> dict[str, Figure]:
    """How like the reference pictures are, off and on; clearly more with it than without."""
    off, on = (likeness.pictures(look.images, pictures) for look in looks)
    change = measured(on - off, "cosine")
    return {
        f"{title}: likeness, on - off": replace(change, bar=2 * (change.error or 0), better="higher"),
        f"{title}: likeness, off": measured(off, "cosine"),
        f"{title}: likeness, on": measured(on, "cosine"),
    }


def strip(likeness: Likeness, shown: Bytes, off: Look, on: Look) -> Strip:
    """The row of the sheet, with numbers in place of what is seen."""
    few = slice(0, Strip.SCENES)
    pairs = [likeness.pictures(look.images[few], shown[few]) for look in (off, on)]
    notes = [f"likeness\n{before:.2f} to {after:.2f}" for before, after in zip(*pairs, strict=True)]
    return Strip("reference", shown, off.images, on.images, notes=notes)


def open_likeness(pack: Path, tokenizer: Any) -> Likeness:
    """The pack's CLIP, in fp32."""
    clip = CLIPModel.from_pretrained(pack / "clip", dtype=torch.float32, local_files_only=True).eval()
    return Likeness(clip, tokenizer)

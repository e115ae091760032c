"""What sample pictures of a control model follow, and how well they do: held-out maps with their words, or pictures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from studio.library.control_kinds import REFERENCE
from studio.params import ControlUnit
from studio.training.data.batches import Batches
from studio.training.evaluation.sight import Picture
from studio.training.methods.controls import LIVE
from studio.training.workplace import CLIP_ID, Workplace
from studio.training_params import CONTROL_METHODS

SHOWN, SCORED = 4, 8  # pictures of each round of samples, and of each score
COARSE = 16  # squares a side in which two maps are compared
Agree = Callable[[Sequence[Image.Image], Sequence[Image.Image]], float]


@dataclass(frozen=True)
class Guide:
    """Images that pictures shall follow, by number, around and around.

    Fields:
        kind: Of control. images: RGB. words: what is asked with each of them.
        agree: How well pictures agree with images that they were to follow, -1 to 1, where 1 is exact; None where
            nothing here can see that.
        encoder: The content id of the image encoder that an IP-Adapter reads by; "" for others.
    """

    kind: str
    images: Sequence[Image.Image]
    words: Sequence[str]
    agree: Agree | None
    encoder: str = ""

    @property
    def shown(self) -> tuple[str, ...]:
        """What samples are asked where nobody said otherwise."""
        return tuple(self.words[:SHOWN])

    def image(self, number: int) -> Image.Image:
        """The one that sample `number` follows."""
        return self.images[number % len(self.images)]

    def given(self, number: int) -> Mapping[str, Any]:
        """The fields of a request that let sample `number` follow its image."""
        unit = ControlUnit(
            kind=self.kind,
            map=name_of(number % len(self.images)),
            model="learning",
            model_id=LIVE,
            encoder_id=self.encoder,
        )
        return {"controls": (unit,)}

    def obedience(self, made: Sequence[Picture]) -> float | None:
        """How well the first pictures follow the images that they were asked to."""
        if self.agree is None or not made:
            return None
        return self.agree([Image.fromarray(picture) for picture in made], [self.image(i) for i in range(len(made))])


def open_guide(work: Workplace, data: Batches) -> Guide | None:
    """The guide of a control model's run, with its images lent to the engine; None for other methods.

    What was held out comes first. Maps come with the captions of their pictures; a picture without any words, since
    its own caption would say all of it.
    """
    params = work.params
    if params.method not in CONTROL_METHODS:
        return None
    if params.method == "ip_adapter":
        assert data.sources.see is not None, "an IP-Adapter is not begun without"
        pictures = [Image.fromarray(one) for one in data.images(SCORED, held_first=True)]
        made = Guide(REFERENCE, pictures, [""] * len(pictures), partial(likeness, data.sources.see), CLIP_ID)
    else:
        rows = [
            (_image(drawn), words)
            for batch in (*data.held_out(), *data.shown(SCORED))
            if batch.maps is not None
            for drawn, words in zip(batch.maps, batch.captions, strict=True)
        ][:SCORED]
        agree = None if work.annotate is None else partial(followed, work.annotate)
        made = Guide(params.control_kind, [drawn for drawn, _ in rows], [words for _, words in rows], agree)
    work.images.update({name_of(number): image for number, image in enumerate(made.images)})
    return made


def name_of(number: int) -> str:
    """What the engine asks for an image by, as for an asset."""
    return f"{number:064x}"


def followed(
    annotate: Callable[[Image.Image], Image.Image], made: Sequence[Image.Image], maps: Sequence[Image.Image]
) -> float:
    """The mean agreement of maps with those that are drawn of the pictures."""
    return float(np.mean([agreement(annotate(one), other) for one, other in zip(made, maps, strict=True)]))


@torch.no_grad()
def likeness(
    see: Callable[[Image.Image], Tensor], made: Sequence[Image.Image], pictures: Sequence[Image.Image]
) -> float:
    """The mean cosine of what an image encoder sees in pictures and in those that they were to be like."""
    pairs = [
        (see(one).flatten().float(), see(other).flatten().float()) for one, other in zip(made, pictures, strict=True)
    ]
    return float(np.mean([functional.cosine_similarity(*pair, dim=0).item() for pair in pairs]))


def agreement(one: Image.Image, other: Image.Image) -> float:
    """The correlation of two maps, -1 to 1, seen coarsely, so that a line that lies a pixel beside its place counts; 1
    for two that are each of one colour."""
    rows = [np.asarray(image.convert("L"), np.float64) for image in (one, other)]
    coarse = [cv2.resize(row, (COARSE, COARSE), interpolation=cv2.INTER_AREA) for row in rows]
    first, second = (row - row.mean() for row in coarse)
    size = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / size if size > 1e-9 else float(np.allclose(first, second))


def _image(values: Tensor) -> Image.Image:
    return Image.fromarray((values.permute(1, 2, 0) * 255).round().byte().numpy())

"""What sample pictures of a control model are guided by, and how well they obey: held-out maps, or shown pictures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from PIL import Image
from torch import Tensor

from studio.library.control_kinds import REFERENCE
from studio.params import ControlUnit
from studio.training.data.batches import Batches
from studio.training.evaluation.sight import Picture
from studio.training.methods.controls import LIVE
from studio.training.workplace import CLIP_ID, Workplace
from studio.training_params import CONTROL_METHODS

MOST = 4
COARSE = 16  # squares a side in which two maps are compared


@dataclass
class Guide:
    """Images that pictures shall follow, by number, around and around.

    Fields:
        kind: Of control. images: RGB. annotate: Draws the map of what was made; None for an IP-Adapter.
        encoder: The content id of the image encoder that an IP-Adapter reads by; "" for others.
    """

    kind: str
    images: Sequence[Image.Image]
    annotate: Callable[[Image.Image], Image.Image] | None
    encoder: str = ""

    def given(self, number: int) -> Mapping[str, Any]:
        """The fields of a request that let sample `number` follow its image."""
        unit = ControlUnit(
            kind=self.kind, map=self._name(number), model="learning", model_id=LIVE, encoder_id=self.encoder
        )
        return {"controls": (unit,)}

    def obedience(self, made: Sequence[Picture]) -> float | None:
        """How well the maps of pictures agree with those that were asked for: mean correlation, -1 to 1; 1 is exact.

        Coarse, so that a line that lies a pixel beside its place counts. None where nothing draws maps.
        """
        if self.annotate is None or not made:
            return None
        drawn = [self.annotate(Image.fromarray(picture)) for picture in made]
        asked = [self.images[number % len(self.images)] for number in range(len(made))]
        return float(np.mean([agreement(one, other) for one, other in zip(drawn, asked, strict=True)]))

    def _name(self, number: int) -> str:
        return name_of(number % len(self.images))


def open_guide(work: Workplace, data: Batches) -> Guide | None:
    """The guide of a control model's run, with its images lent to the engine; None for other methods."""
    params = work.params
    if params.method not in CONTROL_METHODS:
        return None
    if params.method == "ip_adapter":
        made = Guide(REFERENCE, [Image.fromarray(one) for one in data.images(MOST)], None, CLIP_ID)
    else:
        batches = [*data.held_out(), *data.shown(MOST)]
        maps = [row for batch in batches if batch.maps is not None for row in batch.maps][:MOST]
        made = Guide(params.control_kind, [_image(one) for one in maps], work.annotate)
    work.images.update({name_of(number): image for number, image in enumerate(made.images)})
    return made


def name_of(number: int) -> str:
    """What the engine asks for an image by, as for an asset."""
    return f"{number:064x}"


def agreement(one: Image.Image, other: Image.Image) -> float:
    """The correlation of two maps, -1 to 1, seen coarsely; 1 for two that are each of one colour."""
    rows = [np.asarray(image.convert("L"), np.float64) for image in (one, other)]
    coarse = [cv2.resize(row, (COARSE, COARSE), interpolation=cv2.INTER_AREA) for row in rows]
    first, second = (row - row.mean() for row in coarse)
    size = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / size if size > 1e-9 else float(np.allclose(first, second))


def _image(values: Tensor) -> Image.Image:
    return Image.fromarray((values.permute(1, 2, 0) * 255).round().byte().numpy())

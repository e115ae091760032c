"""The batches of a run: any of them at any time, from its number alone."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from PIL.Image import Resampling
from torch import Tensor

from studio.datasets.buckets import Size, cut, filled
from studio.datasets.folder import content_of, on_white, open_mask, open_picture
from studio.engine import decoding
from studio.errors import InvalidRequestError
from studio.training.batch import Batch
from studio.training.data.cache import TensorCache
from studio.training.data.class_pictures import ClassPictures, Make
from studio.training.data.cutting import View, to_bytes, to_values
from studio.training.data.maps import SIDED, Annotate, map_of
from studio.training.data.order import PLACES, Chance, Order
from studio.training.data.shots import Shot, caption_of, read_shots
from studio.training_params import CONTROL_METHODS, TrainingParams

Tell = Callable[[str, int, int], None]  # (phase, done, total)
ANNOTATED = ("controlnet", "t2i_adapter")


class Autoencoder(Protocol):
    """What of a checkpoint is used: studio.engine.store.Checkpoint has it."""

    vae_key: str

    @property
    def vae(self) -> torch.nn.Module: ...


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What batches are made with.

    Fields:
        cache: A folder that may be deleted at any time.
        class_pictures: Where pictures of the class are kept; make: makes one of a prompt and a seed.
        annotate: Draws the control map of a picture, as `maps.annotator` gives it; None where maps lie beside all.
        see: What an image encoder says of an RGB picture, (D,); encoder: its content id, which its answers go by.
        tell: Hears how far the caches are.
    """

    cache: Path
    class_pictures: Path | None = None
    make: Make | None = None
    annotate: Annotate | None = None
    see: Callable[[Image.Image], Tensor] | None = None
    encoder: str = ""
    tell: Tell = lambda _phase, _done, _total: None


class Batches:
    """A dataset as studio.training.batch.Data: two of them with the same settings give the same batches, bit for bit.

    The rows of a batch share one size. With prior preservation each batch has as many rows more, of pictures of the
    class, cut to that size.

    Args:
        folder: The dataset.
    Raises: InvalidRequestError, naming the field, if there is nothing to learn from.
    """

    def __init__(self, params: TrainingParams, folder: Path, checkpoint: Autoencoder, sources: Sources) -> None:
        self.params, self.vae, self.sources = params, checkpoint.vae, sources
        self.cache = TensorCache(sources.cache / "tensors")
        self._vae_key = (checkpoint.vae_key, str(self.vae.dtype))
        shots = read_shots(params, folder, sources.cache)
        self.pictures, self.held, self.skipped = shots.train, shots.held, shots.skipped
        self._buckets = self._grouped(self.pictures)
        self.order = Order(params, [len(group) for group in self._buckets])
        self.classes = self._classes() if params.prior_preservation else None
        self._class_shots: tuple[Shot, ...] = ()
        self._check()

    # ---- what a run asks

    def at(self, index: int) -> Batch:
        """The batch of this number, from 0 on without end."""
        bucket, places = self.order.batch(index)
        shots = [self._buckets[bucket][place] for place in places]
        chances = self.order.chances(index)
        views = [self._view(shot, chance) for shot, chance in zip(shots, chances, strict=True)]
        batch = self._batch(shots, views)
        captions = ["" if chance.wordless else one for one, chance in zip(batch.captions, chances, strict=True)]
        if batch.features is not None:
            blind = torch.tensor([chance.blind for chance in chances])
            batch = replace(batch, features=batch.features.masked_fill(blind[:, None], 0.0))
        return self._with_class(replace(batch, captions=tuple(captions)), index)

    def shown(self, count: int) -> list[Batch]:
        """The first `count` training pictures or all, as they are: none dropped, mirrored or of the class."""
        return list(self._plain(self.pictures[:count]))

    def held_out(self) -> list[Batch]:
        """The pictures that are kept for measuring."""
        return list(self._plain(self.held))

    def images(self, count: int, *, held_first: bool = False) -> list[np.ndarray]:
        """The first `count` training pictures or all as they are learned, 8-bit RGB, (H, W, 3).

        held_first: Those that are kept for measuring before them.
        """
        shots = [*(self.held if held_first else ()), *self.pictures][:count]
        return [np.asarray(self._image(shot, self._view(shot))) for shot in shots]

    def captions(self) -> tuple[str, ...]:
        """All that its batches may say, each once."""
        said = [caption_of(shot, self.params) for shot in (*self.pictures, *self.held)]
        said += [shot.caption or "" for shot in self._shots_of_class()]
        return tuple(dict.fromkeys([*said, ""] if self.params.caption_dropout else said))

    def prepare(self) -> None:
        """Make the class pictures and fill the caches, telling how far it is; without this, both are done when needed.

        Raises: StorageError, if the disk is full.
        """
        self._shots_of_class()
        wanted = [(shot, view) for shot in self.pictures for view in self._views(shot)]
        wanted += [(shot, self._view(shot)) for shot in (*self.pictures, *self.held)]
        wanted = list(dict.fromkeys(wanted))
        for done, (shot, view) in enumerate(wanted):
            self.sources.tell("caching", done, len(wanted))
            self._batch([shot], [view])
        self.sources.tell("caching", len(wanted), len(wanted))

    def latents(self, shot: Shot, view: View) -> Tensor:
        """(C, h, w), scaled, fp32, of what is seen of a picture: from the disk, or encoded and kept there."""
        key = ("latents", self._vae_key, shot.content, view)
        return self.cache.tensor(key, lambda: self._encoded(shot, view))

    # ---- how a picture is seen

    def _view(self, shot: Shot, chance: Chance | None = None) -> View:
        place, flip = (chance.place, chance.flip) if chance else (0.5, False)
        return View(cut(shot.size, self.params.resolution, self.params.crop, place), flip)

    def _views(self, shot: Shot) -> Iterator[View]:
        """Every way in which a run may see it."""
        places = [number / (PLACES - 1) for number in range(PLACES)] if self.params.crop == "random" else [0.5]
        for flip in (False, True) if self.params.flip else (False,):
            for place in places:
                yield self._view(shot, Chance(flip, place, False, False))

    def _grouped(self, shots: Sequence[Shot]) -> list[list[Shot]]:
        """The pictures of each bucket, in the order of the buckets; every picture is in one."""
        groups = defaultdict[Size, list[Shot]](list)
        for shot in shots:
            groups[self._view(shot).cut.size].append(shot)
        return [groups[size] for size in sorted(groups)]

    # ---- rows

    def _plain(self, shots: Sequence[Shot]) -> Iterator[Batch]:
        for group in self._grouped(shots):
            yield self._batch(group, [self._view(shot) for shot in group])

    def _batch(self, shots: Sequence[Shot], views: Sequence[View]) -> Batch:
        pairs = list(zip(shots, views, strict=True))
        annotated, sees = self.params.method in ANNOTATED, self.params.method == "ip_adapter"
        return Batch(
            latents=torch.stack([self.latents(*pair) for pair in pairs]),
            captions=tuple(caption_of(shot, self.params) for shot in shots),
            sizes=torch.tensor([view.sizes(shot.size) for shot, view in pairs], dtype=torch.float32),
            mask=torch.stack([self._mask(*pair) for pair in pairs]) if self.params.masked else None,
            maps=torch.stack([self._map(*pair) for pair in pairs]) if annotated else None,
            features=torch.stack([self._features(shot) for shot in shots]) if sees else None,
            pictures=tuple(shot.name for shot in shots),
        )

    def _image(self, shot: Shot, view: View) -> Image.Image:
        return view.seen(on_white(open_picture(shot.picture.path)), Resampling.LANCZOS)

    @torch.no_grad()
    def _encoded(self, shot: Shot, view: View) -> Tensor:
        pixels = to_values(self._image(shot, view))[None] * 2 - 1
        return decoding.encode(self.vae, pixels, warnings=[])[0]

    def _mask(self, shot: Shot, view: View) -> Tensor:
        """(1, h, w), 0 to 1: the mean of the mask over each latent; ones where there is none."""
        factor = decoding.factor_of(self.vae)
        size = (view.cut.size[0] // factor, view.cut.size[1] // factor)

        def make() -> Tensor:
            mask = open_mask(shot.picture, open_picture(shot.picture.path))
            return torch.ones(1, *size[::-1]) if mask is None else to_values(view.seen(mask, Resampling.BOX, size))

        return self.cache.tensor(("mask", shot.content, shot.mask, factor, view), make)

    def _map(self, shot: Shot, view: View) -> Tensor:
        """(3, H, W), 0 to 1; kept as bytes."""
        how = shot.map or (self.params.annotator, self.params.control_kind)

        def make() -> Tensor:
            return to_bytes(map_of(shot, view, self.params.control_kind, self.sources.annotate))

        return self.cache.tensor(("map", shot.content, how, view), make).float() / 255

    def _features(self, shot: Shot) -> Tensor:
        see = self.sources.see
        assert see is not None, "_check asks for it"
        key = ("features", self.sources.encoder, shot.content)
        return self.cache.tensor(key, lambda: see(on_white(open_picture(shot.picture.path))).float().reshape(-1))

    # ---- the class

    def _classes(self) -> ClassPictures:
        if self.sources.class_pictures is None:
            raise ValueError("prior preservation needs a folder for pictures of the class")
        return ClassPictures(self.params, self.sources.class_pictures)

    def _shots_of_class(self) -> tuple[Shot, ...]:
        """The pictures of the class, made if they are not there."""
        if self.classes is None or self._class_shots:
            return self._class_shots
        if self.classes.missing():
            if self.sources.make is None:
                raise ValueError("pictures of the class are missing, and nothing makes them")
            self.classes.make(self.sources.make, lambda done, of: self.sources.tell("class_pictures", done, of))
        self._class_shots = tuple(
            Shot(one, content_of(one.path), open_picture(one.path).size, self.classes.asked(seed))
            for seed, one in enumerate(self.classes.pictures())
        )
        return self._class_shots

    def _with_class(self, batch: Batch, index: int) -> Batch:
        """The batch, and as many rows more of the class."""
        shots = self._shots_of_class()
        if not shots:
            return batch
        chosen = [shots[row] for row in self.order.class_rows(index, len(shots))]
        size = self._pixels(batch)
        views = [View(filled(shot.size, size)) for shot in chosen]
        rows = [self.latents(shot, view) for shot, view in zip(chosen, views, strict=True)]
        sizes = [view.sizes(shot.size) for shot, view in zip(chosen, views, strict=True)]
        own, more = len(batch.latents), len(chosen)
        mask = None if batch.mask is None else torch.cat([batch.mask, torch.ones(more, *batch.mask.shape[1:])])
        return replace(
            batch,
            latents=torch.cat([batch.latents, torch.stack(rows)]),
            captions=(*batch.captions, *(shot.caption or "" for shot in chosen)),
            sizes=torch.cat([batch.sizes, torch.tensor(sizes, dtype=torch.float32)]),
            mask=mask,
            prior=torch.tensor([False] * own + [True] * more),
            pictures=(*batch.pictures, *(shot.name for shot in chosen)),
        )

    def _pixels(self, batch: Batch) -> Size:
        factor = decoding.factor_of(self.vae)
        return batch.latents.shape[3] * factor, batch.latents.shape[2] * factor

    # ---- before the start

    def _check(self) -> None:
        """Raises: InvalidRequestError, for a method that lacks what it is taught with."""
        if self.params.method not in CONTROL_METHODS:
            return
        bare = [shot.name for shot in (*self.pictures, *self.held) if shot.picture.map is None]
        if self.params.method in ANNOTATED and bare and self.sources.annotate is None:
            raise InvalidRequestError(
                f"{len(bare)} pictures have no map beside them, {bare[0][:80]} first.",
                field="annotator",
                hint="Choose what draws the maps, or put one beside each picture, called NAME-map.png.",
            )
        kind = self.params.control_kind
        if self.params.flip and kind in SIDED and any(shot.picture.map for shot in self.pictures):
            raise InvalidRequestError(
                f"Maps of the kind {kind} tell left from right, so the given ones cannot be mirrored.",
                field="flip",
                hint="Turn mirroring off.",
            )
        if self.params.method == "ip_adapter" and self.sources.see is None:
            raise InvalidRequestError(
                "An IP-Adapter learns from an image encoder, and there is none here.",
                field="method",
                hint="Download a CLIP image encoder under Models, or choose another method.",
            )

"""What a run works with: the engine on one device, the checkpoint that learns, its data, and what looks at pictures."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from studio.control.weights import Weights
from studio.engine.conditions import see
from studio.engine.generate import Engine
from studio.engine.probe import measured
from studio.engine.skeletons import TEXT_MODELS
from studio.engine.store import Checkpoint, Store
from studio.errors import AssetError, InvalidRequestError
from studio.library.annotators import AnnotatorFiles
from studio.messages import ModelLocation
from studio.params import GenerationParams
from studio.registry import Registry, load_registry
from studio.training import ranks
from studio.training.data.batches import Batches, Sources, Tell
from studio.training.data.maps import annotator
from studio.training_params import TrainingParams

UNET = "UNet2DConditionModel"
ANNOTATED = ("controlnet", "t2i_adapter")
SAMPLE_STEPS = 20
CLIP_ID = "starter-clip"


@dataclass(frozen=True)
class Order:
    """What the studio asks.

    Fields:
        folder: Of the run. params: what is learned, and how.
        models: Every model that is named, by content id.
        dataset, cache, class_pictures: Folders. pack: the starter's CLIP, "" where there is none.
        device: As in the settings. extensions, annotators: folders.
    """

    folder: Path
    params: TrainingParams
    models: Mapping[str, ModelLocation]
    dataset: Path
    cache: Path
    class_pictures: Path
    pack: str = ""
    device: str = "auto"
    extensions: tuple[str, ...] = ()
    annotators: tuple[str, ...] = ()

    @classmethod
    def read(cls, folder: Path) -> "Order":
        """The order of a run's folder. Raises: InvalidRequestError, if it is damaged."""
        try:
            params = TrainingParams.from_dict(json.loads((folder / "params.json").read_bytes()))
            said: dict[str, Any] = json.loads((folder / "order.json").read_bytes())
            models = {name: ModelLocation(**place) for name, place in said["models"].items()}
            folders = {name: Path(said[name]) for name in ("dataset", "cache", "class_pictures")}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InvalidRequestError(f"The run in {folder} cannot be read: {error}.", field="folder") from error
        more = {name: tuple(said.get(name, ())) for name in ("extensions", "annotators")}
        return cls(folder, params, models, **folders, pack=said.get("pack", ""), device=said["device"], **more)


def exact_parts(params: TrainingParams) -> frozenset[str]:
    """The classes of the checkpoint's parts that learn themselves, which is done in fp32; all others are in the
    precision of the run."""
    whole = params.method == "dreambooth"
    unet = whole or (params.method == "controlnet" and params.unlocked_decoder)
    return frozenset(((UNET,) if unet else ()) + (TEXT_MODELS if whole and params.train_text_encoder else ()))


class Workplace:
    """Loads the checkpoint, as the generation process does. Raises: StudioError, if that is not possible."""

    def __init__(self, order: Order) -> None:
        self.order, self.params = order, order.params
        device = ranks.own_device(order.device)
        if device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ and ranks.WORLD == 1:
            torch.set_num_threads(os.cpu_count() or 1)
        precision, kernel = ranks.in_turn(lambda: measured(self.params.precision, device, order.cache))
        self.images = dict[str, Image.Image]()  # what requests name as assets
        self.store = Store(device, precision.dtype, kernel.name, exact_parts(self.params))
        self.registry: Registry = load_registry([Path(folder) for folder in order.extensions])
        self.engine = Engine(store=self.store, schedulers=self.registry.schedulers, load_image=self.load_image)
        self.annotate = self._annotator()
        self.checkpoint: Checkpoint = self.store.checkpoint(order.models[self.params.checkpoint_id])

    @property
    def clip(self) -> ModelLocation:
        """The image encoder of the starter."""
        return ModelLocation("clip", CLIP_ID, self.order.pack, "image_encoder", self.params.base)

    def template(self, seed: int) -> GenerationParams:
        """A request with the checkpoint's own defaults."""
        location = self.checkpoint.location
        card = location.card
        side = self.params.resolution
        return GenerationParams(
            prompt="",
            checkpoint=location.name,
            checkpoint_id=location.id,
            width=side,
            height=side,
            num_inference_steps=min(SAMPLE_STEPS, int(card.get("num_inference_steps", SAMPLE_STEPS))),
            guidance_scale=float(card.get("guidance_scale", 7.0)),
            scheduler=str(card.get("scheduler", "dpmpp_2m")),
            timestep_spacing=str(card.get("timestep_spacing", "leading")),
            prediction_type=str(card.get("prediction_type", "epsilon")),
            clip_skip=int(card.get("clip_skip", 0)),
            seed=seed,
        )

    def load_image(self, asset_id: str) -> Image.Image:
        """An image that a request names. Raises: AssetError."""
        if asset_id not in self.images:
            raise AssetError(f"A training has no picture {asset_id[:12]}.")
        return self.images[asset_id]

    def paint(self, wanted: GenerationParams) -> Image.Image:
        """Make one picture with the modules as they are."""
        made = Image.fromarray(self.engine.generate(wanted, self.order.models).pictures[0])
        self.checkpoint.prompts.cache.clear()  # what was made in inference mode cannot be learned from
        return made

    def batches(self, tell: Tell) -> Batches:
        """The data of the run. Raises: InvalidRequestError, if there is nothing to learn from."""

        def make(prompt: str, seed: int) -> Image.Image:
            return self.paint(replace(self.template(seed), prompt=prompt))

        sources = Sources(
            cache=self.order.cache / "training",
            class_pictures=self.order.class_pictures,
            make=make,
            annotate=self.annotate,
            see=self._see(),
            encoder=self._encoder() if self.order.pack else "",
            tell=tell,
        )
        return Batches(self.params, self.order.dataset, self.checkpoint, sources)

    def _annotator(self) -> Callable[[Image.Image], Image.Image] | None:
        if self.params.method not in ANNOTATED:
            return None
        files = AnnotatorFiles(tuple(map(Path, self.order.annotators)))
        return annotator(self.params, self.registry, Weights(files, str(self.store.device)))

    def _encoder(self) -> str:
        """What the image encoder's answers go by: in half precision they are others."""
        return CLIP_ID if self.store.dtype == torch.float32 else f"{CLIP_ID} {self.params.precision}"

    def _see(self) -> Callable[[Image.Image], Tensor] | None:
        if self.params.method != "ip_adapter" or not self.order.pack:
            return None

        def look(image: Image.Image) -> Tensor:
            return see(self.store.control(self.clip), image, hidden=False).cpu().clone()

        return look

"""From what was asked to units: models loaded, maps fitted to the picture, references seen by their encoder."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from studio.control.fitting import fitted
from studio.control.ip_adapter import IPAdapter
from studio.engine import decoding
from studio.engine.prompt import Told
from studio.engine.small import hypernetworks_of
from studio.engine.store import Checkpoint, Store
from studio.engine.units.controlnet import ControlNetUnit
from studio.engine.units.ip_adapter import IPAdapterUnit
from studio.engine.units.reference import ReferenceUnit
from studio.engine.units.region import Region, RegionsUnit
from studio.engine.units.t2i_adapter import T2IAdapterUnit
from studio.engine.units.unit import Setting, Unit
from studio.inpainting import Window, on_black
from studio.library.control_kinds import REFERENCE_ONLY, REGIONS
from studio.messages import ModelLocation
from studio.params import ControlUnit, GenerationParams
from studio.regions import masks

LoadImage = Callable[[str], Image.Image]
REMEMBERED = 32
MEAN, SPREAD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # of OpenAI's CLIP
FIRST_NOISE = 0


@dataclass
class Conditions:
    """Makes units. features: what image encoders said of pictures, by encoder, kind and picture; the last ones."""

    store: Store
    load_image: LoadImage
    features: OrderedDict[tuple[str, bool, str], Tensor] = field(default_factory=OrderedDict[Any, Tensor])

    def units(self, params: GenerationParams, models: Mapping[str, ModelLocation], window: Window) -> list[Unit]:
        """A unit for each control that is on and has a model; of maps and masks it sees what is in the window.

        Raises: ModelNotFoundError, if one cannot be loaded.
        """
        return [self._unit(control, models, window) for control in _on(params) if control.model_id]

    def references(
        self, params: GenerationParams, checkpoint: Checkpoint, window: Window, *, tiled: bool
    ) -> list[Unit]:
        """A unit for each picture that the checkpoint reads itself; the autoencoder sees them whole."""
        made: list[Unit] = []
        for control in _on(params):
            if control.kind == REFERENCE_ONLY:
                reference = fitted(self.load_image(control.map), window.size, control.resize_mode)
                shown = to_unit_range(reference) * 2 - 1
                latents = decoding.encode(checkpoint.vae, shown, tiled=tiled, warnings=[])
                noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(FIRST_NOISE))
                unit = ReferenceUnit(latents, noise.to(latents), self._setting(control, window), control.fidelity)
                made.append(unit)
        return made

    def regions(self, params: GenerationParams, window: Window, encode: Callable[[str], Told]) -> list[RegionsUnit]:
        """A unit for regions that say something somewhere. encode: Gives what words say at each step."""
        made: list[RegionsUnit] = []
        for control in _on(params):
            if control.kind != REGIONS:
                continue
            found: list[Region] = []
            for region, mask in zip(control.regions, masks(self._named(control, window), control), strict=True):
                if region.words and region.weight and mask.any():
                    shown = torch.from_numpy(mask)[None, None].to(self.store.device)
                    found.append(Region(encode(region.words), shown, region.weight))
            made += [RegionsUnit(found, self._setting(control, window))] if found else []
        return made

    def _unit(self, control: ControlUnit, models: Mapping[str, ModelLocation], window: Window) -> Unit:
        setting = self._setting(control, window)
        location = models[control.model_id]
        model = self.store.control(location)
        if location.kind == "ip_adapter":
            return self._reference(model, models[control.encoder_id], control, setting)
        shown = self._map(control, window).to(self.store.device)
        if location.kind == "t2i_adapter":
            return T2IAdapterUnit(model, shown, setting)
        return ControlNetUnit(model, shown, setting, control.kind)

    def _setting(self, control: ControlUnit, window: Window) -> Setting:
        mask = None
        if control.mask:
            shown = window.seen(on_black(self.load_image(control.mask)).convert("L").resize(window.whole))
            mask = to_unit_range(shown)[:, :1].to(self.store.device)
        return Setting(
            scale=control.conditioning_scale,
            start=control.control_guidance_start,
            end=control.control_guidance_end,
            mode=control.mode,
            mask=mask,
            name=control.kind,
        )

    def _map(self, control: ControlUnit, window: Window) -> Tensor:
        """(1, 3, H, W), 0 to 1: the map covers the whole picture, and what is in the window is shown."""
        if control.kind == "segments":
            return to_unit_range(self._named(control, window))
        return to_unit_range(window.seen(fitted(self.load_image(control.map), window.whole, control.resize_mode)))

    def _named(self, control: ControlUnit, window: Window) -> Image.Image:
        """What is in the window of a map whose colours are names, which must not mix."""
        nearest = Image.Resampling.NEAREST
        return window.seen(fitted(self.load_image(control.map), window.whole, control.resize_mode, nearest), nearest)

    def _reference(
        self, adapter: IPAdapter, encoder: ModelLocation, control: ControlUnit, setting: Setting
    ) -> IPAdapterUnit:
        shown = [self._features(encoder, adapter, name) for name in (control.map, *control.images)]
        blank = self._features(encoder, adapter, "") if adapter.plus else torch.zeros_like(shown[0])
        return IPAdapterUnit(adapter, torch.cat(shown), blank, setting, control.method)

    def _features(self, encoder: ModelLocation, adapter: IPAdapter, name: str) -> Tensor:
        """What the encoder says of a picture, or of "", which is none: (1, D), or (1, L, D) for the plus kind."""
        key = (encoder.id, adapter.plus, name)
        if key not in self.features:
            picture = self.load_image(name) if name else None
            self.features[key] = see(self.store.control(encoder), picture, hidden=adapter.plus)
        self.features.move_to_end(key)
        while len(self.features) > REMEMBERED:
            self.features.popitem(last=False)
        return self.features[key]


def wanted(params: GenerationParams, models: Mapping[str, ModelLocation]) -> list[ModelLocation]:
    """The models of the controls that are on, and the hypernetworks."""
    names = [name for control in _on(params) for name in (control.model_id, control.encoder_id) if name]
    return [models[name] for name in names] + hypernetworks_of(params, models)


def _on(params: GenerationParams) -> list[ControlUnit]:
    return [control for control in params.controls if control.conditioning_scale]


@torch.inference_mode()
def see(encoder: Any, picture: Image.Image | None, *, hidden: bool) -> Tensor:
    """What a CLIP image encoder makes of a picture, its middle square; None is a picture of zeros after normalisation.

    Returns: (1, D), projected; with `hidden` its last but one hidden states, (1, L, D).
    """
    side, parameter = encoder.config.image_size, next(encoder.parameters())
    pixels = torch.zeros(1, 3, side, side)
    if picture is not None:
        square = to_unit_range(fitted(picture, (side, side), "crop"))
        pixels = (square - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(SPREAD).view(3, 1, 1)
    said = encoder(pixels.to(parameter), output_hidden_states=hidden)
    return said.hidden_states[-2] if hidden else said.image_embeds


def to_unit_range(image: Image.Image) -> Tensor:
    """A picture as (1, 3, H, W), 0 to 1."""
    pixels = np.asarray(image.convert("RGB"), dtype=np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]

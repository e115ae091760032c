"""One generation: params in, pictures out."""

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from studio.engine.denoise import Denoising, Keep, Step
from studio.engine.schedulers import build_scheduler
from studio.engine.store import Checkpoint, Store
from studio.engine.units import ControlNetUnit, Unit, control_map
from studio.hookspecs import SchedulerSpec
from studio.messages import ModelLocation
from studio.params import ControlUnit, GenerationParams

BATCH = 4
LoadImage = Callable[[str], Image.Image]


class CancelledError(Exception):
    """Raised by a callback to end a generation; every model is left as it was."""


@dataclass(frozen=True)
class Watch:
    """What a caller hears. phase(name): loading, encoding, denoising or decoding begins.

    step(step, done, total): after each step, with the steps done of all; the guess is in `step`.
    """

    phase: Callable[[str], None] = field(default=lambda _name: None)
    step: Callable[[Step, int, int, Checkpoint], None] = field(default=lambda _step, _done, _total, _checkpoint: None)


@dataclass(frozen=True)
class Generated:
    """pictures: 8-bit RGB arrays (H, W, 3), one for each seed; seconds by phase; warnings as sentences."""

    pictures: list[np.ndarray]
    seeds: list[int]
    seconds: dict[str, float]
    warnings: list[str]


@dataclass
class _Timer:
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, name: str) -> Generator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


@dataclass(kw_only=True)
class Engine:
    """Generates with what a store holds. schedulers: the registry's rows; models: locations by content id."""

    store: Store
    schedulers: Mapping[str, SchedulerSpec]
    load_image: LoadImage

    @torch.inference_mode()
    def generate(
        self, params: GenerationParams, models: Mapping[str, ModelLocation], watch: Watch | None = None
    ) -> Generated:
        """Make the pictures of `params`.

        Raises: StudioError, for what a person can mend; whatever the watch raises, with the models left as they were.
        """
        watch, timer = watch or Watch(), _Timer()
        watch.phase("loading")
        with timer("load"):
            checkpoint = self.store.checkpoint(models[params.checkpoint_id])
            units = [self._unit(control, models, params) for control in params.controls if control.conditioning_scale]
        watch.phase("encoding")
        with timer("encode"):
            told, untold, warnings = checkpoint.prompts.encode_pair(
                params.prompt, params.negative_prompt, params.clip_skip
            )
            picture = _Given(self, checkpoint, params)
        run = _Run(self, params, checkpoint, units, (told, untold), picture, watch)
        pictures: list[np.ndarray] = []
        seeds = [params.seed + i for i in range(params.count)]
        for start in range(0, params.count, BATCH):
            watch.phase("denoising")
            with timer("denoise"):
                latents = run.denoise(seeds[start : start + BATCH], start)
            watch.phase("decoding")
            with timer("decode"):
                pictures += decode(checkpoint, latents, warnings)
        return Generated(pictures, seeds, timer.seconds, warnings)

    def _unit(self, control: ControlUnit, models: Mapping[str, ModelLocation], params: GenerationParams) -> Unit:
        return ControlNetUnit(
            model=self.store.control(models[control.model_id]),
            map=control_map(to_unit_range(self.load_image(control.map)), params.height, params.width).to(
                self.store.device
            ),
            conditioning_scale=control.conditioning_scale,
            start=control.control_guidance_start,
            end=control.control_guidance_end,
        )


class _Given:
    """The picture to begin with and the mask, as latents; both None for text to image."""

    def __init__(self, engine: Engine, checkpoint: Checkpoint, params: GenerationParams) -> None:
        self.latents: Tensor | None = None
        self.mask: Tensor | None = None
        if params.init_image is None:
            return
        size = (params.width, params.height)
        image = engine.load_image(params.init_image).convert("RGB").resize(size, Image.Resampling.LANCZOS)
        self.latents = encode(checkpoint, to_unit_range(image) * 2 - 1)
        if params.mask_image is not None:
            mask = to_unit_range(engine.load_image(params.mask_image).convert("L").resize(size))[:, :1]
            small = F.interpolate((mask > 0.5).float(), size=self.latents.shape[2:], mode="nearest")
            self.mask = small.to(self.latents)


@dataclass
class _Run:
    """The batches of one generation."""

    engine: Engine
    params: GenerationParams
    checkpoint: Checkpoint
    units: list[Unit]
    embeds: tuple[Tensor, Tensor]
    given: _Given
    watch: Watch

    def denoise(self, seeds: list[int], before: int) -> Tensor:
        """Clean latents for these seeds; `before` pictures are done already."""
        params, device, dtype = self.params, self.engine.store.device, self.checkpoint.unet.dtype
        noise_config = self.checkpoint.noise | {
            "timestep_spacing": params.timestep_spacing,
            "prediction_type": params.prediction_type,
        }
        scheduler = build_scheduler(self.engine.schedulers[params.scheduler], noise_config, sigmas=params.sigmas)
        scheduler.set_timesteps(params.num_inference_steps, device=device)
        timesteps = _last_steps(scheduler, params)
        generators, noise = draw_noise(self.checkpoint, params, seeds)
        noise = noise.to(device)
        latents, keep = self._begin(scheduler, timesteps, noise)
        count, batches = len(timesteps), -(-params.count // BATCH)

        def on_step(step: Step) -> None:
            self.watch.step(step, before // BATCH * count + step.index, batches * count, self.checkpoint)

        guided = params.guidance_scale > 1
        told, untold = (e.to(device, dtype).expand(len(seeds), -1, -1) for e in self.embeds)
        return Denoising(
            unet=self.checkpoint.unet,
            scheduler=scheduler,
            timesteps=timesteps,
            prompt_embeds=told,
            negative_embeds=untold if guided else None,
            guidance_scale=params.guidance_scale,
            generators=generators,
            units=self.units,
            keep=keep,
            on_step=on_step,
        ).run(latents)

    def _begin(self, scheduler: object, timesteps: Tensor, noise: Tensor) -> tuple[Tensor, Keep | None]:
        """The latents to start from, and what inpainting keeps."""
        given, mask = self.given.latents, self.given.mask
        start = noise * scheduler.init_noise_sigma  # type: ignore[attr-defined]
        if given is None:
            return start, None
        given = given.expand(len(noise), -1, -1, -1)
        if mask is None or self.params.strength < 1:
            start = scheduler.add_noise(given, noise, timesteps[:1].repeat(len(noise)))  # type: ignore[attr-defined]
        return start, None if mask is None else Keep(latents=given, mask=mask, noise=noise)


def draw_noise(
    checkpoint: Checkpoint, params: GenerationParams, seeds: list[int]
) -> tuple[list[torch.Generator], Tensor]:
    """The noise of each seed, (N, C, h, w) fp32, drawn on the CPU one by one, so that a batch changes nothing."""
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    height, width = params.height // checkpoint.factor, params.width // checkpoint.factor
    shape = (1, checkpoint.unet.config.in_channels, height, width)
    return generators, torch.cat([torch.randn(shape, generator=g, dtype=torch.float32) for g in generators])


def _last_steps(scheduler: object, params: GenerationParams) -> Tensor:
    """The timesteps that run: the last `strength` of them when there is a picture to begin with."""
    timesteps: Tensor = scheduler.timesteps  # type: ignore[attr-defined]
    if params.init_image is None:
        return timesteps
    steps = params.num_inference_steps
    begin = max(steps - max(1, min(int(steps * params.strength), steps)), 0) * scheduler.order  # type: ignore[attr-defined]
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(begin)
    return timesteps[begin:]


def encode(checkpoint: Checkpoint, picture: Tensor) -> Tensor:
    """A picture (1, 3, H, W), -1 to 1, as scaled latents in fp32: the mode of the posterior, so nothing is drawn."""
    vae = checkpoint.vae
    mode = vae.encode(picture.to(vae.device, vae.dtype)).latent_dist.mode()
    return (mode * vae.config.scaling_factor).float()


def decode(checkpoint: Checkpoint, latents: Tensor, warnings: list[str]) -> list[np.ndarray]:
    """Latents (N, C, h, w) as 8-bit pictures. A half-precision autoencoder that overflows is run again in fp32."""
    vae = checkpoint.vae
    scaled = latents / vae.config.scaling_factor
    pictures = vae.decode(scaled.to(vae.dtype), return_dict=False)[0].float()
    if not torch.isfinite(pictures).all() and vae.dtype != torch.float32:
        warnings.append("The autoencoder overflowed in half precision; its part was done again in fp32.")
        vae.to(torch.float32)
        pictures = vae.decode(scaled.float(), return_dict=False)[0]
    if not torch.isfinite(pictures).all():
        warnings.append("The picture holds values that are no numbers; another scheduler or precision may help.")
        pictures = pictures.nan_to_num(0.0)
    whole = ((pictures.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return list(whole.permute(0, 2, 3, 1).cpu().numpy())


def to_unit_range(image: Image.Image) -> Tensor:
    """A picture as (1, 3, H, W), 0 to 1."""
    pixels = np.asarray(image.convert("RGB"), dtype=np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]

"""One generation: params in, pictures out."""

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from studio.engine import decoding
from studio.engine.conditions import Conditions, LoadImage, to_unit_range, wanted
from studio.engine.denoise import Denoising, Keep, Step
from studio.engine.prompt import Embedding
from studio.engine.residency import is_out_of_memory
from studio.engine.schedulers import build_scheduler
from studio.engine.store import Checkpoint, Store
from studio.engine.turbo import Turbo
from studio.engine.units.controlnet import ControlNetUnit
from studio.engine.units.unit import Unit
from studio.engine.working_sets import RunSize
from studio.hookspecs import SchedulerSpec
from studio.messages import ModelLocation
from studio.params import GenerationParams

BATCH = 4


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
    """Generates with what a store holds. schedulers: the registry's rows; models: locations by content id.

    turbo: Compiles beside the pictures; None runs every block as it is.
    """

    store: Store
    schedulers: Mapping[str, SchedulerSpec]
    load_image: LoadImage
    turbo: Turbo | None = None

    def __post_init__(self) -> None:
        self.conditions = Conditions(self.store, self.load_image)

    @torch.inference_mode()
    def generate(
        self, params: GenerationParams, models: Mapping[str, ModelLocation], watch: Watch | None = None
    ) -> Generated:
        """Make the pictures of `params`.

        Raises: StudioError, for what a person can mend; whatever the watch raises, with the models left as they were.
        """
        watch, warnings, floor = watch or Watch(), list[str](), 0
        while True:
            try:
                return self._generate(params, models, watch, warnings, floor)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                floor = self.store.step_down(size_of_run(params, models), floor)
                warnings.append("There was too little memory at first; it was done again in a way that needs less.")

    def _generate(
        self,
        params: GenerationParams,
        models: Mapping[str, ModelLocation],
        watch: Watch,
        warnings: list[str],
        floor: int,
    ) -> Generated:
        timer = _Timer()
        watch.phase("loading")
        with timer("load"):
            vae = models[params.vae_id] if params.vae_id else None
            checkpoint = self.store.checkpoint(models[params.checkpoint_id], vae)
            units = self.conditions.units(params, models)
            placed = self.store.arrange(size_of_run(params, models), wanted(params, models), floor)
            warnings += [line for line in placed.plan.sentences[:4] if placed.plan.rung]
        watch.phase("encoding")
        with timer("encode"), placed.phase("encode"):
            told, untold, notes = checkpoint.prompts.encode_pair(
                params.prompt, params.negative_prompt, params.clip_skip
            )
        warnings += notes
        seen = any(control.conditioning_scale and not control.model_id for control in params.controls)
        looks = params.init_image is not None or checkpoint.fills_in or seen
        with timer("encode"), placed.phase("decode") if looks else nullcontext():
            picture = _Given(self, checkpoint, params, tiled=placed.plan.tiled_vae)
            units += self.conditions.references(params, checkpoint, tiled=placed.plan.tiled_vae)
        run = _Run(self, params, checkpoint, units, (told, untold), picture, watch)
        pictures: list[np.ndarray] = []
        seeds = [params.seed + i for i in range(params.count)]
        for start in range(0, params.count, BATCH):
            watch.phase("denoising")
            with timer("denoise"), placed.phase("denoise"), self._boosted(checkpoint, units) as troubles:
                latents = run.denoise(seeds[start : start + BATCH], start)
            warnings += troubles
            watch.phase("decoding")
            with timer("decode"), placed.phase("decode"):
                pictures += decode(checkpoint, latents, warnings, tiled=placed.plan.tiled_vae)
        return Generated(pictures, seeds, timer.seconds, warnings)

    def _boosted(self, checkpoint: Checkpoint, units: list[Unit]) -> AbstractContextManager[list[str]]:
        modules = [unit.model for unit in units if isinstance(unit, ControlNetUnit)]
        return self.turbo.picture(checkpoint.unet, *modules) if self.turbo else nullcontext([])


class _Given:
    """The picture to begin with and the mask, as latents; both None for text to image.

    beside: (1, 5, h, w), the mask and the latents of what it keeps, for a UNet that was trained to fill in; without a
    picture it may change everything, and what is kept is grey.
    """

    def __init__(self, engine: Engine, checkpoint: Checkpoint, params: GenerationParams, *, tiled: bool) -> None:
        self.latents: Tensor | None = None
        self.mask: Tensor | None = None
        self.beside: Tensor | None = None
        size = (params.width, params.height)
        picture, wide = torch.zeros(1, 3, size[1], size[0]), torch.ones(1, 1, size[1], size[0])
        if params.init_image is not None:
            image = engine.load_image(params.init_image).convert("RGB").resize(size, Image.Resampling.LANCZOS)
            picture = to_unit_range(image) * 2 - 1
            self.latents = encode(checkpoint, picture, tiled=tiled)
        if params.mask_image is not None and self.latents is not None:
            mask = to_unit_range(engine.load_image(params.mask_image).convert("L").resize(size))[:, :1]
            wide = (mask > 0.5).float()
            self.mask = F.interpolate(wide, size=self.latents.shape[2:], mode="nearest").to(self.latents)
        if checkpoint.fills_in:
            kept = encode(checkpoint, picture * (wide < 0.5), tiled=tiled)
            self.beside = torch.cat([F.interpolate(wide, size=kept.shape[2:], mode="nearest").to(kept), kept], 1)
            self.mask = None


@dataclass
class _Run:
    """The batches of one generation."""

    engine: Engine
    params: GenerationParams
    checkpoint: Checkpoint
    units: list[Unit]
    embeds: tuple[Embedding, Embedding]
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
        told, untold = (e.tokens.to(device, dtype).expand(len(seeds), -1, -1) for e in self.embeds)
        return Denoising(
            unet=self.checkpoint.unet,
            scheduler=scheduler,
            timesteps=timesteps,
            prompt_embeds=told,
            negative_embeds=untold if guided else None,
            guidance_scale=params.guidance_scale,
            generators=generators,
            added=self._added(len(seeds), guided),
            beside=self.given.beside,
            units=self.units,
            keep=keep,
            on_step=on_step,
        ).run(latents)

    def _added(self, count: int, guided: bool) -> dict[str, Tensor]:
        """What SDXL is told beside the words: the pooled prompt, and a picture of this size that nobody cut."""
        told, untold = (embedding.pooled for embedding in self.embeds)
        if told is None or untold is None:
            return {}
        rows = [untold, told] if guided else [told]
        device, dtype = self.engine.store.device, self.checkpoint.unet.dtype
        pooled = torch.cat([row.expand(count, -1) for row in rows]).to(device, dtype)
        height, width = self.params.height, self.params.width
        sizes = torch.tensor([[height, width, 0, 0, height, width]], device=device, dtype=dtype)
        return {"text_embeds": pooled, "time_ids": sizes.expand(len(pooled), -1)}

    def _begin(self, scheduler: object, timesteps: Tensor, noise: Tensor) -> tuple[Tensor, Keep | None]:
        """The latents to start from, and what inpainting keeps."""
        given, mask = self.given.latents, self.given.mask
        start = noise * scheduler.init_noise_sigma  # type: ignore[attr-defined]
        if given is None:
            return start, None
        given = given.expand(len(noise), -1, -1, -1)
        if self.params.mask_image is None or self.params.strength < 1:
            start = scheduler.add_noise(given, noise, timesteps[:1].repeat(len(noise)))  # type: ignore[attr-defined]
        return start, None if mask is None else Keep(latents=given, mask=mask, noise=noise)


def size_of_run(params: GenerationParams, models: Mapping[str, ModelLocation]) -> RunSize:
    """What the working set of these params depends on."""
    return RunSize(
        architecture=models[params.checkpoint_id].base,
        width=params.width,
        height=params.height,
        batch=min(params.count, BATCH) * (2 if params.guidance_scale > 1 else 1),
        units=tuple(control.kind for control in params.controls if control.conditioning_scale),
    )


def draw_noise(
    checkpoint: Checkpoint, params: GenerationParams, seeds: list[int]
) -> tuple[list[torch.Generator], Tensor]:
    """The noise of each seed, (N, C, h, w) fp32, drawn on the CPU one by one, so that a batch changes nothing."""
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    height, width = params.height // checkpoint.factor, params.width // checkpoint.factor
    shape = (1, checkpoint.vae.config.latent_channels, height, width)
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


def encode(checkpoint: Checkpoint, picture: Tensor, *, tiled: bool = False) -> Tensor:
    """A picture (1, 3, H, W), -1 to 1, as scaled latents in fp32: the mode of the posterior, so nothing is drawn."""
    return decoding.encode(checkpoint.vae, picture, tiled=tiled, warnings=[])


def decode(checkpoint: Checkpoint, latents: Tensor, warnings: list[str], *, tiled: bool = False) -> list[np.ndarray]:
    """Latents (N, C, h, w) as 8-bit pictures; what was done differently on the way is told in `warnings`."""
    pictures = decoding.decode(checkpoint.vae, latents, tiled=tiled, warnings=warnings)
    whole = ((pictures.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return list(whole.permute(0, 2, 3, 1).cpu().numpy())

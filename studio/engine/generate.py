"""One generation: params in, pictures out."""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from studio.adapters.stack import Stack
from studio.engine import decoding
from studio.engine.adapters import AdapterFiles
from studio.engine.conditions import Conditions, LoadImage, wanted
from studio.engine.denoise import Denoising, Step
from studio.engine.given import Given, read_source
from studio.engine.prompt import Reading, Told, Vectors
from studio.engine.residency import is_out_of_memory
from studio.engine.schedulers import build_scheduler
from studio.engine.small import SmallFiles, bundled
from studio.engine.stopwatch import Stopwatch
from studio.engine.store import Checkpoint, Store
from studio.engine.telling import Telling
from studio.engine.turbo import Turbo
from studio.engine.units.controlnet import ControlNetUnit
from studio.engine.units.region import RegionsUnit
from studio.engine.units.unit import Unit
from studio.engine.working_sets import RunSize
from studio.hookspecs import SchedulerSpec
from studio.inpainting import Window
from studio.library.control_kinds import REFERENCE_ONLY
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
    """pictures: 8-bit RGB arrays (H, W, 3), one for each seed; seconds by phase; warnings as sentences.

    A picture measures width x height; the first picture's size where only its painted part was made anew.
    """

    pictures: list[np.ndarray]
    seeds: list[int]
    seconds: dict[str, float]
    warnings: list[str]
    costs: dict[str, float] = field(default_factory=dict[str, float])


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
        self.adapters = AdapterFiles()
        self.small = SmallFiles(self.store)

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
            source = read_source(params, self.load_image)
            units, notes = self.small.hypernetworks(params, models, checkpoint.unet)
            units += self.conditions.units(params, models, source.window)
            placed = self.store.arrange(size_of_run(params, models), wanted(params, models), floor)
            warnings += notes + [line for line in placed.plan.sentences[:4] if placed.plan.rung]
            stack, notes = self.adapters.stack(params.adapters, models, checkpoint.adapted)
            warnings += [note for note in notes if note not in warnings]
            worn = self.store.dress(stack)
            units = [worn, *units] if worn.moves else units
        watch.phase("encoding")
        with timer("encode"), placed.phase("encode"):
            words = self._read(params, models, checkpoint, stack, source.window)
        warnings += words.notes
        seen = any(control.conditioning_scale and control.kind == REFERENCE_ONLY for control in params.controls)
        looks = params.init_image is not None or checkpoint.fills_in or seen
        with timer("encode"), placed.phase("decode") if looks else nullcontext():
            given = Given(source, checkpoint, params.fill, tiled=placed.plan.tiled_vae)
            references = self.conditions.references(params, checkpoint, source.window, tiled=placed.plan.tiled_vae)
        run = _Run(self, params, checkpoint, units, given, watch)
        pictures: list[np.ndarray] = []
        batches = batches_of(words.said)
        for number, batch in enumerate(batches):
            watch.phase("denoising")
            with timer("denoise"), placed.phase("denoise"), worn.shown(), self._boosted(checkpoint, units) as troubles:
                run.units = [*units, *words.regional[batch.words], *references]
                latents = run.denoise(batch.pictures, words.told[batch.words], (number, len(batches)))
            warnings += troubles
            watch.phase("decoding")
            with timer("decode"), placed.phase("decode"):
                made = decode(checkpoint, latents, warnings, tiled=placed.plan.tiled_vae)
                pictures += [source.put_back(picture) for picture in made]
        seeds = [params.seed + index for index in range(params.count)]
        return Generated(pictures, seeds, timer.seconds, warnings, run.stopwatch.means())

    def _read(
        self,
        params: GenerationParams,
        models: Mapping[str, ModelLocation],
        checkpoint: Checkpoint,
        stack: Stack,
        window: Window,
    ) -> "_Words":
        """What each picture is told, encoded once where several are told the same."""
        vectors, notes = self.small.embeddings(params, models, checkpoint.prompts)
        inside, more = bundled(params, checkpoint.prompts, stack)
        named = {ref.name: Vectors(ref.id, vectors[ref.name]) for ref in params.embeddings} | inside
        encode = partial(
            checkpoint.prompts.encode_script,
            steps=steps_that_run(params),
            reading=Reading(params.clip_skip, params.prompt_weighting, named),
        )
        said = [(*params.said(index), *params.regions_say(index)) for index in range(params.count)]
        first = {words: said.index(words) for words in dict.fromkeys(said)}
        told = {words: encode(*words[:2]) for words in first}
        regional = {
            words: self.conditions.regions(params.picture(index), window, lambda text: encode(text, ""))
            for words, index in first.items()
        }
        notes = [*notes, *more, *dict.fromkeys(note for one in told.values() for note in one.notes)]
        notes += dict.fromkeys(note for units in regional.values() for unit in units for note in unit.notes)
        return _Words(said, told, regional, notes)

    def _boosted(self, checkpoint: Checkpoint, units: list[Unit]) -> AbstractContextManager[list[str]]:
        modules = [unit.model for unit in units if isinstance(unit, ControlNetUnit)]
        return self.turbo.picture(checkpoint.unet, *modules) if self.turbo else nullcontext([])


@dataclass(frozen=True)
class _Words:
    """What the pictures of one generation are told.

    said: Of each picture, prompt, negative prompt and what each region says; told, regional: by these.
    """

    said: list[tuple[str, ...]]
    told: dict[tuple[str, ...], Told]
    regional: dict[tuple[str, ...], list[RegionsUnit]]
    notes: list[str]


@dataclass
class _Run:
    """The batches of one generation."""

    engine: Engine
    params: GenerationParams
    checkpoint: Checkpoint
    units: list[Unit]
    given: Given
    watch: Watch
    stopwatch: Stopwatch = field(init=False)

    def __post_init__(self) -> None:
        self.stopwatch = Stopwatch(torch.device(self.engine.store.device))

    def denoise(self, pictures: range, told: Told, batch: tuple[int, int]) -> Tensor:
        """Clean latents for these pictures, which are told the same; batch: its number, from 0, of how many."""
        params, device = self.params, self.engine.store.device
        seeds = [params.seed + index for index in pictures]
        noise_config = self.checkpoint.noise | {
            "timestep_spacing": params.timestep_spacing,
            "prediction_type": params.prediction_type,
        }
        scheduler = build_scheduler(self.engine.schedulers[params.scheduler], noise_config, sigmas=params.sigmas)
        scheduler.set_timesteps(params.num_inference_steps, device=device)
        timesteps = _last_steps(scheduler, params)
        generators, noise = draw_noise(self.checkpoint, params, seeds)
        latents = self._begin(scheduler, timesteps, noise.to(device), generators)
        count, (number, batches) = len(timesteps), batch

        def on_step(step: Step) -> None:
            self.watch.step(step, number * count + step.index, batches * count, self.checkpoint)

        telling = Telling(
            told=told,
            calls=count,
            pictures=len(seeds),
            guided=params.guidance_scale > 1 or told.joined,
            size=(params.width, params.height),
            like=torch.empty(0, device=device, dtype=self.checkpoint.unet.dtype),
        )
        return Denoising(
            unet=self.checkpoint.unet,
            scheduler=scheduler,
            timesteps=timesteps,
            words=telling,
            guidance_scale=params.guidance_scale,
            generators=generators,
            beside=self.given.beside,
            units=self.units,
            stopwatch=self.stopwatch,
            keep=self.given.keep(noise.to(device)),
            on_step=on_step,
        ).run(latents)

    def _begin(self, scheduler: object, timesteps: Tensor, noise: Tensor, generators: list[torch.Generator]) -> Tensor:
        """The latents to start from."""
        given = self.given.begin(generators)
        if given is None or (self.params.mask_image is not None and self.params.strength >= 1):
            return noise * scheduler.init_noise_sigma  # type: ignore[attr-defined]
        return scheduler.add_noise(given, noise, timesteps[:1].repeat(len(noise)))  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Batch:
    """Pictures that are made at once, by number from 0, and what they are told.

    words: Prompt, negative prompt, and what each region says.
    """

    pictures: range
    words: tuple[str, ...]


def batches_of(said: Sequence[tuple[str, ...]]) -> list[Batch]:
    """Neighbours that are told the same, at most BATCH of them at once. said: of each picture."""
    batches: list[Batch] = []
    for index, words in enumerate(said):
        last = batches[-1] if batches else None
        if last is not None and last.words == words and len(last.pictures) < BATCH:
            batches[-1] = Batch(range(last.pictures.start, index + 1), words)
        else:
            batches.append(Batch(range(index, index + 1), words))
    return batches


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


def steps_that_run(params: GenerationParams) -> int:
    """The last `strength` of the steps when there is a picture to begin with, else all; at least one."""
    steps = params.num_inference_steps
    return steps if params.init_image is None else max(1, min(int(steps * params.strength), steps))


def _last_steps(scheduler: object, params: GenerationParams) -> Tensor:
    """The timesteps that run: the last `strength` of them when there is a picture to begin with."""
    timesteps: Tensor = scheduler.timesteps  # type: ignore[attr-defined]
    if params.init_image is None:
        return timesteps
    begin = (params.num_inference_steps - steps_that_run(params)) * scheduler.order  # type: ignore[attr-defined]
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

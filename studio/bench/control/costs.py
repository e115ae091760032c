"""What controls cost: a step, a picture, calls of the model; and whether ours are diffusers' pictures, no slower."""

import copy
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

import studio.engine  # noqa: F401  (before diffusers)

# isort: split
from diffusers import ControlNetModel, StableDiffusionAdapterPipeline, StableDiffusionPipeline
from diffusers.models.attention_processor import AttnProcessor2_0

from studio.bench.engine import (
    SD15_STEPS,
    SEED,
    Bench,
    Case,
    cases,
    draw_house,
    draw_photo,
    job,
    make_engine,
    relative_error,
)
from studio.bench.engine import parts as parts_of
from studio.bench.figures import Figure
from studio.bench.suites import paired, seconds_of
from studio.engine import generate as engine_module
from studio.engine.attention import AttentionProcessor
from studio.engine.conditions import see, to_unit_range
from studio.engine.denoise import Step
from studio.engine.generate import Watch, encode
from studio.engine.residency import Sizes
from studio.engine.store import Checkpoint, Slot
from studio.messages import ModelLocation
from studio.params import ControlUnit
from studio.settings import Settings

REPEATS, SD15_REPEATS, THEIRS_REPEATS = 31, 3, 21  # a pair in SD 1.5's shapes takes 13 s on two cores
ENDS, CALLS = 0.4, 8  # of 20 steps
FOLDERS = {"controlnet-scribble": "controlnet", "ip-adapter": "ip_adapter", "clip": "image_encoder"}
ADAPTERS = ("t2i-adapter-scribble", "t2i-adapter-depth", "t2i-adapter-pose")


@dataclass
class Clock:
    """Seconds of the steps of pictures, from the second step on: the first also reads the map."""

    seconds: list[float] = field(default_factory=list[float])
    _before: float = 0.0

    def watch(self) -> Watch:
        """For one picture or several."""
        return Watch(step=self._step)

    def _step(self, step: Step, _done: int, _total: int, _checkpoint: Checkpoint) -> None:
        now = time.perf_counter()
        if step.index > 1:
            self.seconds.append(now - self._before)
        self._before = now


def cost_figures(settings: Settings, pack: Path) -> dict[str, Figure]:
    """All figures of time and agreement."""
    bench = open_pack(settings, pack, "auto")
    ratio = step_ratio(bench)
    figures = {
        "a step with one ControlNet / without, starter": Figure(ratio, "x", 1.45),
        "ControlNet calls beside the 8 of its range, 0 to 0.4": Figure(abs(count_calls(bench) - CALLS), "calls", 0),
    }
    figures["a step with one ControlNet / without, SD 1.5 shapes"] = Figure(step_ratio(random_sd15(settings)), "x")
    if adapted := with_adapter(bench):
        ratio = paired(seconds_of(picture(adapted)), seconds_of(picture(adapted, plain=True)), REPEATS)
        figures["a picture with one T2I-Adapter / without"] = Figure(ratio, "x", 1.05)
    return figures | diffusers_figures(settings, pack, bench)


def diffusers_figures(settings: Settings, pack: Path, bench: Bench) -> dict[str, Figure]:
    """Against diffusers' pipelines on the same modules: the latents in fp32, and the time as pictures are made."""
    exact = open_pack(settings, pack, "fp32")
    figures: dict[str, Figure] = {}
    for name, case in control_cases(exact).items():
        figures[f"latents against diffusers, {name}"] = Figure(relative_error(exact, *case), "relative", 1e-4)
    for name, case in control_cases(bench).items():
        ours = seconds_of(picture(replace(bench, params=case[0])))
        ratio = paired(seconds_of(theirs(bench, case)), ours, THEIRS_REPEATS)
        figures[f"diffusers {name} pipeline / ours"] = Figure(ratio, "x", 1.0, "higher")
    return figures


def step_ratio(bench: Bench) -> float:
    """The median step of a picture with the ControlNet over that of one without."""

    def step(*, plain: bool) -> float:
        clock = Clock()
        picture(bench, plain=plain, watch=clock.watch())()
        return statistics.median(clock.seconds)

    repeats = SD15_REPEATS if bench.params.num_inference_steps == SD15_STEPS else REPEATS
    return paired(partial(step, plain=False), partial(step, plain=True), repeats)


def picture(bench: Bench, *, plain: bool = False, watch: Watch | None = None) -> Callable[[], None]:
    """One picture by the engine. plain: without control."""
    params = replace(bench.params, controls=()) if plain else bench.params

    def run() -> None:
        bench.engine.generate(params, bench.models, watch)

    return run


def count_calls(bench: Bench) -> int:
    """How often the ControlNet is called when it ends at 0.4 of 20 steps."""
    control = replace(bench.params.controls[0], control_guidance_end=ENDS)
    seen: list[None] = []
    model = bench.engine.store.control(bench.models[control.model_id])
    hook = model.register_forward_pre_hook(lambda *_: seen.append(None))
    try:
        bench.engine.generate(replace(bench.params, controls=(control,)), bench.models)
    finally:
        hook.remove()
    return len(seen)


def theirs(bench: Bench, case: Case) -> Callable[[], None]:
    """One picture by diffusers' pipeline; its latents are decoded as ours are, and what it begins with encoded."""
    params, pipeline, extra = case
    pipeline.set_progress_bar_config(disable=True)  # type: ignore[attr-defined]
    checkpoint = bench.engine.store.checkpoint(bench.models[params.checkpoint_id])

    def run() -> None:
        if params.init_image:
            encode(checkpoint, to_unit_range(draw_photo()) * 2 - 1)
        latents = pipeline(
            params.prompt,
            num_inference_steps=params.num_inference_steps,
            guidance_scale=params.guidance_scale,
            generator=torch.Generator().manual_seed(SEED),
            output_type="latent",
            **extra,
        ).images
        engine_module.decode(checkpoint, latents, [])

    return run


def control_cases(bench: Bench) -> dict[str, Case]:
    """The jobs with control, or with a part kept, that diffusers has a pipeline for and the pack has the parts."""
    found = {name: case for name, case in cases(bench).items() if name in ("ControlNet", "inpainting")}
    common = parts_of(bench.engine.store.checkpoint(bench.models[bench.params.checkpoint_id]))
    if adapted := with_adapter(bench):
        adapter = bench.engine.store.control(bench.models[adapted.params.controls[0].model_id])
        names = "vae text_encoder tokenizer unet scheduler safety_checker feature_extractor".split()
        pipeline = StableDiffusionAdapterPipeline(
            **{name: common[name] for name in names}, adapter=adapter, requires_safety_checker=False
        )
        found["T2I-Adapter"] = (adapted.params, pipeline, {"image": draw_house(), "height": 128, "width": 128})
    if {"ip-adapter", "clip"} <= bench.models.keys():
        found["IP-Adapter"] = reference_case(bench, common)
    return found


def reference_case(bench: Bench, common: dict[str, Any]) -> Case:
    """An IP-Adapter, on a copy of the UNet that attends as diffusers does."""
    adapter, encoder = (bench.engine.store.control(bench.models[name]) for name in ("ip-adapter", "clip"))
    unet = copy.deepcopy(common["unet"])
    unet.set_attn_processor(AttnProcessor2_0())
    state: dict[str, dict[str, torch.Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    for name, tensor in adapter.to_state().items():
        part, rest = name.split(".", 1)
        state[part][rest] = tensor
    unet._load_ip_adapter_weights([state], low_cpu_mem_usage=False)  # what its pipelines' load_ip_adapter calls
    seen = see(encoder, draw_photo(), hidden=False)[None].clone()
    embeds = torch.cat([torch.zeros_like(seen), seen]).to(unet.dtype)
    unit = ControlUnit(kind="reference", map="photo", model_id="ip-adapter", encoder_id="clip")
    params = replace(bench.params, controls=(unit,))
    pipeline = StableDiffusionPipeline(**common | {"unet": unet.to(embeds)})
    return params, pipeline, {"ip_adapter_image_embeds": [embeds], "height": 128, "width": 128}


def with_adapter(bench: Bench) -> Bench | None:
    """The same job with the first T2I-Adapter of the pack, if there is one."""
    for name in ADAPTERS:
        if name in bench.models:
            unit = ControlUnit(kind=name.rpartition("-")[2], map="house", model_id=name)
            return replace(bench, params=replace(bench.params, controls=(unit,)))
    return None


def open_pack(settings: Settings, pack: Path, precision: str) -> Bench:
    """An engine with the models of a pack by the names of their folders; its job has a ControlNet."""
    settings.paths.create()
    kinds = {"desk": "checkpoint"} | FOLDERS | dict.fromkeys(ADAPTERS, "t2i_adapter")
    models = {name: locate(pack / name, kind) for name, kind in kinds.items() if (pack / name).exists()}
    unit = ControlUnit(kind="scribble", map="house", model_id="controlnet-scribble")
    params = job(checkpoint="desk", checkpoint_id="desk", width=128, height=128, controls=(unit,))
    return Bench(make_engine(settings.device, precision), params, models)


def locate(folder: Path, kind: str) -> ModelLocation:
    """A folder of a pack as the engine is told of a model."""
    card = json.loads((folder / "card.json").read_text())
    return ModelLocation(
        card["name"], folder.name, str(folder), kind, card["base"], card if kind == "checkpoint" else {}
    )


def random_sd15(settings: Settings) -> Bench:
    """Random weights in SD 1.5's shapes, with a ControlNet for them."""
    bench = Bench.random_sd15(settings)
    store = bench.engine.store
    unet = store.checkpoint(bench.models["random"]).unet
    control = ControlNetModel.from_unet(unet).to(store.device, store.dtype).eval()
    control.set_attn_processor(AttentionProcessor(store.kernel))
    location = ModelLocation("random-control", "random-control", "", "controlnet", "sd1", {})
    store.controls[location.id] = Slot(control, Sizes.of(control, store.device), [location.id])
    store.locations[location.id] = location
    unit = ControlUnit(kind="scribble", map="house", model_id=location.id)
    return replace(bench, params=replace(bench.params, controls=(unit,)), models=bench.models | {location.id: location})

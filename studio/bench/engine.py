"""What the main suite measures of the engine: it, its bare parts, and diffusers' pipelines, on the same job."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import studio.engine  # noqa: F401  (before diffusers)

# isort: split
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionControlNetPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from PIL import Image, ImageDraw
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from studio.engine import generate as engine_module
from studio.engine.attention import choose_kernel
from studio.engine.conditions import to_unit_range
from studio.engine.generate import Engine, Watch, encode
from studio.engine.precision import choose_device, choose_precision
from studio.engine.stack import Adapted
from studio.engine.store import Checkpoint, Store
from studio.library.index import Library
from studio.messages import ModelLocation
from studio.params import ControlUnit, GenerationParams
from studio.registry import load_registry
from studio.settings import BUILTIN, Settings

STEPS, SD15_STEPS = 20, 3
SEED = 1


@dataclass
class Bench:
    """An engine with a job, and the models that the job names."""

    engine: Engine
    params: GenerationParams
    models: dict[str, ModelLocation]

    @classmethod
    def starter(cls, settings: Settings, precision: str = "auto") -> "Bench":
        """The starter pack at its native size."""
        settings.paths.create()
        library = Library(settings)
        entry = library.find("starter-desk", "checkpoint")
        control = library.control_model_for("scribble", entry.base)
        models = {library.content_id(e): library.location(e) for e in (entry, control)}
        unit = ControlUnit(kind="scribble", map="house", model=control.name, model_id=library.content_id(control))
        checkpoint_id = library.content_id(entry)
        params = job(checkpoint=entry.name, checkpoint_id=checkpoint_id, width=128, height=128, controls=(unit,))
        return cls(make_engine(settings.device, precision), params, models)

    @classmethod
    def random_sd15(cls, settings: Settings) -> "Bench":
        """Random weights in the shapes of Stable Diffusion 1.5, at 256 px."""
        engine = make_engine(settings.device, "auto")
        location = ModelLocation("random-sd15", "random", "", "checkpoint", "sd1", {})
        engine.store.current = random_checkpoint(engine.store, location)
        params = job(checkpoint="random", checkpoint_id="random", width=256, height=256, num_inference_steps=SD15_STEPS)
        return cls(engine, params, {"random": location})

    def ours(self) -> None:
        """The engine, with a preview at each step."""
        shown = Watch(step=lambda step, _done, _total, checkpoint: checkpoint.preview.jpeg(step.guess[0]) and None)
        self.engine.generate(replace(self.params, controls=()), self.models, shown)

    @torch.inference_mode()
    def bare(self) -> None:
        """As many guided UNet forwards, and one decode: no generation can be faster."""
        checkpoint = self.engine.store.checkpoint(self.models[self.params.checkpoint_id])
        unet, vae = checkpoint.unet, checkpoint.vae
        side = self.params.width // checkpoint.factor
        sample = torch.randn(2, unet.config.in_channels, side, side, device=unet.device, dtype=unet.dtype)
        told = checkpoint.prompts.encode(self.params.prompt).tokens.to(unet.dtype).expand(2, -1, -1)
        for timestep in torch.linspace(999, 1, self.params.num_inference_steps).long():
            unet(sample, timestep, encoder_hidden_states=told, return_dict=False)
        vae.decode(sample[:1].to(vae.dtype), return_dict=False)

    def ours_with_control(self) -> None:
        """The engine with the scribble ControlNet."""
        self.engine.generate(self.params, self.models)

    def diffusers_with_control(self) -> None:
        """diffusers' pipeline on the same modules, scheduler and words."""
        store = self.engine.store
        checkpoint = store.checkpoint(self.models[self.params.checkpoint_id])
        control = store.control(self.models[self.params.controls[0].model_id])
        pipeline = StableDiffusionControlNetPipeline(**parts(checkpoint), controlnet=control)
        pipeline.set_progress_bar_config(disable=True)
        latents = pipeline(
            self.params.prompt,
            image=draw_house(),
            num_inference_steps=self.params.num_inference_steps,
            guidance_scale=self.params.guidance_scale,
            generator=torch.Generator().manual_seed(SEED),
            output_type="latent",
        ).images
        engine_module.decode(checkpoint, latents, [])  # a pipeline cannot decode in another precision than it denoises


def job(**changed: Any) -> GenerationParams:
    """The job that is measured, with some fields changed."""
    plain: dict[str, Any] = {
        "prompt": "a red house under a night sky",
        "num_inference_steps": STEPS,
        "guidance_scale": 5.0,
        "scheduler": "ddim",
        "timestep_spacing": "trailing",
        "seed": SEED,
    }
    return GenerationParams(**plain | changed)


def make_engine(device: str, precision: str) -> Engine:
    """An engine as the worker makes it."""
    chosen = choose_device(device)
    dtype = choose_precision(precision, chosen).dtype
    store = Store(chosen, dtype, choose_kernel(chosen, dtype))
    pictures = {"house": draw_house, "photo": draw_photo, "mask": draw_mask}
    return Engine(store=store, schedulers=load_registry().schedulers, load_image=lambda name: pictures[name]())


Case = tuple[GenerationParams, Callable[..., Any], dict[str, Any]]


def agreements(settings: Settings) -> dict[str, float]:
    """Relative error of our latents against diffusers' four pipelines: fp32, DDIM, the same noise."""
    bench = Bench.starter(settings, precision="fp32")
    return {name: relative_error(bench, *case) for name, case in cases(bench).items()}


def cases(bench: Bench) -> dict[str, Case]:
    """Jobs that diffusers has a pipeline for: our params, the pipeline on the same modules, and what it is given."""
    checkpoint = bench.engine.store.checkpoint(bench.models[bench.params.checkpoint_id])
    control = bench.engine.store.control(bench.models[bench.params.controls[0].model_id])
    given = encode(checkpoint, to_unit_range(draw_photo()) * 2 - 1).clone()
    common = parts(checkpoint)
    plain = replace(bench.params, controls=())
    changed = replace(plain, init_image="photo", strength=0.6)
    return {
        "text to image": (plain, StableDiffusionPipeline(**common), {"height": 128, "width": 128}),
        "ControlNet": (
            bench.params,
            StableDiffusionControlNetPipeline(**common, controlnet=control),
            {"image": draw_house()},
        ),
        "image to image": (changed, StableDiffusionImg2ImgPipeline(**common), {"image": given, "strength": 0.6}),
        "inpainting": (
            replace(changed, mask_image="mask"),
            StableDiffusionInpaintPipeline(**common),
            {"image": given, "masked_image_latents": given, "mask_image": draw_mask(), "strength": 0.6}
            | {"height": 128, "width": 128},
        ),
    }


def relative_error(
    bench: Bench, params: GenerationParams, pipeline: Callable[..., Any], extra: dict[str, Any]
) -> float:
    """Norm of the difference of final latents, over theirs."""
    pipeline.set_progress_bar_config(disable=True)  # type: ignore[attr-defined]
    theirs = pipeline(
        params.prompt,
        num_inference_steps=STEPS,
        guidance_scale=params.guidance_scale,
        generator=torch.Generator().manual_seed(SEED),
        output_type="latent",
        **extra,
    ).images
    caught: list[torch.Tensor] = []
    decode = engine_module.decode

    def catch(
        checkpoint: Checkpoint, latents: torch.Tensor, warnings: list[str], *, tiled: bool = False
    ) -> list[np.ndarray]:
        caught.append(latents)
        return decode(checkpoint, latents, warnings, tiled=tiled)

    engine_module.decode = catch
    try:
        bench.engine.generate(params, bench.models)
    finally:
        engine_module.decode = decode
    return float(((caught[0] - theirs).norm() / theirs.norm()).item())


def parts(checkpoint: Checkpoint) -> dict[str, Any]:
    """A checkpoint's modules as diffusers' pipelines take them, with DDIM on its noise schedule."""
    noise = {k: v for k, v in checkpoint.noise.items() if not k.startswith("_")}
    return {
        "vae": checkpoint.vae,
        "text_encoder": checkpoint.prompts.readers[0].model,
        "tokenizer": checkpoint.prompts.readers[0].tokenizer,
        "unet": checkpoint.unet,
        "scheduler": DDIMScheduler.from_config(noise | {"timestep_spacing": "trailing"}),
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }


def random_checkpoint(store: Store, location: ModelLocation) -> Checkpoint:
    """SD 1.5's UNet and autoencoder with random weights; words go through a small encoder of the same width."""
    from studio.engine.attention import AttentionProcessor
    from studio.engine.prompt import PromptEncoder, Reader

    torch.manual_seed(0)
    with torch.device(store.device):
        unet = UNet2DConditionModel(cross_attention_dim=768, attention_head_dim=8).to(store.dtype).eval()
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
        ).eval()
    unet.set_attn_processor(AttentionProcessor(store.kernel))
    tokenizer = CLIPTokenizer.from_pretrained(
        Path(BUILTIN) / "assets/starter/desk/tokenizer", local_files_only=True, model_max_length=77
    )
    config = CLIPTextConfig(hidden_size=768, num_hidden_layers=1, num_attention_heads=12, vocab_size=len(tokenizer))
    text = CLIPTextModel(config).to(store.dtype).eval()
    noise = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False}
    prompts = PromptEncoder((Reader(tokenizer, text),), "random")
    adapted = {"unet": Adapted("unet", unet, None)}
    return Checkpoint(location, unet, vae, prompts, noise, vae_key="random", adapted=adapted)


def draw_house() -> Image.Image:
    """A scribble, light on black."""
    image = Image.new("RGB", (128, 128))
    pen = ImageDraw.Draw(image)
    pen.line([(32, 60), (64, 30), (96, 60), (92, 60), (92, 104), (36, 104), (36, 60), (96, 60)], "white", 3)
    return image


def draw_photo() -> Image.Image:
    """A picture to begin with."""
    image = Image.linear_gradient("L").resize((128, 128)).convert("RGB")
    ImageDraw.Draw(image).ellipse((40, 40, 90, 90), "red")
    return image


def draw_mask() -> Image.Image:
    """White where the picture may change."""
    image = Image.new("L", (128, 128))
    ImageDraw.Draw(image).rectangle((0, 0, 63, 127), 255)
    return image

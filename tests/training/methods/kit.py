"""Tiny checkpoints of each base model's shape on an engine, and what every method must do with them."""

import hashlib
from dataclasses import replace

import torch
from diffusers import DDIMScheduler

from studio.engine.generate import Engine
from studio.engine.store import Store
from studio.messages import ModelLocation
from studio.registry import load_registry
from studio.training.batch import Batch
from studio.training.methods.build import build_method
from studio.training_params import TrainingParams
from tests import tiny

BASES = ("sd1", "sd2", "sdxl")
SIDE = tiny.SIZE // tiny.FACTOR
TRIGGER = "ohwx"


def pipeline(base):
    """SD 2's predicts velocities and has matrices where SD 1 has 1x1 convolutions."""
    if base == "sdxl":
        return tiny.tiny_sdxl_pipeline()
    pipe = tiny.tiny_pipeline()
    if base == "sd2":
        torch.manual_seed(11)
        pipe.unet = type(pipe.unet)(**{**pipe.unet.config, "use_linear_projection": True})
        pipe.scheduler = DDIMScheduler(**{**pipe.scheduler.config, "prediction_type": "v_prediction"})
    return pipe


def location(folder, base):
    return ModelLocation(folder.name, f"id-{folder.name}", str(folder), "checkpoint", base, {"native_size": tiny.SIZE})


def new_engine():
    store = Store(torch.device("cpu"), torch.float32, "sdpa")
    return Engine(store=store, schedulers=load_registry().schedulers, load_image=lambda name: MAPS[name]())


def house():
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (tiny.SIZE, tiny.SIZE))
    ImageDraw.Draw(image).rectangle((8, 8, 24, 24), outline="white", width=2)
    return image


MAPS = {"house": house}


def params(**changed):
    plain = {"name": "thing", "trigger": TRIGGER, "class_word": "cat", "rank": 4, "alpha": 4.0, "resolution": 32}
    return TrainingParams(**plain | changed)


def build(engine, location, seed=0, **changed):
    checkpoint = engine.store.checkpoint(location)
    torch.manual_seed(seed)
    return build_method(params(base=location.base, **changed), checkpoint, engine)


def batch(count=2, seed=0, captions=None, **others):
    rng = torch.Generator().manual_seed(seed)
    latents = torch.randn(count, 4, SIDE, SIDE, generator=rng)
    sizes = torch.tensor([[32, 32, 0, 0, 32, 32]]).expand(count, -1)
    return Batch(latents, captions or (f"a {TRIGGER} cat",) * count, sizes, **others)


def noise(batch, seed=5):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(batch.latents.shape, generator=rng), torch.tensor([300, 800, 500, 20])[: len(batch.latents)]


def predicted(method, batch):
    noisy, timesteps = noise(batch)
    return method.predict(batch, noisy, timesteps)


@torch.no_grad()
def plain(checkpoint, batch, captions=None):
    """What the UNet says by itself, with prompts encoded as the engine does."""
    noisy, timesteps = noise(batch)
    said = [checkpoint.prompts.encode(caption) for caption in captions or batch.captions]
    added = {}
    if said[0].pooled is not None:
        added = {"text_embeds": torch.cat([one.pooled for one in said]), "time_ids": batch.sizes.float()}
    words = torch.cat([one.tokens for one in said])
    checkpoint.prompts.cache.clear()
    return checkpoint.unet(noisy, timesteps, words, added_cond_kwargs=added, return_dict=False)[0]


def learn(method, batch, steps=8, rate=None, total=None):
    """The loss on one fixed batch, before each step and after the last."""
    groups = method.groups()
    for group in groups:
        group["lr"] = rate or group["lr"]
    optimizer = torch.optim.AdamW(groups)
    target = torch.randn(batch.latents.shape, generator=torch.Generator().manual_seed(8))
    losses = []
    for step in range(steps):
        method.before_step(step, total or steps)
        loss = (predicted(method, batch) - target).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        method.after_step()
        losses.append(loss.item())
    with torch.no_grad():
        losses.append((predicted(method, batch) - target).square().mean().item())
    return losses


def fingerprints(checkpoint):
    """A hash of each tensor of the checkpoint by the name of its module."""
    modules = {"unet": checkpoint.unet, "vae": checkpoint.vae}
    modules |= {f"text_{i}": model for i, model in enumerate(checkpoint.prompts.text_encoders)}
    return {
        f"{part}.{name}": hashlib.sha256(tensor.detach().contiguous().numpy().tobytes()).hexdigest()
        for part, module in modules.items()
        for name, tensor in module.state_dict().items()
    }


def changed(before, after):
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


def picture(engine, location, models=None, prompt=f"a {TRIGGER} cat", **others):
    """A picture as an array, asked of the engine."""
    asked = tiny.params(
        checkpoint_id=location.id, prompt=prompt, num_inference_steps=2, negative_prompt="dog", **others
    )
    made = engine.generate(replace(asked), {location.id: location, **(models or {})})
    return torch.tensor(made.pictures[0])

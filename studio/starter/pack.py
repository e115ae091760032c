"""The pack as it ships: a diffusers pipeline folder and a ControlNet folder in fp16, with their cards."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DDIMScheduler,
    StableDiffusionPipeline,
    T2IAdapter,
    UNet2DConditionModel,
)
from safetensors.torch import load_file, save_file
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer

from studio.starter.captions import words
from studio.starter.clip import FEATURES
from studio.starter.control import GAIN, MAPS, STRONGER, strengthen
from studio.starter.text import WIDTH
from studio.starter.unet import NOISE_SCHEDULE, load_snapshot

SHARD = "14MB"
NAME = "starter-desk"
EXAMPLES = (
    "a red house under a night sky",
    "a blue car on a green meadow",
    "a yellow boat by the sea",
    "a person in a red shirt waving on a sunny day",
    "a green tree on the left and an orange house on the right in the snow",
    "a pink fish on a plain yellow background",
    "a purple mushroom in the desert",
    "a white balloon at sunset",
)
CONFIG_KEYS = {
    "unet": ("block_out_channels", "layers_per_block", "cross_attention_dim", "attention_head_dim", "sample_size"),
    "vae": ("block_out_channels", "layers_per_block", "latent_channels", "norm_num_groups"),
}


def base_name(unet: UNet2DConditionModel, vae: AutoencoderKL, encoder: CLIPTextModel) -> str:
    """starter-<8 hex digits>: the architecture by its configuration, the same for every training of it."""
    parts: dict[str, Any] = {
        kind: {key: module.config[key] for key in CONFIG_KEYS[kind]} for kind, module in (("unet", unet), ("vae", vae))
    }
    text = encoder.config
    parts["text"] = [text.vocab_size, text.hidden_size, text.num_hidden_layers, text.max_position_embeddings]
    return "starter-" + hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]


def export(work: Path, target: Path) -> None:
    """Write the pack from what is trained so far into `target`, replacing what is there only when all is written."""
    unet, encoder = load_snapshot(work)
    vae = AutoencoderKL.from_pretrained(work / "vae")
    tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer", local_files_only=True)
    base = base_name(unet, vae, encoder)
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DDIMScheduler(**NOISE_SCHEDULE, set_alpha_to_one=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).to(dtype=torch.float16)
    desk = target / "desk.part"
    shutil.rmtree(desk, ignore_errors=True)
    pipeline.save_pretrained(desk, max_shard_size=SHARD)
    for name in ("vocab.json", "merges.txt"):  # transformers 5 writes tokenizer.json alone; older readers want these
        shutil.copyfile(work / "tokenizer" / name, desk / "tokenizer" / name)
    _forget_origin(desk / "tokenizer" / "tokenizer_config.json")
    (desk / "card.json").write_text(json.dumps(checkpoint_card(base), indent=1) + "\n")
    _replace(desk, target / "desk")
    for kind in MAPS:
        _export_control(work, target, f"controlnet-{kind}", kind, base)
        _export_control(work, target, f"t2i-adapter-{kind}", kind, base)
    _export_clip(work, target, base)
    _export_ip_adapter(work, target, base)
    for name in ("judge.safetensors", "annotator.safetensors"):
        if (file := work / name).exists():
            shutil.copyfile(file, target / name)


def _export_control(work: Path, target: Path, name: str, kind: str, base: str) -> None:
    """A ControlNet or T2I-Adapter as diffusers writes it; nothing, where none was trained."""
    if not (work / name).exists():
        return
    tuned = work / "tuned" / name
    kept = tuned if tuned.exists() else work / name
    network = (ControlNetModel if name.startswith("controlnet") else T2IAdapter).from_pretrained(kept)
    if name in STRONGER and kept != tuned:  # one that was tuned was made stronger before
        strengthen(network, GAIN)
    with _folder(target / name, {"name": _title(name), "base": base, "control_kind": kind}) as folder:
        network.to(dtype=torch.float16).save_pretrained(folder, max_shard_size=SHARD)


def _export_clip(work: Path, target: Path, base: str) -> None:
    if (work / "clip").exists():
        clip = CLIPModel.from_pretrained(work / "clip", local_files_only=True).to(dtype=torch.float16)
        with _folder(target / "clip", {"name": f"{NAME}-clip", "base": base}) as folder:
            clip.save_pretrained(folder, max_shard_size=SHARD)


def _export_ip_adapter(work: Path, target: Path, base: str) -> None:
    """In a folder, with the published names in its file."""
    if (file := work / "ip-adapter.safetensors").exists():
        config = {"_class_name": "IPAdapter", "cross_attention_dim": WIDTH, "features": [FEATURES, 0]}
        with _folder(target / "ip-adapter", {"name": f"{NAME}-reference", "base": base}) as folder:
            (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
            state = {name: tensor.half() for name, tensor in load_file(file).items()}
            save_file(state, folder / "model.safetensors", {"maquette.base": base})


def _title(name: str) -> str:
    """starter-desk-scribble for the ControlNet, starter-desk-scribble-t2i for the adapter."""
    technique, _, kind = name.rpartition("-")
    return f"{NAME}-{kind}" + ("-t2i" if technique == "t2i-adapter" else "")


@contextmanager
def _folder(final: Path, card: dict[str, Any]) -> Iterator[Path]:
    """A folder to be filled beside, which replaces the final one when it is whole."""
    part = final.with_name(f"{final.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    yield part
    (part / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    _replace(part, final)


def checkpoint_card(base: str) -> dict[str, Any]:
    """What the studio needs to know of Desk beside its weights."""
    return {
        "name": NAME,
        "base": base,
        "native_size": 128,
        "prediction_type": "epsilon",
        "timestep_spacing": "trailing",
        "clip_skip": 0,
        "guidance_scale": 5.0,
        "num_inference_steps": 20,
        "scheduler": "dpmpp_2m",
        "demonstration": True,
        "known_words": words(),
        "example_prompts": list(EXAMPLES),
    }


def _forget_origin(file: Path) -> None:
    """Leave out of a tokenizer's configuration how it was opened here."""
    settings = json.loads(file.read_text())
    kept = {key: value for key, value in settings.items() if key not in ("is_local", "local_files_only")}
    file.write_text(json.dumps(kept, indent=1) + "\n")


def _replace(part: Path, final: Path) -> None:
    shutil.rmtree(final, ignore_errors=True)
    part.rename(final)

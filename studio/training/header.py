"""What a file says of how it was made: kohya's ss_ fields, ModelSpec 1.0.1 and our own params.

Names of folders and the captions' words are left out, unless a person asks for them.
Source: kohya-ss/sd-scripts, train_network.py and library/sai_model_spec.py; Stability-AI/ModelSpec, version 1.0.1.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import torch
from torch import Tensor

from studio.adapters.writing import VERSIONS
from studio.training.method import Export
from studio.training_params import TrainingParams

PARAMS = "maquette.training"
HASH, OLD_HASH = "modelspec.hash_sha256", "sshs_model_hash"
ARCHITECTURES = {
    "sd1": "stable-diffusion-v1",
    "sd2": "stable-diffusion-v2-512",
    "sdxl": "stable-diffusion-xl-v1-base",
}
V_ARCHITECTURE = "stable-diffusion-v2-768-v"
ADAPTERS = {"lora": "/lora", "embedding": "/textual-inversion", "controlnet": "/controlnet"}
STABILITY, DIFFUSERS = "https://github.com/Stability-AI/generative-models", "https://github.com/huggingface/diffusers"
OPTIMIZERS = {
    "adamw8bit": "AdamW8bit",
    "adamw": "AdamW",
    "lion": "Lion",
    "adafactor": "Adafactor",
    "prodigy": "Prodigy",
}
UNTOLD = ("dataset", "dataset_id", "sample_prompts")  # of the params: names of folders, and a person's words
PRIVATE = ("ss_dataset_dirs", "ss_reg_dataset_dirs", "ss_tag_frequency")
WORDED = {  # what a row means, for people
    "ss_dataset_dirs": "the names of your folders",
    "ss_tag_frequency": "the words of your captions, counted",
    "ss_output_name": "the name of the result",
    "ss_sd_model_name": "the checkpoint that was trained",
    "ss_training_started_at": "when it began, in seconds since 1970",
    "ss_training_finished_at": "when it ended, in seconds since 1970",
    "modelspec.title": "the name of the result",
    "modelspec.author": "who made it",
    "modelspec.date": "when it was made",
    "modelspec.description": "what you say of it",
    "modelspec.trigger_phrase": "the word that calls it",
    HASH: "a hash of the numbers",
    PARAMS: "every setting of the run, without the names of folders and the sample prompts",
}


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a run beside its params.

    Fields:
        step: Steps that were done. pictures, held_out, class_pictures: how many there were.
        started, finished: Seconds since 1970.
        author, description: As a person gives them.
        folders: Names of the folders, each with its number of pictures and of repeats.
        tags: By folder how often each tag of the captions occurs.
        told: Whether folders and tags are to be published.
    """

    step: int = 0
    pictures: int = 0
    held_out: int = 0
    class_pictures: int = 0
    started: float = 0.0
    finished: float = 0.0
    author: str = ""
    description: str = ""
    folders: Mapping[str, Mapping[str, int]] = field(default_factory=dict[str, Mapping[str, int]])
    tags: Mapping[str, Mapping[str, int]] = field(default_factory=dict[str, Mapping[str, int]])
    told: bool = False


@dataclass(frozen=True)
class Published:
    """One row of a header. about: what it is, for people, "" where the name says it; private: it tells of a person's
    files or captions."""

    name: str
    value: str
    about: str
    private: bool


def header_of(params: TrainingParams, export: Export, facts: Facts) -> dict[str, str]:
    """All that a file's header says beside what its layout needs, as texts."""
    found = _spec(params, export, facts) | {PARAMS: _settings(params, facts)}
    if export.kind in ("lora", "embedding"):
        found |= _kohya(params, facts)
    return found | _network(params) if (export.kind, export.layout) == ("lora", "kohya") else found


def with_hash(metadata: Mapping[str, object], tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """The metadata as texts, with the hash of the file's bytes after its header if it has a ModelSpec."""
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in metadata.items()}
    if not any(name.startswith("modelspec.") for name in texts):
        return texts
    digest = content_hash(tensors)
    return texts | {HASH: f"0x{digest}"} | ({OLD_HASH: digest} if "ss_network_module" in texts else {})


def content_hash(tensors: Mapping[str, Tensor]) -> str:
    """sha256 of the tensors' bytes in the order in which `studio.engine.tensors` writes them, as hexadecimal."""
    digest = hashlib.sha256()
    for name in sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name)):
        flat = tensors[name].detach().to("cpu").contiguous().reshape(-1)
        digest.update(memoryview(flat.view(torch.uint8).numpy()))
    return digest.hexdigest()


def published(metadata: Mapping[str, str]) -> list[Published]:
    """What anybody can read in a file with this header: what is private first, then by name."""
    rows = [Published(name, value, WORDED.get(name, ""), name in PRIVATE) for name, value in metadata.items()]
    return sorted(rows, key=lambda row: (not row.private, row.name))


def _settings(params: TrainingParams, facts: Facts) -> str:
    hidden = () if facts.told else UNTOLD
    return json.dumps({name: value for name, value in params.to_dict().items() if name not in hidden})


def _spec(params: TrainingParams, export: Export, facts: Facts) -> dict[str, str]:
    """ModelSpec; what nobody said is left out."""
    base = params.base
    architecture = V_ARCHITECTURE if base == "sd2" and params.resolution > 512 else ARCHITECTURES.get(base, base)
    foreign = export.layout in ("diffusers", "peft") or (export.kind == "lora" and base != "sdxl")
    made = datetime.fromtimestamp(facts.finished, UTC).isoformat(timespec="seconds") if facts.finished else ""
    said = {
        "sai_model_spec": "1.0.1",
        "architecture": architecture + ADAPTERS.get(export.kind, ""),
        "implementation": DIFFUSERS if foreign else STABILITY,
        "title": params.name,
        "resolution": f"{params.resolution}x{params.resolution}",
        "description": facts.description,
        "author": facts.author,
        "date": made,
        "trigger_phrase": params.trigger,
    }
    return {f"modelspec.{name}": value for name, value in said.items() if value}


def _kohya(params: TrainingParams, facts: Facts) -> dict[str, str]:
    """The fields of kohya's that are known here, under its names and in its words."""
    accumulated = params.batch * params.accumulation
    told = {
        "output_name": params.name,
        "sd_model_name": params.checkpoint,
        "base_model_version": VERSIONS.get(params.base, params.base),
        "v2": params.base == "sd2",
        "training_started_at": facts.started or None,
        "training_finished_at": facts.finished or None,
        "steps": facts.step,
        "max_train_steps": params.steps,
        "epoch": facts.step * accumulated * params.processes // facts.pictures if facts.pictures else None,
        "num_train_images": facts.pictures or None,
        "num_validation_images": facts.held_out or None,
        "num_reg_images": facts.class_pictures,
        "batch_size_per_device": params.batch,
        "total_batch_size": accumulated * params.processes,
        "gradient_accumulation_steps": params.accumulation,
        "gradient_checkpointing": params.gradient_checkpointing,
        "learning_rate": params.learning_rate,
        "unet_lr": params.learning_rate,
        "text_encoder_lr": params.text_learning_rate if params.train_text_encoder else None,
        "lr_scheduler": params.schedule,
        "lr_warmup_steps": params.warmup,
        "optimizer": OPTIMIZERS[params.optimizer],
        "max_grad_norm": params.clip_norm,
        "mixed_precision": {"fp32": "no"}.get(params.precision, params.precision),
        "resolution": f"({params.resolution}, {params.resolution})",
        "enable_bucket": params.crop == "bucket",
        "random_crop": params.crop == "random",
        "flip_aug": params.flip,
        "seed": params.seed,
        "caption_dropout_rate": params.caption_dropout,
        "cache_latents": True,
        "loss_type": {"mse": "l2"}.get(params.loss, params.loss),
        "huber_c": params.huber_c if params.loss == "huber" else None,
        "min_snr_gamma": params.snr_gamma or None,
        "noise_offset": params.offset_noise or None,
        "zero_terminal_snr": params.zero_terminal_snr,
        "prior_loss_weight": params.prior_loss_weight,
    }
    found = {f"ss_{name}": str(value) for name, value in told.items() if value is not None and value != ""}
    if facts.told:
        found["ss_dataset_dirs"] = json.dumps(_plain(facts.folders))
        found["ss_tag_frequency"] = json.dumps(_plain(facts.tags))
    return found


def _network(params: TrainingParams) -> dict[str, str]:
    """What a LoRA was asked to be; kohya's programs go by the tensors, whose ranks and alphas may be others."""
    conv = {"conv_dim": params.conv_rank, "conv_alpha": params.alpha * params.conv_rank / params.rank}
    asked = {
        **(conv if params.conv_rank else {}),
        **({"dora_wd": True} if params.dora else {}),
        **({"rs_lora": True} if params.rslora else {}),
        **({"loraplus_lr_ratio": params.lora_plus} if params.lora_plus != 1 else {}),
    }
    return {
        "ss_network_dim": str(params.rank),
        "ss_network_alpha": str(params.alpha),
        "ss_network_args": json.dumps({name: str(value) for name, value in asked.items()}),
    }


def _plain(table: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    return {name: dict(row) for name, row in table.items()}

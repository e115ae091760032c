"""What is loaded: one set of modules for each architecture, and the control models, kept until something must go.

Another checkpoint of the same architecture is copied into the modules that live already: same storage, new bytes.
"""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from diffusers.utils.logging import disable_progress_bar as quiet_diffusers
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.utils.logging import disable_progress_bar as quiet_transformers

from studio.engine import torchvision_ops  # noqa: F401  (before diffusers)
from studio.engine.attention import AttentionProcessor
from studio.engine.preview import PreviewMap, fit_preview
from studio.engine.prompt import PromptEncoder
from studio.errors import ModelNotFoundError
from studio.messages import ModelLocation

FAILURES = (OSError, ValueError, KeyError, RuntimeError)


@dataclass
class Checkpoint:
    """A loaded checkpoint. noise: its scheduler configuration; card: what the library knows of it."""

    location: ModelLocation
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    prompts: PromptEncoder
    noise: dict[str, Any]
    preview: PreviewMap

    @property
    def factor(self) -> int:
        """Pixels to a latent, along a side."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)


@dataclass
class Store:
    """Loads what is asked for. The autoencoder stays in fp32 on the CPU, where half precision gains nothing."""

    device: torch.device
    dtype: torch.dtype
    kernel: str
    current: Checkpoint | None = None
    controls: dict[str, ControlNetModel] = field(default_factory=dict)
    control_names: dict[str, ModelLocation] = field(default_factory=dict)
    load_seconds: float = 0.0

    def __post_init__(self) -> None:
        quiet_diffusers()
        quiet_transformers()

    def checkpoint(self, location: ModelLocation) -> Checkpoint:
        """The checkpoint, loaded if it is not. Raises: ModelNotFoundError, if its files cannot be read."""
        if self.current is not None and self.current.location.id == location.id:
            return self.current
        started = time.perf_counter()
        try:
            self.current = self._load_checkpoint(location)
        except FAILURES as error:
            raise ModelNotFoundError(f"{location.name} cannot be loaded: {error}") from error
        self.load_seconds += time.perf_counter() - started
        return self.current

    def control(self, location: ModelLocation) -> ControlNetModel:
        """The ControlNet, loaded if it is not. Raises: ModelNotFoundError, if its files cannot be read."""
        if location.id not in self.controls:
            started = time.perf_counter()
            try:
                model = ControlNetModel.from_pretrained(location.path, torch_dtype=self.dtype, local_files_only=True)
            except FAILURES as error:
                raise ModelNotFoundError(f"{location.name} cannot be loaded: {error}") from error
            model.set_attn_processor(AttentionProcessor(self.kernel))
            self.controls[location.id] = model.to(self.device).eval().requires_grad_(False)
            self.control_names[location.id] = location
            self.load_seconds += time.perf_counter() - started
        return self.controls[location.id]

    def free(self) -> None:
        """Unload everything."""
        self.current = None
        self.controls.clear()
        self.control_names.clear()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def resident(self) -> list[dict[str, Any]]:
        """What is loaded: name, kind and bytes of each."""
        loaded = [
            {"name": self.control_names[key].name, "kind": "controlnet", "bytes": size_of(model)}
            for key, model in self.controls.items()
        ]
        if self.current is None:
            return loaded
        parts = (self.current.unet, self.current.vae, self.current.prompts.text_encoder)
        total = sum(size_of(part) for part in parts)
        return [{"name": self.current.location.name, "kind": "checkpoint", "bytes": total}, *loaded]

    def _load_checkpoint(self, location: ModelLocation) -> Checkpoint:
        folder, old = Path(location.path), self.current
        vae_dtype = torch.float32 if self.device.type == "cpu" else self.dtype
        unet = self._place(UNet2DConditionModel, folder / "unet", self.dtype, old and old.unet)
        vae = self._place(AutoencoderKL, folder / "vae", vae_dtype, old and old.vae)
        text = self._place(CLIPTextModel, folder / "text_encoder", self.dtype, old and old.prompts.text_encoder)
        unet.set_attn_processor(AttentionProcessor(self.kernel))
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
        return Checkpoint(
            location=location,
            unet=unet,
            vae=vae,
            prompts=PromptEncoder(tokenizer, text, location.id),
            noise=_scheduler_config(folder),
            preview=fit_preview(vae),
        )

    def _place(self, kind: Any, folder: Path, dtype: torch.dtype, alive: Any) -> Any:
        """The module of that folder, in the storage of `alive` if both have the same architecture."""
        fresh = kind.from_pretrained(folder, torch_dtype=dtype, local_files_only=True).eval().requires_grad_(False)
        if alive is None or not same_shapes(alive, fresh) or not same_config(alive, fresh):
            return fresh.to(self.device)
        copy_weights(fresh, alive)
        return alive


def same_shapes(a: nn.Module, b: nn.Module) -> bool:
    """Whether both have the same tensors by name, shape and dtype."""
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(
        t.shape == second[name].shape and t.dtype == second[name].dtype for name, t in first.items()
    )


def same_config(a: Any, b: Any) -> bool:
    """Whether both were built alike; where they were loaded from does not count."""
    first, second = (
        {k: v for k, v in dict(m.config if isinstance(m.config, dict) else m.config.to_dict()).items() if k[0] != "_"}
        for m in (a, b)
    )
    return first == second


@torch.no_grad()
def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Copy every tensor of `source` into the storage of `target`. Their names, shapes and dtypes must agree."""
    values = source.state_dict()
    for name, tensor in target.state_dict().items():
        tensor.copy_(values[name])


def size_of(module: nn.Module) -> int:
    """Bytes of a module's parameters and buffers."""
    return sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))


def _scheduler_config(folder: Path) -> dict[str, Any]:
    file = folder / "scheduler" / "scheduler_config.json"
    return json.loads(file.read_text("utf-8")) if file.is_file() else {}

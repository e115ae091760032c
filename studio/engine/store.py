"""What is loaded: one set of living modules for each architecture, and control models, kept until something must go.

Another checkpoint of the same architecture is copied into the modules that live already: same storage, new bytes.
Nothing is held of a file beyond that copy; the system's page cache is the tier behind the modules.
"""

import json
import math
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from diffusers.utils.logging import disable_progress_bar as quiet_diffusers
from transformers.utils.logging import disable_progress_bar as quiet_transformers

from studio.adapters.stack import Stack
from studio.engine.attention import AttentionProcessor
from studio.engine.control_sources import open_hypernetwork, open_image_encoder, open_t2i_adapter, read_ip_adapter
from studio.engine.fp8 import Fp8Layers
from studio.engine.modules import copy_part, empty_module, full_config, holds
from studio.engine.placement import HEADROOM, Plan, Rung, plan
from studio.engine.preview import PreviewMap, fit_preview
from studio.engine.prompt import Embedding, PromptEncoder, Reader
from studio.engine.residency import (
    HOST,
    Arrangement,
    CudaMeter,
    Resident,
    Sizes,
    bytes_of,
    device_memory,
    is_out_of_memory,
    need_of,
)
from studio.engine.sources import Part, Source, open_checkpoint, open_control
from studio.engine.stack import Adapted, Dressed, adapted_of, dress, words_of
from studio.engine.working_sets import RunSize, WorkingSets
from studio.errors import ModelNotFoundError, OutOfMemoryError
from studio.messages import ModelLocation

FAILURES = (OSError, ValueError, KeyError, TypeError, RuntimeError)
PREVIEWS = 8
ATTENDING = ("UNet2DConditionModel", "ControlNetModel", "ControlNetUnionModel")
CONTROL_SOURCES = {"t2i_adapter": open_t2i_adapter, "image_encoder": open_image_encoder}
READ_WHOLE = {"ip_adapter": read_ip_adapter, "hypernetwork": open_hypernetwork}
KINDS = {
    "UNet2DConditionModel": "unet",
    "AutoencoderKL": "vae",
    "CLIPTextModel": "text encoder",
    "CLIPTextModelWithProjection": "text encoder",
}
TEXT_ENCODERS = ("text_encoder", "text_encoder_2")
# What a configuration says of where it came from, or of sizes that no tensor depends on.
INCIDENTAL = {"sample_size", "dtype", "torch_dtype", "transformers_version", "architectures", "name_or_path"}
INCIDENTAL |= {"force_upcast"}


@dataclass
class Slot:
    """A living module. contents: the parts whose bytes it holds, as "model id/part"; several when they are equal;
    adapted: what is merged into these."""

    module: Any
    sizes: Sizes
    contents: list[str] = field(default_factory=list)
    adapted: Adapted | None = None
    used: float = 0.0

    @property
    def key(self) -> str:
        """The name of its bytes: the part that was copied in, however many more are equal to it."""
        return self.contents[0]


@dataclass
class Checkpoint:
    """A loaded checkpoint. noise: its scheduler configuration; vae_key, words_key: names of the autoencoder's weights
    and of the text encoders' own; adapted: the parts that adapters change, by name."""

    location: ModelLocation
    unet: Any
    vae: Any
    prompts: PromptEncoder
    noise: dict[str, Any]
    vae_key: str
    vae_location: ModelLocation | None = None
    words_key: str = ""
    adapted: Mapping[str, Adapted] = field(default_factory=dict[str, Adapted])
    previews: OrderedDict[str, PreviewMap] = field(default_factory=OrderedDict)

    @property
    def factor(self) -> int:
        """Pixels to a latent, along a side."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def fills_in(self) -> bool:
        """Whether the UNet takes a mask and what it keeps beside the latents."""
        return self.unet.config.in_channels == 2 * self.vae.config.latent_channels + 1

    @property
    def preview(self) -> PreviewMap:
        """The map for previews, fitted when an autoencoder is first looked through."""
        if self.vae_key not in self.previews:
            self.previews[self.vae_key] = fit_preview(self.vae)
            while len(self.previews) > PREVIEWS:
                self.previews.popitem(last=False)
        return self.previews[self.vae_key]


@dataclass
class Store:
    """Loads what is asked for. The autoencoder stays in fp32 on the CPU, where half precision gains nothing; so do
    parts of the classes in `exact`, which learn."""

    device: torch.device
    dtype: torch.dtype
    kernel: str
    exact: frozenset[str] = frozenset()
    current: Checkpoint | None = None
    slots: dict[str, Slot] = field(default_factory=dict)
    controls: dict[str, Slot] = field(default_factory=dict)
    locations: dict[str, ModelLocation] = field(default_factory=dict)
    load_seconds: float = 0.0
    arrangement: Arrangement | None = None
    floors: dict[str, int] = field(default_factory=dict)
    working_sets: WorkingSets = field(default_factory=WorkingSets)
    _load_began: float = 0.0
    _embeddings: OrderedDict[tuple[str, str, int, int], Embedding] = field(default_factory=OrderedDict)
    _previews: OrderedDict[str, PreviewMap] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        quiet_diffusers()
        quiet_transformers()

    @torch.inference_mode(mode=False)
    def checkpoint(self, location: ModelLocation, vae: ModelLocation | None = None) -> Checkpoint:
        """The checkpoint, loaded if it is not; with another autoencoder, if one is named.

        Raises: ModelNotFoundError, if its files cannot be read.
        """
        current = self.current
        if current is not None and (current.location.id, current.vae_location) == (location.id, vae):
            return current
        self._disarrange()
        self._load_began = time.monotonic()
        with self._loading(location.name):
            self.current = self._load(open_checkpoint(location, vae), location, vae)
        return self.current

    def dress(self, stack: Stack) -> Dressed:
        """Let the current checkpoint wear these adapters and no others.

        Raises: ModelNotFoundError or InvalidRequestError, as `stack.dress` does.
        """
        assert self.current is not None
        worn = dress(self.current.adapted, stack, self._stored, self.device)
        self.current.prompts.key = self.current.words_key + words_of(stack)
        return worn

    def _stored(self, module: Any) -> Fp8Layers | None:
        return self.arrangement.stored(module) if self.arrangement else None

    @torch.inference_mode(mode=False)
    def control(self, location: ModelLocation) -> Any:
        """The ControlNet, T2I-Adapter, IP-Adapter, image encoder or hypernetwork, loaded if it is not.

        Raises: ModelNotFoundError, if its files cannot be read.
        """
        if location.id not in self.controls:
            with self._loading(location.name):
                slot = self._control_slot(location)
            slot.contents = [location.id]
            self.controls[location.id] = slot
            self.locations[location.id] = location
        slot = self.controls[location.id]
        slot.used = time.monotonic()
        return slot.module

    def _control_slot(self, location: ModelLocation) -> Slot:
        if (read := READ_WHOLE.get(location.kind)) is not None:
            module = read(location).to(self.device, self.dtype).requires_grad_(False)
            return Slot(module, Sizes.of(module, self.device))
        part = CONTROL_SOURCES.get(location.kind, open_control)(location)
        slot = self._new_slot(part, self.dtype)
        copy_part(part, slot.module)
        return slot

    @torch.inference_mode(mode=False)
    def arrange(self, size: RunSize, controls: Sequence[ModelLocation] = (), floor_rung: int = 0) -> Arrangement:
        """Place the current checkpoint and these control models for a run of that size, by a plan made now.

        floor_rung: No lower rung is taken, after a run that had too little memory there.
        Raises: OutOfMemoryError, if there is nothing left to try.
        """
        parts = self._parts({location.id for location in controls})
        needs = [need_of(part, self.device) for part in parts]
        floor = max(floor_rung, self.floors.get(size.key, 0))
        made = plan(device_memory(self.device), needs, self.working_sets.expected(size), floor)
        for part in parts:
            if part.name in made.evicted and (part.other or part.kind == "controlnet"):
                self._drop(part.slot)
        mine = {part.name: part for part in parts if not part.other and (part.in_use or part.kind != "controlnet")}
        old = self.arrangement
        if old is not None and (old.plan, old.parts) == (made, mine):
            old.learn = partial(self._learn, size, made)
            return old
        self._disarrange()
        placed = self.arrangement = Arrangement(made, self.device, mine)
        placed.meter = CudaMeter(self.device) if self.device.type == "cuda" else None
        placed.learn = partial(self._learn, size, made)
        placed.begin()
        return placed

    def _learn(self, size: RunSize, made: Plan, phase: str, peak: int) -> None:
        """Remember what a phase took; encoding a prompt takes too little to count."""
        if phase != "encode":
            self.working_sets.learn(size, "tiled" if made.tiled_vae and phase == "decode" else phase, peak, made.rung)

    def step_down(self, size: RunSize, floor_rung: int) -> int:
        """The rung to try after a run of that size had too little memory on its own; remembered for the next one.

        Raises: OutOfMemoryError, if there is no rung left.
        """
        tried = floor_rung if self.arrangement is None else self.arrangement.plan.rung
        self._disarrange()
        if max(tried, floor_rung) >= Rung.LEAST:
            raise OutOfMemoryError("There is not enough memory for this picture, even in parts.")
        self.floors[size.key] = max(tried, floor_rung) + 1
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return self.floors[size.key]

    def _parts(self, wanted: set[str]) -> list[Resident]:
        """Everything that is loaded, as the planner sees it; wanted: ids of the control models of the run."""
        in_use, name = self._parts_in_use(), self.current.location.name if self.current else ""
        rows = []
        for key, slot in self.slots.items():
            mine, kind = id(slot.module) in in_use, KINDS[type(slot.module).__name__]
            title = f"the {kind} of {name}" if mine else f"the {kind} of an earlier checkpoint"
            same = sum(row.name.startswith(title) for row in rows)
            title += f" ({same + 1})" if same else ""
            kind = kind.replace(" ", "_")
            rows.append(Resident(title, kind, key, slot.module, slot.sizes, mine and kind == "unet", not mine))
        for key, slot in self.controls.items():
            rows.append(Resident(self.locations[key].name, "controlnet", key, slot.module, slot.sizes, key in wanted))
        return rows

    def _drop(self, key: str) -> None:
        """Let a part go; its file is what it is loaded from again."""
        for held in (self.slots, self.controls, self.locations):
            held.pop(key, None)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _disarrange(self) -> None:
        arrangement, self.arrangement = self.arrangement, None
        if arrangement is not None:
            arrangement.end()

    def free(self) -> None:
        """Unload everything."""
        self._disarrange()
        self.current = None
        for held in (self.slots, self.controls, self.locations, self._embeddings, self._previews):
            held.clear()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def resident(self) -> list[dict[str, Any]]:
        """What is loaded: name, kind and bytes of each; parts of a checkpoint that is not in use count as `kept`."""
        loaded = [
            {"name": self.locations[key].name, "kind": "controlnet", "bytes": bytes_of(slot.module)}
            for key, slot in self.controls.items()
        ]
        in_use = self._parts_in_use()
        kept = sum(bytes_of(slot.module) for slot in self.slots.values() if id(slot.module) not in in_use)
        if kept:
            loaded.insert(0, {"name": "kept for the next checkpoint", "kind": "kept", "bytes": kept})
        if self.current is not None:
            total = sum(bytes_of(s.module) for s in self.slots.values() if id(s.module) in in_use)
            loaded.insert(0, {"name": self.current.location.name, "kind": "checkpoint", "bytes": total})
        return loaded

    def _parts_in_use(self) -> set[int]:
        if self.current is None:
            return set()
        return {id(m) for m in (self.current.unet, self.current.vae, *self.current.prompts.text_encoders)}

    @contextmanager
    def _loading(self, name: str) -> Iterator[None]:
        """Count the seconds; say in a sentence what could not be loaded."""
        started = time.perf_counter()
        try:
            yield
        except FAILURES as error:
            if is_out_of_memory(error):
                raise
            raise ModelNotFoundError(f"{name} cannot be loaded: {error}") from error
        finally:
            self.load_seconds += time.perf_counter() - started

    def _load(self, source: Source, location: ModelLocation, vae: ModelLocation | None) -> Checkpoint:
        self.current = None  # a load that breaks off leaves no half of it in use
        names = {name: f"{location.id}/{name}" for name in source.parts}
        if vae is not None:
            names["vae"] = f"{vae.id}/vae"
        for part in source.parts.values():  # what is there already must not make room for the rest
            if (slot := self.slots.get(self._slot_key(part))) is not None:
                slot.used = time.monotonic()
        encoders = [(number, name) for number, name in enumerate(TEXT_ENCODERS, 1) if name in source.parts]
        with ThreadPoolExecutor(1, "tokenizer") as beside:
            tokenizers = [beside.submit(source.tokenizer, number) for number, _ in encoders]
            slots = {name: self._hold(part, names[name]) for name, part in source.parts.items()}
        readers = [
            Reader(made.result(), slots[name].module) for made, (_, name) in zip(tokenizers, encoders, strict=True)
        ]
        words = "+".join(slots[name].key for _, name in encoders)
        return Checkpoint(
            location=location,
            unet=slots["unet"].module,
            vae=slots["vae"].module,
            prompts=PromptEncoder(
                readers=tuple(readers),
                key=words,
                large=len(readers) > 1,
                cache=self._embeddings,
            ),
            noise=source.noise,
            vae_key=slots["vae"].key,
            vae_location=vae,
            words_key=words,
            adapted={held.name: held for slot in slots.values() if (held := slot.adapted) is not None},
            previews=self._previews,
        )

    def _hold(self, part: Part, content: str) -> Slot:
        """The slot for parts of that architecture, with this part's bytes in it and no adapter on them."""
        key, dtype = self._slot_key(part), self._dtype_of(part)
        slot = self.slots.get(key)
        if slot is not None and slot.adapted and (content in slot.contents or slot.adapted.name in TEXT_ENCODERS):
            slot.adapted.wear({})  # else a copy follows
        if slot is None:
            slot = self._new_slot(part, dtype)
        elif content not in slot.contents and part.class_name != "UNet2DConditionModel" and holds(slot.module, part):
            slot.contents.append(content)
        slot.used = time.monotonic()
        if content not in slot.contents:
            self.slots.pop(key, None)  # half a copy must not be taken for a whole one
            slot.contents, slot.adapted = [], None
            copy_part(part, slot.module)
            slot.contents, slot.adapted = [content], adapted_of(part, content, slot.module)
        self.slots[key] = slot
        return slot

    def _slot_key(self, part: Part) -> str:
        return architecture(part.class_name, part.config, self._dtype_of(part))

    def _dtype_of(self, part: Part) -> torch.dtype:
        exact = part.class_name == "AutoencoderKL" and self.device.type == "cpu"
        return torch.float32 if exact or part.class_name in self.exact else self.dtype

    def _landing(self, part: Part, dtype: torch.dtype) -> torch.device:
        """Where a new module is filled: on the device, if there is room once idle parts are let go; else on the host,
        until a plan says where it works."""
        size = sum(map(math.prod, part.shapes.values())) * dtype.itemsize + HEADROOM
        while device_memory(self.device).available < size and (idle := self._oldest_idle()) is not None:
            self._drop(idle)
        return self.device if device_memory(self.device).available >= size else HOST

    def _oldest_idle(self) -> str | None:
        """The part that was longest not used, by a load that is going on or by the current checkpoint."""
        in_use = self._parts_in_use()
        held = {**self.slots, **self.controls}
        idle = [key for key, slot in held.items() if id(slot.module) not in in_use and slot.used < self._load_began]
        return min(idle, key=lambda key: held[key].used, default=None)

    def _new_slot(self, part: Part, dtype: torch.dtype) -> Slot:
        module = empty_module(part, self._landing(part, dtype), dtype)
        if part.class_name in ATTENDING:
            module.set_attn_processor(AttentionProcessor(self.kernel))
        return Slot(module, Sizes.of(module, self.device))


def architecture(class_name: str, config: Mapping[str, Any], dtype: torch.dtype) -> str:
    """A name for everything that decides how tensors are shaped and used; where they came from does not count."""
    told = {k: v for k, v in full_config(class_name, config).items() if k[0] != "_" and k not in INCIDENTAL}
    return f"{class_name} {dtype} {json.dumps(told, sort_keys=True, default=str)}"

"""A plan carried out: modules brought to the device and out of it, phase by phase."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Protocol, Self

import psutil
import torch

from studio.engine.fp8 import Fp8Layers, supports_fp8
from studio.engine.placement import GUESTS, Memory, Need, Plan
from studio.engine.streaming import StreamedLayers, largest_layer

HOST = torch.device("cpu")
COPY_SPEED = 4e9  # bytes a second from main memory that is not pinned; only its ratio to LOAD_SPEED matters
LOAD_SPEED = 1e9  # bytes a second from a file, about


@dataclass(frozen=True)
class Sizes:
    """Of a module, measured before anything is attached to it: bytes, bytes in fp8, and those of its largest layer."""

    bytes: int
    fp8: int
    layer: int

    @classmethod
    def of(cls, module: Any, device: torch.device) -> Self:
        """On the CPU nothing is stored in fp8 and nothing is streamed, so only the bytes count there."""
        whole = bytes_of(module)
        if device.type == "cpu":
            return cls(whole, whole, 0)
        return cls(whole, Fp8Layers.bytes_of(module) if supports_fp8(device) else whole, largest_layer(module))


@dataclass(frozen=True)
class Resident:
    """A part as the planner sees it. name: for a person; slot: where the store keeps it; other: not of this run."""

    name: str
    kind: str
    slot: str
    module: Any
    sizes: Sizes
    in_use: bool
    other: bool = False


def device_memory(device: torch.device) -> Memory:
    """The memory that modules on this device take from: the GPU's, or the machine's."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        stats = torch.cuda.memory_stats(device)
        return Memory(total, free, stats.get("reserved_bytes.all.current", 0), stats.get("active_bytes.all.current", 0))
    host = psutil.virtual_memory()
    return Memory(host.total, host.available)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device, or the machine, had too little memory; torch's CPU allocator says it in words alone."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def need_of(part: Resident, device: torch.device) -> Need:
    """What the planner must know of a part. On the CPU nothing can be moved out: a part of this run stays, and one of
    another goes altogether."""
    size, movable = part.sizes.bytes, device.type != "cpu"
    return Need(
        name=part.name,
        kind=part.kind,
        bytes=size,
        in_use=part.in_use or not (movable or part.other or part.kind == "controlnet"),
        reload_cost=size / (LOAD_SPEED if part.other else COPY_SPEED),
        fp8_bytes=part.sizes.fp8 if part.in_use else size,
        reuse=0.3 if part.other else 1.0,
        other=part.other,
        layer_bytes=part.sizes.layer if part.in_use else 0,
        resident=_bytes_on(device, part.module) if movable else size,
    )


def _bytes_on(device: torch.device, module: Any) -> int:
    """Those of a module's bytes that lie there now."""
    tensors = chain(module.parameters(), module.buffers())
    return sum(t.numel() * t.element_size() for t in tensors if t.device.type == device.type)


def bytes_of(module: Any) -> int:
    """Bytes of a module's parameters and buffers."""
    return sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))


class Meter(Protocol):
    """The peak of allocated bytes."""

    def begin(self) -> int:
        """What is allocated now; the peak is counted from here on."""
        ...

    def peak(self) -> int:
        """The most that was allocated since."""
        ...


@dataclass(frozen=True)
class CudaMeter:
    """torch's own count. Not measured on a GPU yet."""

    device: torch.device

    def begin(self) -> int:
        """What is allocated now."""
        torch.cuda.reset_peak_memory_stats(self.device)
        return torch.cuda.memory_allocated(self.device)

    def peak(self) -> int:
        """The most since then."""
        return torch.cuda.max_memory_allocated(self.device)


@dataclass
class Arrangement:
    """Where the parts of a run lie. It may last over many runs of the same parts.

    Fields:
        parts: Of this run, by the planner's names: those that work at every step, and the guests of a phase.
        meter: What measures the peak of a phase; None where nothing can.
        learn: Told the phase and the bytes that it took beyond what was there before.
        observer: Told of (moved in, moved out, fp8, streamed) and the part's name, in order.
    """

    plan: Plan
    device: torch.device
    parts: Mapping[str, Resident]
    observer: Callable[[str, str], None] = field(default=lambda _event, _name: None)
    meter: Meter | None = None
    learn: Callable[[str, int], None] = field(default=lambda _phase, _peak: None)
    _attached: list[Fp8Layers | StreamedLayers] = field(default_factory=list)

    def begin(self) -> None:
        """Move guests out, and store the parts in use as the plan says. If that fails, nothing stays attached."""
        try:
            for part in self._guests():
                self._move(part, HOST)
            self._bring_in()
        except BaseException:
            self.end()
            raise

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """encode, denoise or decode: its guests come in, and what must step aside leaves."""
        guests = [part for part in self._guests() if GUESTS.get(name) == part.kind]
        aside = [part for part in self.parts.values() if part.in_use and name in self.plan.aside]
        if aside:
            self.end()
            for part in aside:
                self._move(part, HOST)
        try:
            for part in guests:
                self._move(part, self.device)
            before = self.meter.begin() if self.meter else 0
            yield
            if self.meter:
                self.learn(name, self.meter.peak() - before)
        finally:
            for part in guests:
                self._move(part, HOST)
            if aside:
                self._bring_in()

    def stored(self, module: Any) -> Fp8Layers | None:
        """What keeps the module's weights in 8 bits now, and writes them; None, if nothing does."""
        held = (layers for layers in self._attached if isinstance(layers, Fp8Layers))
        return next((layers for layers in held if layers.module is module), None)

    def _guests(self) -> list[Resident]:
        return [self.parts[name] for name in self.plan.evicted if name in self.parts]

    def _bring_in(self) -> None:
        for name, part in self.parts.items():
            if name in self.plan.evicted:
                continue
            if (part.in_use and self.plan.fp8) or name in self.plan.budgets:
                self._move(part, HOST)  # where it is whole again when it is detached
            if part.in_use and self.plan.fp8:
                streamed = name in self.plan.budgets
                self._attach("fp8", name, Fp8Layers(part.module, None if streamed else self.device))
            if name in self.plan.budgets:
                self._attach("streamed", name, StreamedLayers(part.module, self.device, self.plan.budgets[name]))
            else:
                self._move(part, self.device)

    def _attach(self, how: str, name: str, layers: Fp8Layers | StreamedLayers) -> None:
        self.observer(how, name)
        layers.attach()
        self._attached.append(layers)

    def end(self) -> None:
        """Detach in the opposite order; what was streamed goes back to the host that it came from."""
        while self._attached:
            self._attached.pop().detach()

    def _move(self, part: Resident, device: torch.device) -> None:
        if any(t.device.type != device.type for t in part.module.parameters()):
            self.observer("moved in" if device == self.device else "moved out", part.name)
            part.module.to(device)

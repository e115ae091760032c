"""Running a module that is larger than the device: some layers stay there, the others pass through two buffers.

While layer n computes, the weights of layer n + 1 are copied. On CUDA the copies run on a stream of their own, out of
pinned memory; elsewhere the same calls happen in the same order, one after the other. Not measured on a GPU yet.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import wraps
from itertools import chain
from typing import Any, Protocol

import torch
from torch import Tensor, nn

ALIGN = 256  # bytes; what CUDA's allocator and kernels expect of a tensor's start
SMALL = 32 * 1024
CHUNK = 256 * 2**20  # torch rounds every pinned allocation up to a power of two, so layers share larger ones
Observer = Callable[[str, str, int], None]


class Lane(Protocol):
    """Two buffers on a device, and the way into them."""

    buffers: list[Tensor]

    def copy(self, slot: int, host: Tensor) -> None:
        """Begin to copy flat bytes into a buffer, once the work that reads it is done."""
        ...

    def wait(self, slot: int) -> None:
        """Let the work that follows wait until the buffer is filled."""
        ...

    def release(self, slot: int) -> None:
        """Say that all work that reads the buffer was given to the device."""
        ...

    def settle(self) -> None:
        """Return when no copy is under way."""
        ...


class PlainLane:
    """Copies at once: the twin for devices without streams."""

    def __init__(self, device: torch.device, size: int) -> None:
        self.buffers = _two_buffers(device, size)

    def copy(self, slot: int, host: Tensor) -> None:
        """Copy now."""
        self.buffers[slot][: len(host)].copy_(host)

    def wait(self, slot: int) -> None:
        """Nothing is under way."""

    def release(self, slot: int) -> None:
        """Nothing waits for it."""

    def settle(self) -> None:
        """Nothing is under way."""


class CudaLane:
    """Copies on a stream of its own. cuda: torch.cuda, or what stands in for it in a test."""

    def __init__(self, device: torch.device, size: int, cuda: Any = torch.cuda) -> None:
        self.cuda, self.device = cuda, device
        self.buffers = _two_buffers(device, size)
        self.stream = cuda.Stream(device)
        self.filled, self.read = [cuda.Event(), cuda.Event()], [cuda.Event(), cuda.Event()]
        for slot in (0, 1):  # the allocator may have given memory that earlier work still reads
            self.release(slot)

    def copy(self, slot: int, host: Tensor) -> None:
        """Copy on our stream, after the last reader of the buffer."""
        self.stream.wait_event(self.read[slot])
        with self.cuda.stream(self.stream):
            self.buffers[slot][: len(host)].copy_(host, non_blocking=True)
        self.filled[slot].record(self.stream)

    def wait(self, slot: int) -> None:
        """The computing stream waits, not the program."""
        self.cuda.current_stream(self.device).wait_event(self.filled[slot])

    def release(self, slot: int) -> None:
        """Mark the place in the computing stream."""
        self.read[slot].record(self.cuda.current_stream(self.device))

    def settle(self) -> None:
        """The program waits for our stream."""
        self.stream.synchronize()


@dataclass(eq=False)
class _Layer:
    """A leaf module. offsets: of each tensor in the flat bytes; host: those bytes, while it is streamed."""

    name: str
    module: nn.Module
    tensors: list[Tensor]
    offsets: list[int]
    size: int
    host: Tensor | None = None
    places: list[list[Tensor]] = field(default_factory=list)  # views of slot 0, of slot 1, of the host bytes

    def point_to(self, place: int) -> None:
        """Let the module's tensors use the bytes of a slot, or of the host (-1)."""
        for tensor, view in zip(self.tensors, self.places[place], strict=True):
            tensor.data = view

    def views(self, flat: Tensor) -> list[Tensor]:
        """The layer's tensors as views of flat bytes, with the strides that they have."""
        return [
            flat[start : start + t.numel() * t.element_size()].view(t.dtype).as_strided(t.shape, t.stride())
            for t, start in zip(self.tensors, self.offsets, strict=True)
        ]


class StreamedLayers:
    """A module whose layers are resident, the largest first, as far as a budget goes; the rest is streamed.

    The output is the plain module's, bit for bit. Layers under 32 KiB and the first one, from which diffusers reads
    device and dtype, are always resident, and so are tensors of modules that hold others. While attached, the module
    runs without gradients and eagerly, and its tensors may be written in place between two forwards: between them
    they are the host's bytes, which the next forward copies.

    Args:
        module: A UNet or a control model, on any device.
        budget_bytes: For everything on the device, both buffers included.
        observer: Told of (copy, wait, run, free), the layer's name and the slot, in the order of the calls.
    """

    def __init__(
        self, module: nn.Module, device: torch.device, budget_bytes: int, *, observer: Observer | None = None
    ) -> None:
        self.module, self.device, self.budget = module, device, budget_bytes
        self.observer: Observer = observer or (lambda _event, _name, _slot: None)
        self.lane: Lane | None = None
        self._streamed: list[_Layer] = []
        self._resident: list[Tensor] = []
        self._origin: dict[int, torch.device] = {}
        self._names: dict[str, Tensor] = {}
        self._after: dict[_Layer | None, _Layer] = {}  # the layer that followed each; None: the start
        self._slots: list[_Layer | None] = [None, None]
        self._last: _Layer | None = None
        self._running = False

    @property
    def host_bytes(self) -> int:
        """What lives in host memory, pinned where there is CUDA."""
        return sum(layer.size for layer in self._streamed)

    @property
    def device_bytes(self) -> int:
        """What lies on the device: resident tensors and both buffers. Above the budget only if it was too small."""
        buffers = sum(len(buffer) for buffer in self.lane.buffers) if self.lane else 0
        return buffers + sum(t.numel() * t.element_size() for t in self._resident)

    @property
    def streamed(self) -> tuple[str, ...]:
        """Names of the layers that pass through the buffers."""
        return tuple(layer.name for layer in self._streamed)

    @contextmanager
    def attached(self) -> Generator["StreamedLayers"]:
        """Stream until the block ends; the module is as it was then, even if the block raises."""
        self.attach()
        try:
            yield self
        finally:
            self.detach()

    def attach(self) -> None:
        """Move every layer to its place. Raises: ValueError, if it is attached or two layers share a tensor; whatever
        the device raises, with the module as it was."""
        if self._origin or "forward" in self.module.__dict__:
            raise ValueError("this module is streamed already; detach that first")
        layers = leaf_layers(self.module)
        every = {id(t): t for t in (*self.module.parameters(), *self.module.buffers())}
        self._origin = {key: t.device for key, t in every.items()}
        self._names = self.module.state_dict(keep_vars=True)
        streamed = choose_streamed([layer.size for layer in layers], self.budget, SMALL)
        with mode_of(self.module):
            try:
                self._place([layers[index] for index in streamed], every)
            except BaseException:
                self.detach()
                raise

    def _place(self, streamed: list[_Layer], every: dict[int, Tensor]) -> None:
        leaving = {id(tensor) for layer in streamed for tensor in layer.tensors}
        hosts = host_bytes([layer.size for layer in streamed], pinned=self.device.type == "cuda")
        for layer, layer.host in zip(streamed, hosts, strict=True):  # first, so that the device has room for the others
            views = layer.views(layer.host)
            for tensor, view in zip(layer.tensors, views, strict=True):
                view.copy_(tensor)
                tensor.data = view
            layer.places = [views]
            self._streamed.append(layer)
        for key in self._origin.keys() - leaving:
            every[key].data = every[key].to(self.device)
        self._resident = [tensor for key, tensor in every.items() if key not in leaving]
        if streamed:
            kind = CudaLane if self.device.type == "cuda" else PlainLane
            self.lane = kind(self.device, max(layer.size for layer in streamed))
            for layer in streamed:
                layer.places = [*(layer.views(buffer) for buffer in self.lane.buffers), *layer.places]
                _override(layer.module, self._run_layer, layer)
            _override(self.module, self._run_module)

    def detach(self, device: torch.device | None = None) -> None:
        """Bring every tensor back to the device that it came from, or to `device`; nothing if it is not attached."""
        self.settle()
        with mode_of(self.module):
            self._bring_back(device)
        self.lane, self._streamed, self._resident, self._origin, self._names = None, [], [], {}, {}
        self._after, self._slots, self._last = {}, [None, None], None

    def _bring_back(self, device: torch.device | None) -> None:
        for layer in self._streamed:
            layer.module.__dict__.pop("forward", None)
            for tensor in layer.tensors:
                tensor.data = torch.empty_like(tensor, device=device or self._origin[id(tensor)]).copy_(tensor)
        if self._origin:
            self.module.__dict__.pop("forward", None)
        for tensor in (*self.module.parameters(), *self.module.buffers()):
            if id(tensor) in self._origin:
                tensor.data = tensor.to(device or self._origin[id(tensor)])

    def settle(self) -> None:
        """Return when no copy reads the host's bytes any more."""
        if self.lane is not None:
            self.lane.settle()

    def host_tensor(self, name: str) -> Tensor:
        """The tensor to write another checkpoint's values into, on the host or the device, under its name in
        `state_dict()`. Raises: KeyError, also when nothing is attached; RuntimeError, during a forward."""
        if self._running:
            raise RuntimeError("the module is running; write its weights between two forwards")
        self.settle()
        return self._names[name]

    def _run_module(self, forward: Callable[..., Any], *args: Any, **options: Any) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError("a streamed module has no gradients; run it under torch.no_grad()")
        self._slots, self._last, self._running = [None, None], None, True  # the weights may be others by now
        try:
            self._prefetch(0)
            return forward(*args, **options)
        finally:
            self._running = False
            self.settle()  # from here on the host's bytes may be written

    def _run_layer(self, forward: Callable[..., Any], layer: _Layer, *args: Any, **options: Any) -> Any:
        assert self.lane is not None
        if not self._running:  # a part that is called alone: nothing is known of what was before
            return self._run_module(self._run_layer, forward, layer, *args, **options)
        slot = self._fetch(layer)
        self._after[self._last], self._last = layer, layer
        self.lane.wait(slot)
        self.observer("wait", layer.name, slot)
        self._prefetch(1 - slot)
        layer.point_to(slot)
        try:
            self.observer("run", layer.name, slot)
            return forward(*args, **options)
        finally:
            layer.point_to(-1)
            self.lane.release(slot)
            self.observer("free", layer.name, slot)

    def _fetch(self, layer: _Layer) -> int:
        """The slot that holds the layer; if none does, the one that the last layer did not use is filled."""
        if layer not in self._slots:
            last = self._slots.index(self._last) if self._last is not None else 1
            self._copy(layer, 1 - last)
        return self._slots.index(layer)

    def _prefetch(self, slot: int) -> None:
        """Fill a slot with the layer that came next the last time."""
        following = self._after.get(self._last)
        if following is not None and following not in self._slots:
            self._copy(following, slot)

    def _copy(self, layer: _Layer, slot: int) -> None:
        assert self.lane is not None
        assert layer.host is not None
        self.lane.copy(slot, layer.host)
        self.observer("copy", layer.name, slot)
        self._slots[slot] = layer


def leaf_layers(module: nn.Module) -> list[_Layer]:
    """The modules that hold tensors and no other module, in the order of their registration.

    Raises: ValueError, if two of them share a tensor, or a tensor has gaps.
    """
    layers, seen = [], {}
    for name, leaf in module.named_modules():
        tensors = [*leaf.parameters(recurse=False), *leaf.buffers(recurse=False)]
        if not tensors or next(leaf.children(), None) is not None:
            continue
        for tensor in tensors:
            if seen.setdefault(id(tensor), name) != name:
                raise ValueError(f"{seen[id(tensor)]} and {name} share a tensor, so neither can be streamed")
            if tensor.numel() and _span(tensor) != tensor.numel():
                raise ValueError(f"a tensor of {name} has gaps, so it cannot be streamed")
        sizes = [-(-t.numel() * t.element_size() // ALIGN) * ALIGN for t in tensors]
        offsets = [sum(sizes[:i]) for i in range(len(sizes))]
        layers.append(_Layer(name, leaf, tensors, offsets, sum(sizes)))
    return layers


def choose_streamed(sizes: list[int], budget: int, small: int) -> list[int]:
    """Indices of the layers that are streamed, in order, so that the others and two buffers lie within the budget.

    Resident are the first layer, those under `small` bytes, and then the largest; what is left of the budget takes
    whichever smaller ones still fit. Two buffers of the largest streamed layer are the least that is needed.
    """
    if sum(sizes) <= budget:
        return []
    order = sorted((i for i in range(1, len(sizes)) if sizes[i] >= small), key=lambda i: (-sizes[i], i))
    room = budget - sum(sizes) + sum(sizes[i] for i in order)
    while order and sizes[order[0]] + 2 * max((sizes[i] for i in order[1:]), default=0) <= room:
        room -= sizes[order.pop(0)]
    room -= 2 * sizes[order[0]] if order else 0
    streamed = order[:1]
    for index in order[1:]:
        if sizes[index] <= room:
            room -= sizes[index]
        else:
            streamed.append(index)
    return sorted(streamed)


def host_bytes(sizes: list[int], *, pinned: bool) -> list[Tensor]:
    """Flat bytes on the host, one tensor for each size, cut from chunks of at most 256 MiB if no size is larger."""
    chunks, places = [0], []
    for size in sizes:
        if chunks[-1] and chunks[-1] + size > CHUNK:
            chunks.append(0)
        places.append((len(chunks) - 1, chunks[-1]))
        chunks[-1] += size
    blocks = [_host_block(size, pinned) for size in chunks]
    return [blocks[index][start : start + size] for (index, start), size in zip(places, sizes, strict=True)]


def largest_layer(module: nn.Module) -> int:
    """Bytes of the largest layer, which both buffers must hold when everything is streamed."""
    return max((layer.size for layer in leaf_layers(module)), default=0)


def _override(module: nn.Module, run: Callable[..., Any], *before: Any) -> None:
    """Let `run(forward, *before, *arguments)` answer for the module's forward, until the attribute is removed."""
    forward = module.forward

    @wraps(forward)
    @torch.compiler.disable  # compiled code must not keep what a tensor pointed to
    def instead(*args: Any, **options: Any) -> Any:
        return run(forward, *before, *args, **options)

    module.__dict__["forward"] = instead


def _span(tensor: Tensor) -> int:
    """Elements from the first to the last of a tensor in its storage."""
    return 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))


@contextmanager
def mode_of(module: nn.Module) -> Generator[None]:
    """Make tensors of the module's kind: one that was made in inference mode takes no others as its data."""
    first = next(chain(module.parameters(), module.buffers()), None)
    with torch.inference_mode(first is not None and first.is_inference()), torch.no_grad():
        yield


def _host_block(size: int, pinned: bool) -> Tensor:
    """Bytes on the host; not pinned where the system refuses, which only makes copies slower."""
    if pinned:
        with suppress(RuntimeError):
            return torch.empty(size, dtype=torch.uint8, pin_memory=True)
    return torch.empty(size, dtype=torch.uint8)


def _two_buffers(device: torch.device, size: int) -> list[Tensor]:
    return [torch.empty(size, dtype=torch.uint8, device=device) for _ in range(2)]

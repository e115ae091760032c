"""Turbo: the repeated blocks of a model compiled beside the pictures, which never wait for it.

A picture whose shapes are not compiled yet runs as ever and leaves an example of each kind of block. A process of its
own compiles these into torch's cache on disk; between two pictures, when nothing waits, the code is taken from there,
and the next picture runs with it. It cannot be a thread: while torch traces a graph it replaces `Module.__call__` for
the whole process, and a picture made meanwhile fails (seen with torch 2.13). Weights that are copied in place, or
merged, need nothing new; neither does another module of the same architecture.
"""

import copy
import importlib.util
import io
import logging
import os
import pickle
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Hashable, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

log = logging.getLogger("studio.engine")
REPEATED = ("BasicTransformerBlock",)
COMPILERS = ("c++", "g++", "clang++", "cl")
LOWEST = 19  # pictures are made meanwhile
CODES = 64  # for one block: widths, with and without guidance; torch's own limit of 8 falls back without a word
FAILURES = (
    RuntimeError,  # torch's own are of this kind
    OSError,
    ImportError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    SyntaxError,
    EOFError,
)


def obstacle(device: torch.device) -> str:
    """Why nothing can be compiled for that device, as a sentence; "" if nothing speaks against it."""
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        return "Turbo needs the package triton on a GPU, which is not installed."
    if device.type == "cpu" and not any(map(shutil.which, (os.environ.get("CXX") or "c++", *COMPILERS))):
        return "Turbo needs a C++ compiler on a CPU, such as g++ or clang++, and there is none."
    return ""


@dataclass(frozen=True)
class Example:
    """A block and what it was called with; the tensors among that are on the meta device, shapes without values."""

    block: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def skeleton(self) -> "Example":
        """The same with a block that has no values either, for another process."""
        tensors = (*self.block.parameters(), *self.block.buffers())
        memo: dict[int, Any] = {id(t): _valueless(t) for t in tensors}
        return Example(copy.deepcopy(self.block, memo), self.args, self.kwargs)

    def compile(self, device: torch.device, backend: Any) -> None:
        """Compile the block's code by a call. Its code serves every block of the kind; the block stays as it is."""
        twin = copy.copy(self.block)
        put_in(twin, backend)
        made = {name: _zeros(value, device) for name, value in self.kwargs.items()}
        twin(*(_zeros(value, device) for value in self.args), **made)


@dataclass
class Job:
    """What is to be compiled: examples of every kind of block that a call with these shapes reaches."""

    key: Hashable
    examples: dict[Hashable, Example] = field(default_factory=dict[Hashable, Example])


class Turbo:
    """Compiles models for one device. Belongs to the thread that makes pictures.

    Args:
        backend: inductor, which is prepared in another process; any other of torch.compile's is used directly.
        on_prepared: Called from another thread when `tend` has something to do.
    Fields:
        trouble: Why nothing is compiled (any more), as a sentence; "" while all is well.
    """

    def __init__(
        self, device: torch.device, backend: Any = "inductor", on_prepared: Callable[[], object] = lambda: None
    ) -> None:
        self.trouble = obstacle(device) if backend == "inductor" else ""
        self.backend = backend
        self._device, self._on_prepared = device, on_prepared
        self._known: set[Hashable] = set()
        self._covered: set[Hashable] = set()
        self._waiting: list[Job] = []
        self._prepared: list[Job] = []
        self._preparing: threading.Thread | None = None
        self._told = ""

    @property
    def preparing(self) -> bool:
        """Whether the other process is at work."""
        return self._preparing is not None and self._preparing.is_alive()

    @contextmanager
    def picture(self, *modules: nn.Module) -> Generator[list[str]]:
        """Around the making of pictures by these modules: what is compiled runs so, the rest as ever.

        Yields a list that holds, once, the sentence about what could not be compiled.
        """
        notes = [self.trouble] if self.trouble != self._told else []
        self._told = self.trouble
        with ExitStack() as stack:
            if not self.trouble:  # code that does not fit after all is run as ever, never compiled on the way
                stack.enter_context(torch.compiler.set_stance("eager_on_recompile"))
                for module in modules:
                    stack.enter_context(self._watched(module))
            yield notes
        self._prepare()

    def tend(self, busy: Callable[[], bool] = lambda: False) -> None:
        """Take in what is prepared, block by block until `busy()`: called when no picture waits."""
        while self._prepared and not self.trouble:
            job = self._prepared[0]
            for kind in list(job.examples):
                if busy():
                    return
                with self._trying():
                    compile_all([job.examples[kind]], self._device, self.backend)
                del job.examples[kind]
            self._covered.add(self._prepared.pop(0).key)

    @contextmanager
    def _trying(self) -> Generator[None]:
        try:
            yield
        except FAILURES as error:
            log.warning("turbo", exc_info=error)
            self.trouble = _sentence(f"{type(error).__name__}: {error}")

    def _prepare(self) -> None:
        if not self._waiting or self.preparing or self.trouble:
            return
        jobs, self._waiting = self._waiting, []
        if self.backend != "inductor":
            self._prepared += jobs
            return
        examples = [example.skeleton() for job in jobs for example in job.examples.values()]
        self._preparing = threading.Thread(target=self._run, args=(jobs, examples), name="turbo", daemon=True)
        self._preparing.start()

    def _run(self, jobs: Sequence[Job], examples: Sequence[Example]) -> None:
        with self._trying():
            prepare(examples, self._device)
            importlib.import_module("torch._inductor.compile_fx")  # seconds that `tend` need not spend
            self._prepared += jobs
            self._on_prepared()

    @contextmanager
    def _watched(self, module: nn.Module) -> Generator[None]:
        """Look at the shapes of each call of the module before its blocks run; afterwards it is as it was."""
        blocks = [block for block in module.modules() if type(block).__name__ in REPEATED]
        if not blocks or any(map(_has_hooks, blocks)):  # a layer that is streamed in is not to be compiled
            yield
            return
        structure = hash(tuple(map(_kind, blocks)))
        covered = frozenset(self._covered)

        def before(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            key = (structure, _shapes((*args, *kwargs.values())))
            for block in blocks:
                put_in(block, self.backend) if key in covered else take_out(block)
            if key not in covered and key not in self._known:
                self._known.add(key)
                self._waiting.append(Job(key))
                collector = _Collector(self._waiting[-1])
                hooks.extend(block.register_forward_pre_hook(collector, with_kwargs=True) for block in blocks)

        def after(*_ignored: object) -> None:
            while hooks:
                hooks.pop().remove()

        hooks: list[Any] = []
        own = [module.register_forward_pre_hook(before, with_kwargs=True), module.register_forward_hook(after)]
        try:
            yield
        finally:
            for hook in (*own, *hooks):
                hook.remove()
            for block in blocks:
                take_out(block)


def put_in(block: nn.Module, backend: Any) -> None:
    """Let the block's calls go through compiled code."""
    if block._compiled_call_impl is None:
        block.compile(backend=backend, dynamic=True)


def take_out(block: nn.Module) -> None:
    """Let the block's calls run as ever."""
    block._compiled_call_impl = None  # what `compile` sets; torch has no call that takes it back


def compile_all(examples: Sequence[Example], device: torch.device, backend: Any) -> None:
    """Compile each example. Raises: whatever torch raises; none falls back silently."""
    import torch._dynamo
    import torch.fx.experimental._config as shapes

    limits = torch._dynamo.config.patch(recompile_limit=CODES, fail_on_recompile_limit_hit=True)
    with limits, shapes.patch(use_duck_shape=False), torch.inference_mode():
        try:
            for example in examples:
                example.compile(device, backend)
        except torch._dynamo.exc.FailOnRecompileLimitHit as error:
            raise RuntimeError("one block needs too many codes") from error


def prepare(examples: Sequence[Example], device: torch.device) -> None:
    """Compile in another process, which leaves the code in torch's cache. Raises: RuntimeError, with its last line."""
    command = [sys.executable, "-m", "studio.engine.turbo", str(device)]
    done = subprocess.run(command, input=pickle.dumps(list(examples)), capture_output=True, check=False)
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise RuntimeError(lines[-1] if lines else f"status {done.returncode}")


def compile_skeletons(data: bytes, device: torch.device, backend: Any = "inductor") -> None:
    """What the other process does with pickled examples: blocks get zeros for weights, then they are compiled."""
    for example in pickle.load(io.BytesIO(data)):  # from the process that started this one
        with torch.inference_mode(any(p.is_inference() for p in example.block.parameters())):
            example.block.to_empty(device=device)
        compile_all([example], device, backend)


@dataclass(frozen=True)
class _Collector:
    """Keeps an example of the first block of each kind."""

    job: Job

    def __call__(self, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        key = (_kind(block), _shapes((*args, *kwargs.values())))
        if key not in self.job.examples:
            kept = {name: _valueless(value) for name, value in kwargs.items()}
            self.job.examples[key] = Example(block, tuple(map(_valueless, args)), kept)


def _kind(block: nn.Module) -> Hashable:
    """What compiled code depends on beside the inputs: classes, shapes and precisions."""
    layers = tuple((name, type(layer)) for name, layer in block.named_modules())
    return layers, tuple((name, tuple(p.shape), p.dtype, p.is_inference()) for name, p in block.named_parameters())


def _shapes(values: Sequence[Any]) -> Hashable:
    return tuple((tuple(v.shape), v.dtype, v.is_inference()) if isinstance(v, Tensor) else None for v in values)


def _valueless(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    with torch.inference_mode(value.is_inference()):
        empty = torch.empty_like(value, device="meta")
        return nn.Parameter(empty, requires_grad=False) if isinstance(value, nn.Parameter) else empty


def _zeros(value: Any, device: torch.device) -> Any:
    if not isinstance(value, Tensor):
        return value
    with torch.inference_mode(value.is_inference()):
        return torch.zeros_like(value, device=device)


def _has_hooks(block: nn.Module) -> bool:
    return any(layer._forward_pre_hooks or layer._forward_hooks for layer in block.modules())


def _sentence(reason: str) -> str:
    first = reason.strip().splitlines()[0][:200]
    return f"Turbo is off: the model could not be compiled ({first})."


if __name__ == "__main__":
    if hasattr(os, "nice"):
        os.nice(LOWEST)
    compile_skeletons(sys.stdin.buffer.read(), torch.device(sys.argv[1]))

"""The suite `adapters`: what a change of the stack costs beside diffusers', and whether the weights are exact."""

import itertools
import random
import statistics
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import studio.engine  # noqa: F401  (before diffusers)

# isort: split
from diffusers import UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging

from studio.adapters.delta import LowRank
from studio.adapters.file import read_adapter
from studio.adapters.stack import Stack, Weighted, merge, plus_product, terms_of
from studio.bench.figures import Figure
from studio.bench.store_child import NOISE_VALUES, look_at, private_bytes
from studio.bench.suites import interleaved, paired, seconds_of
from studio.engine.attention import AttentionProcessor, choose_kernel
from studio.engine.configs import CONFIGS
from studio.engine.layouts import folder_places
from studio.engine.modules import copy_part, empty_module, holds
from studio.engine.parts import Part, find_part
from studio.engine.skeletons import expected_shapes
from studio.engine.stack import Adapted
from studio.engine.weights import open_weights

CPU = torch.device("cpu")
FIVE = ("a", "b", "c", "d", "e")
WEIGHTS = (0.8, -0.3, 1.0, 0.55, 0.7)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
STEPS_OF_ONE = 3  # steps whose median counts as one
SHARE = 0.03  # of a layer's scale: what a trained LoRA changes, about


@dataclass(frozen=True, kw_only=True)
class Size:
    """What is measured.

    Fields:
        config: The UNet's.
        ranks: Of the LoRAs whose change is timed; the first is the stack's whose step is timed.
        side: Of the latents; changes: of the random walk; walked: its layers; heavy: bytes of the file that is opened.
    """

    config: Mapping[str, Any]
    ranks: tuple[int, ...] = (16, 32, 128)
    side: int = 16
    repeats: int = 5
    steps: int = 5
    changes: int = 1000
    walked: int = 16
    heavy: int = 150_000_000


def adapters_suite() -> dict[str, Figure]:
    """All figures on SD 1.5's UNet with random weights, for LoRAs of its attention layers; takes five minutes."""
    return measure(Size(config=CONFIGS["sd1"]["unet"]))


def measure(size: Size) -> dict[str, Figure]:
    """All figures of a size."""
    figures: dict[str, Figure] = {}
    with tempfile.TemporaryDirectory(prefix="maquette-bench-") as folder:
        for name in ("fp32", "bf16"):
            say(f"a UNet in {name}")
            desk = Desk.make(Path(folder), size, DTYPES[name])
            figures |= {f"{title}, {name}": figure for title, figure in desk_figures(desk).items()}
            del desk
        figures |= rounding_figures(size) | load_figures(Path(folder), size)
    return figures


@dataclass
class Desk:
    """A UNet as the store holds it, and the file that it came from; random LoRAs are files beside that."""

    folder: Path
    size: Size
    part: Part
    unet: Any
    adapted: Adapted = field(init=False)

    def __post_init__(self) -> None:
        self.adapted = Adapted("unet", self.unet, self.part)

    @classmethod
    def make(cls, folder: Path, size: Size, dtype: torch.dtype) -> "Desk":
        """Write a file of random weights in that precision, and load it as the store does."""
        file = folder / "unet.safetensors"
        shapes = expected_shapes("UNet2DConditionModel", dict(size.config))
        save_file({name: random_values(name, shape, dtype) for name, shape in shapes.items()}, file)
        part = find_part("UNet2DConditionModel", dict(size.config), open_weights(file), "UNet", folder_places)
        unet = empty_module(part, CPU, dtype)
        copy_part(part, unet)
        unet.set_attn_processor(AttentionProcessor(choose_kernel(CPU, dtype)))
        return cls(folder, size, part, unet)

    @property
    def targets(self) -> dict[str, tuple[int, ...]]:
        """Every parameter's shape, by the name that adapters use."""
        return {name: tuple(p.shape) for name, (_, p) in self.adapted.parameters().items()}

    def file(self, name: str, rank: int) -> Path:
        """A random plain LoRA for the attention layers, in fp16, as people have them."""
        file = self.folder / f"{name}-{rank}.safetensors"
        if not file.exists():
            save_file(random_lora(attention_shapes(self.targets), rank, name), file)
        return file

    def stack(self, rank: int) -> list[Weighted]:
        """Five of them."""
        opened = [read_adapter(open_weights(self.file(name, rank)), self.targets) for name in FIVE]
        rows = zip(FIVE, opened, WEIGHTS, strict=True)
        return [Weighted(id=f"{n}-{rank}", title=f.title, deltas=f.deltas, weight=w) for n, f, w in rows]

    def wear(self, stack: Stack) -> None:
        """Merge a stack."""
        self.adapted.wear(terms_of(stack))


def desk_figures(desk: Desk) -> dict[str, Figure]:
    """What a change costs, and what it leaves."""
    figures = memory_figures(desk) | walk_figures(desk)
    for rank in desk.size.ranks:
        say(f"five LoRAs of rank {rank}")
        theirs = Theirs.beside(desk, rank)
        ratio, seconds = change_ratio(desk, theirs, rank)
        title = f"diffusers' unfuse, set weights, fuse of five / one changed by us, rank {rank}"
        figures |= {title: Figure(ratio, "x", 3.0, "higher")}
        figures |= {f"our change of one weight among five, rank {rank}": Figure(seconds, "s")}
        if rank == desk.size.ranks[0]:
            figures |= step_figures(desk, theirs, rank)
        desk.wear([])
    return figures


def change_ratio(desk: Desk, theirs: "Theirs", rank: int) -> tuple[float, float]:
    """Their change over ours, of neighbours; and the seconds of ours."""
    ours, taken = seconds_of(changes_of(desk, rank)), list[float]()

    def kept() -> float:
        taken.append(ours())
        return taken[-1]

    ratio = paired(seconds_of(theirs.change), kept, desk.size.repeats)
    return ratio, statistics.median(taken)


def changes_of(desk: Desk, rank: int) -> Callable[[], None]:
    """Change the weight of the third among five, each time to another value."""
    stack, values = desk.stack(rank), itertools.cycle((0.25, 0.5, 0.75))
    desk.wear(stack)
    return lambda: desk.wear([replace(one, weight=next(values)) if one.id[0] == FIVE[2] else one for one in stack])


@dataclass
class Theirs:
    """diffusers' UNet with five adapters of PEFT's. It shares with ours what no adapter changes."""

    unet: Any
    values: Any = field(default_factory=lambda: itertools.cycle((0.25, 0.5, 0.75)))

    @classmethod
    def beside(cls, desk: Desk, rank: int) -> "Theirs":
        """With the same files as ours, fused."""
        with torch.device("meta"):
            unet: Any = UNet2DConditionModel.from_config(dict(desk.size.config))
        changed = {name.removeprefix("unet.") for name in attention_shapes(desk.targets)}
        state = desk.unet.state_dict()
        unet.load_state_dict({n: t.clone() if n in changed else t for n, t in state.items()}, assign=True)
        diffusers_logging.set_verbosity_error()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # both speak of a second adapter
            for name in FIVE:
                unet.load_lora_adapter(load_file(desk.file(name, rank)), prefix="unet", adapter_name=name)
        unet.to(desk.unet.dtype).eval().requires_grad_(False)
        unet.set_adapters(list(FIVE), list(WEIGHTS))
        unet.fuse_lora()
        return cls(unet)

    def change(self) -> None:
        """The weight of the third."""
        self.unet.unfuse_lora()
        self.unet.set_adapters(list(FIVE), [*WEIGHTS[:2], next(self.values), *WEIGHTS[3:]])
        self.unet.fuse_lora()


def step_figures(desk: Desk, theirs: Theirs, rank: int) -> dict[str, Figure]:
    """The time of a guided step with five merged, and with diffusers' five beside the layers, over none."""
    stack = desk.stack(rank)
    theirs.unet.unfuse_lora()

    def seconds(unet: Any, worn: Stack) -> float:
        desk.wear(worn)
        run = seconds_of(partial(step, unet, desk.size.side))
        run()  # weights that were written just now are in the cache, or other things are not
        return statistics.median(run() for _ in range(STEPS_OF_ONE))

    none, merged = partial(seconds, desk.unet, ()), partial(seconds, desk.unet, stack)
    unfused = partial(seconds, theirs.unet, ())
    return {
        "a step with five merged / with none": Figure(paired(merged, none, desk.size.steps), "x", 1.05),
        "a step with diffusers' five unfused / with none": Figure(paired(unfused, none, desk.size.steps), "x"),
    }


@torch.inference_mode()
def step(unet: Any, side: int) -> None:
    """One guided call of a UNet."""
    words = torch.zeros(2, 77, unet.config.cross_attention_dim, dtype=unet.dtype)
    unet(torch.ones(2, unet.config.in_channels, side, side, dtype=unet.dtype), 7, words, return_dict=False)


def memory_figures(desk: Desk) -> dict[str, Figure]:
    """What five merged hold of memory that no file backs."""
    stack = desk.stack(desk.size.ranks[0])
    desk.wear(stack[:1])  # what the kernels need once
    desk.wear([])
    before = private_bytes(CPU)
    desk.wear(stack)
    held = private_bytes(CPU) - before
    desk.wear([])
    whole = sum(p.nbytes for p in desk.unet.parameters())
    return {"private memory that five merged hold / the UNet": Figure(max(held, 0) / whole, "x", 0.01)}


def walk_figures(desk: Desk) -> dict[str, Figure]:
    """Bits after a random walk through stacks, compared with the file."""
    size, chance = desk.size, random.Random(1)
    small = sorted(attention_shapes(desk.targets), key=lambda name: sum(desk.targets[name]))[: size.walked]
    shelf = [replace(one, deltas={n: one.deltas[n] for n in small}) for one in desk.stack(size.ranks[0])]
    say(f"{size.changes} random changes of {len(small)} layers")
    for _ in range(size.changes):
        chosen = chance.sample(shelf, chance.randint(0, len(shelf)))
        desk.wear([replace(one, weight=chance.uniform(-2, 2)) for one in chosen])
    desk.wear([])
    title = f"all bits as in the file after {size.changes} changes of {len(small)} layers"
    return {title: Figure(float(holds(desk.unet, desk.part)), "of 1", 1.0, "higher")}


def rounding_figures(size: Size) -> dict[str, Figure]:
    """Five merged LoRAs against the sum in fp64, and in fp32 against the formula as it is written down."""
    shapes = attention_shapes({f"unet.{n}": s for n, s in expected_shapes("UNet2DConditionModel", size.config).items()})
    farthest, right, other = dict[str, float](), dict[str, list[float]](), 0
    ordered = sorted(shapes, key=lambda name: (sum(shapes[name]), name))
    for name in ordered[:: max(1, len(shapes) // size.walked)]:
        pristine = random_values(name, shapes[name], torch.float32)
        stack = [_in_memory(name, shapes[name], rank, w) for rank, w in zip(itertools.cycle(size.ranks), WEIGHTS)]
        other += int((_merged(pristine, stack, torch.float32) != _naive(pristine, stack)).sum())
        for precision in ("bf16", "fp16"):
            stored = pristine.to(DTYPES[precision])
            values, exact = _merged(stored, stack, stored.dtype), _exact(stored, stack)
            ulps, share = distance(values, exact)
            farthest[precision] = max(farthest.get(precision, 0.0), ulps)
            right.setdefault(precision, []).append(share)
    figures = {"values that differ from the formula, fp32": Figure(other, "values", 0.0)}
    for name, ulps in farthest.items():
        figures[f"farthest from the sum in fp64, {name}"] = Figure(ulps, "ulp", 1.0)
        mean = 100 * sum(right[name]) / len(right[name])
        figures[f"correctly rounded, {name}"] = Figure(mean, "%", 99.9, "higher")
    return figures


def distance(values: Tensor, exact: Tensor) -> tuple[float, float]:
    """The largest distance from exact values, in units of the last place of each, and the share rounded correctly."""
    rounded = exact.to(values.dtype)
    size = rounded.abs()
    unit = torch.nextafter(size, torch.full_like(size, float("inf"))).double() - size.double()
    share = (values == rounded).double().mean().item()
    return ((values.double() - exact).abs() / unit).max().item(), share


def load_figures(folder: Path, size: Size) -> dict[str, Figure]:
    """Opening a large LoRA until every delta is usable."""
    config = dict(size.config)
    targets = {f"unet.{n}": s for n, s in expected_shapes("UNet2DConditionModel", config).items()}
    shapes = {name: shape for name, shape in targets.items() if len(shape) > 1 and "transformer_blocks" in name}
    rank = max(1, round(size.heavy / 2 / sum(map(sum, shapes.values()))))
    file = folder / "heavy.safetensors"
    save_file(random_lora(shapes, rank, "heavy"), file)
    say(f"opening {file.stat().st_size / 1e6:.0f} MB")

    def ours(*, look: bool) -> None:
        deltas = read_adapter(open_weights(file), targets).deltas
        if look:
            look_at([part for delta in deltas.values() for part in (delta.up, delta.down)])  # type: ignore[attr-defined]

    def theirs(*, look: bool) -> None:
        tensors = load_file(file)
        if look:
            look_at(list(tensors.values()))

    runs = [partial(run, look=look) for look in (False, True) for run in (ours, theirs)]
    opened, loaded, opened_used, loaded_used = interleaved(runs)
    title = f"every delta of a LoRA of {file.stat().st_size / 1e6:.0f} MB usable / load_file"
    return {
        title: Figure(opened / loaded, "x", 1.5),
        "the same until each value was looked at once": Figure(opened_used / loaded_used, "x"),
        "opening it": Figure(opened * 1000, "ms"),
    }


def attention_shapes(targets: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """The layers that diffusers' own training changes."""
    ends = ("to_q.weight", "to_k.weight", "to_v.weight", "to_out.0.weight")
    return {name: shape for name, shape in targets.items() if name.endswith(ends)}


def random_values(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Values that keep activations finite: scaled by what goes in; norms are ones, biases zeros."""
    if len(shape) < 2:
        return torch.full(shape, float(name.endswith("weight")), dtype=dtype)
    count = torch.Size(shape).numel()
    noise = some_noise().roll(sum(name.encode()))
    return (noise.repeat(-(-count // len(noise)))[:count].view(shape) / torch.Size(shape[1:]).numel() ** 0.5).to(dtype)


@lru_cache(maxsize=1)
def some_noise() -> Tensor:
    """Numbers that are drawn once: a UNet's take a minute."""
    return torch.randn(NOISE_VALUES, generator=torch.Generator().manual_seed(0))


def random_lora(shapes: Mapping[str, tuple[int, ...]], rank: int, name: str) -> dict[str, Tensor]:
    """A plain LoRA in PEFT's spelling."""
    made: dict[str, Tensor] = {}
    for target, shape in shapes.items():
        low = _factors(f"{name} {target}", shape, rank)
        path = target.removesuffix(".weight")
        made |= {f"{path}.lora_B.weight": low.up.half(), f"{path}.lora_A.weight": low.down.half()}
    return made


def _factors(name: str, shape: tuple[int, ...], rank: int) -> LowRank:
    rng = torch.Generator().manual_seed(sum(name.encode()))
    up = torch.randn(shape[0], rank, generator=rng) * (SHARE / rank**0.5)
    return LowRank(up, torch.randn(rank, shape[1], generator=rng) / shape[1] ** 0.5, 1.0)


def _in_memory(name: str, shape: tuple[int, ...], rank: int, weight: float) -> Weighted:
    low = _factors(f"{name} {weight}", shape, rank)
    return Weighted(id=f"{rank} {weight}", title=name, deltas={name: low}, weight=weight)


def _merged(pristine: Tensor, stack: Sequence[Weighted], dtype: torch.dtype) -> Tensor:
    target = torch.empty(pristine.shape, dtype=dtype)
    (terms,) = terms_of(stack).values()
    merge(target, pristine, terms)
    return target


def _naive(pristine: Tensor, stack: Sequence[Weighted]) -> Tensor:
    lows: list[Any] = [next(iter(one.deltas.values())) for one in stack]
    ups = [low.up * (low.scale * one.weight) for low, one in zip(lows, stack, strict=True)]
    return plus_product(pristine, torch.cat(ups, 1), torch.cat([low.down for low in lows]))


def _exact(pristine: Tensor, stack: Sequence[Weighted]) -> Tensor:
    total = pristine.double()
    for one in stack:
        low: Any = next(iter(one.deltas.values()))
        total = total + low.up.double() @ low.down.double() * (low.scale * one.weight)
    return total


def say(line: str) -> None:
    """Tell whoever waits."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201

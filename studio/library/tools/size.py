"""About how large a result will be, from the headers of what goes in."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path

from studio.library.download.transfer import in_words
from studio.library.header import BITS, Header, HeaderError
from studio.library.pickles import header_of
from studio.library.roles import role_of
from studio.library.tools.order import Chosen, Plan

WIDTHS = {"fp16": 2, "bf16": 2, "fp32": 4}  # bytes of a number
NOT_TUNED = ("first_stage_model.", "vae.", "model_ema.")
TABLES = ("token_embedding.weight", "position_embedding.weight", "positional_embedding")
WEIGHT_FILES = (".safetensors", ".ckpt", ".bin")


@dataclass(frozen=True)
class Layer:
    """A plain change of a layer: its rank, and how many numbers each of its dimensions takes."""

    rank: int
    numbers: int

    def cut(self, rank: int) -> int:
        """Numbers at that rank; 0 is as many dimensions as there are."""
        return self.numbers * (min(self.rank, rank) if rank else self.rank)


def about(plan: Plan) -> tuple[str, int]:
    """What comes out, as a sentence, and about how many bytes; 0 if it cannot be told."""
    size = _bytes(plan)
    count = _counted(len(plan.files), "LoRA" if plan.files[0].entry.kind == "lora" else "checkpoint", plan.tool.name)
    told = f", {'at most' if plan.values.get('energy', 1.0) < 1 else 'about'} {in_words(size)}" if size else ""
    return f"{plan.tool.comes.format(count=count)}: {plan.out.name}{told}.", size


def _counted(count: int, word: str, tool: str) -> str:
    if tool == "bake":
        return f"{count} {word}s" if count > 1 else f"this {word}"
    return f"{count} {word}s"


def _bytes(plan: Plan) -> int:
    entry = plan.files[0].entry if plan.target is None or plan.tool.makes == "lora" else plan.target
    if plan.tool.name in ("bake", "merge", "respell"):
        return entry.bytes
    rank, width = plan.values["rank"], WIDTHS.get(plan.values["precision"], 0)
    try:
        if plan.tool.name == "extract":
            return _of_difference(entry.path, rank) * (width or WIDTHS["fp16"])
        return _of_adapters(plan.files, rank, width)
    except (HeaderError, OSError):
        return 0


def _of_adapters(files: Iterable[Chosen], rank: int, width: int) -> int:
    """Adapters side by side, layer by layer; what is no plain LoRA counts as it is."""
    together: dict[str, Layer] = {}
    rest, widest = 0, width
    for header in (header_of(one.entry.path) for one in files):
        layers, others = _layers(header)
        rest += others
        widest = width or max([widest, *(BITS[t.dtype] // 8 for t in header.tensors.values() if len(t.shape) > 1)])
        for name, layer in layers.items():
            before = together.get(name, Layer(0, layer.numbers))
            together[name] = Layer(before.rank + layer.rank, layer.numbers)
    return rest + sum(layer.cut(rank) for layer in together.values()) * widest


def _layers(header: Header) -> tuple[dict[str, Layer], int]:
    """The plain changes by layer, and the bytes of all other tensors."""
    found: dict[str, dict[str, tuple[int, ...]]] = {}
    rest = 0
    for name, tensor in header.tensors.items():
        layer, role = role_of(name, header.tensors)
        if role in ("down", "up") and len(tensor.shape) > 1:
            found.setdefault(layer, {})[role] = tensor.shape
        else:
            rest += tensor.end - tensor.start
    pairs = {name: shapes for name, shapes in found.items() if len(shapes) == 2 and shapes["down"][0]}
    return {
        name: Layer(shapes["down"][0], (prod(shapes["down"]) + prod(shapes["up"])) // shapes["down"][0])
        for name, shapes in pairs.items()
    }, rest


def _of_difference(path: Path, rank: int) -> int:
    """Numbers of a LoRA for every layer of a checkpoint."""
    total = 0
    for file in [path] if path.is_file() else _weight_files(path):
        for name, tensor in header_of(file).tensors.items():
            if len(tensor.shape) > 1 and not name.startswith(NOT_TUNED) and not name.endswith(TABLES):
                sides = tensor.shape[0], prod(tensor.shape[1:])
                total += sum(sides) * min(rank or min(sides), *sides)
    return total


def _weight_files(folder: Path) -> list[Path]:
    parts = (folder / "unet", folder / "text_encoder", folder / "text_encoder_2")
    return [file for part in parts if part.is_dir() for file in sorted(part.iterdir()) if file.suffix in WEIGHT_FILES]

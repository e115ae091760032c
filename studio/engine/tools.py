"""`python -m studio.engine.tools ORDER`: a tool at work, in a process of its own. ORDER is JSON; prints lines of JSON.

{"done", "total"} tell how far it is; the last line is {"path", "notes"} of the file that was written, or {"error",
"hint", "field", "wrong_use"}, saying why there is none.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, get_type_hints

import torch

from studio.adapters.file import AdapterFile, read_adapter
from studio.adapters.source import Shape
from studio.adapters.stack import Weighted
from studio.adapters.tools.loras import Base, Made, Work, extracted, merged, resized, widest
from studio.adapters.tools.lowrank import Keep
from studio.adapters.tools.mixing import Baked, Mixed, Shares, check_alike, check_blocks
from studio.adapters.tools.recipe import Input, Recipe, own_words
from studio.adapters.tools.respell import respelled
from studio.engine.adapters import told_of
from studio.engine.configs import CLASSES, CONFIGS
from studio.engine.rewriting import Original, Writing, open_original, parameter_name, rewrite
from studio.engine.skeletons import expected_shapes
from studio.engine.tensors import write_tensors
from studio.engine.weights import Weights, open_weights
from studio.errors import BaseModelMismatchError, InvalidRequestError, StorageError, StudioError
from studio.library.fingerprint import fingerprint
from studio.library.identify import identify
from studio.library.tools.order import UNTOLD
from studio.messages import ModelLocation

PRECISIONS = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
SCALING = "lora_adapter_metadata"


@dataclass(frozen=True)
class Order:
    """What is to be made of which files.

    Fields:
        tool: A name of TOOLS.
        files: Adapters for merge-loras, bake, resize and respell; two checkpoints for extract, two or three for merge.
        weights: Of the adapters, for the UNet and the text encoders.
        checkpoint: What adapters are for; "" where their base model alone is enough.
        precision: fp16, bf16 or fp32; "" is that of the files.
        rest: extract keeps whole what no LoRA holds.
        share, blocks: How much merge takes of the second checkpoint; with a third of the difference.
    """

    tool: str
    out: str
    files: tuple[str, ...]
    weights: tuple[tuple[float, float], ...] = ()
    checkpoint: str = ""
    rank: int = 0
    energy: float = 1.0
    precision: str = ""
    spelling: str = "peft"
    rest: bool = False
    share: float = 0.5
    blocks: tuple[tuple[str, float], ...] = ()


@dataclass
class Progress:
    """Prints how far it is, each hundredth once."""

    hundredth: int = -1

    def __call__(self, done: int, total: int) -> None:
        hundredth = 100 * done // max(total, 1)
        if hundredth > self.hundredth:
            self.hundredth = hundredth
            print(json.dumps({"done": done, "total": total}), flush=True)


@dataclass(frozen=True)
class Task:
    """An order on its way. told: hears how far it is."""

    order: Order
    told: Progress = field(default_factory=Progress)

    @property
    def paths(self) -> list[Path]:
        """Of the files that go in."""
        return [Path(name) for name in self.order.files]

    @cached_property
    def opened(self) -> list[Weights]:
        """The adapters' files. Raises: ModelNotFoundError."""
        return [open_weights(path) for path in self.paths]

    @cached_property
    def original(self) -> Original | None:
        """The checkpoint that adapters are for, if one is named. Raises: ModelNotFoundError."""
        return open_original(located(Path(self.order.checkpoint))) if self.order.checkpoint else None

    @cached_property
    def _told(self) -> dict[str, str]:
        """The base models that adapters are for, by file."""
        return {path.name: identify(path, "lora").base for path in self.paths}

    @property
    def taken(self) -> tuple[str, ...]:
        """Sentences on adapters that do not say what they are for."""
        if self.original is None:
            return ()
        title = self.original.location.name
        return tuple(
            f"{name} does not say what it is for; it was taken to be for {title}."
            for name, base in self._told.items()
            if base in UNTOLD
        )

    @cached_property
    def base(self) -> Base:
        """What the adapters are for. Raises: BaseModelMismatchError, InvalidRequestError."""
        known = {name: base for name, base in self._told.items() if base not in UNTOLD}
        if self.original is not None:
            known = {self.original.location.name: self.original.location.base} | known
        (title, base), *others = known.items() or [("", "")]
        for other, its in others:
            if its != base:
                raise BaseModelMismatchError(other, expected=f"{base}, as {title} is,", found=its)
        if self.original is not None:
            return Base(base, self.original.shapes, self.original.tensor)
        if base not in CONFIGS:
            raise InvalidRequestError(
                f"{self.paths[0].name} is for {base or 'a base model that is not known'}, whose layers are not known.",
                field="checkpoint",
                hint="Name the checkpoint that it is for with --checkpoint.",
            )
        return Base(base, shapes_of(base))

    @cached_property
    def files(self) -> list[AdapterFile]:
        """The adapters as changes. Raises: InvalidRequestError, for one that changes nothing."""
        files = [read_adapter(weights, self.base.targets) for weights in self.opened]
        for file in files:
            if not file.deltas:
                raise InvalidRequestError(f"{file.title} changes nothing here: {told_of(file)}", field="files")
        return files

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what of the adapters goes unused."""
        lost = [f"What was made has no {', no '.join(f.embeddings)} of {f.title}." for f in self.files if f.embeddings]
        return (*(told_of(file) for file in self.files if file.unmatched), *lost)

    def stack(self) -> list[Weighted]:
        """The adapters with their weights."""
        weights = self.order.weights or ((1.0, 1.0),) * len(self.files)
        return [
            Weighted(id=file.title, title=file.title, deltas=file.deltas, weight=weight, text_weight=text)
            for file, (weight, text) in zip(self.files, weights, strict=True)
        ]

    def work(self, dtype: torch.dtype) -> Work:
        """How to work."""
        if self.order.precision and self.order.precision not in PRECISIONS:
            raise InvalidRequestError(
                f"There is no precision {self.order.precision[:40]!r}.",
                field="precision",
                hint=f"Choose one of: {', '.join(PRECISIONS)}.",
            )
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        keep = Keep(self.order.rank, self.order.energy)
        return Work(keep, PRECISIONS.get(self.order.precision, dtype), device, self.told)

    def recipe(self, paths: Sequence[Path], metadata: Sequence[Mapping[str, str]]) -> Recipe:
        """What was made of what. paths: all that went in, with their headers."""
        said = {"weights": self.order.weights} if self.order.weights else {}
        names = ("rank", "energy", "precision", "rest", "share", "blocks")
        defaults = Order("", "", ())
        options = {n: v for n in names if (v := getattr(self.order, n)) != getattr(defaults, n)}
        if self.order.tool == "merge":
            options["share"] = self.order.share
        inputs = [Input(p.name, mark(p), metadata=m) for p, m in zip(paths, metadata, strict=True)]
        return Recipe(self.order.tool, inputs, options | said)


def shapes_of(base: str) -> dict[str, Shape]:
    """Of every parameter of a base model, part first."""
    parts = {name: config for name, config in CONFIGS[base].items() if name != "vae"}
    return {
        parameter_name(part, name): shape
        for part, config in parts.items()
        for name, shape in expected_shapes(CLASSES[part], config).items()
    }


def located(path: Path) -> ModelLocation:
    """A checkpoint by its path. Raises: InvalidRequestError, if it is none."""
    identity = identify(path)
    if identity.kind != "checkpoint":
        raise InvalidRequestError(
            f"{path.name} is no checkpoint. {identity.reason}".strip(),
            field="checkpoint",
            hint="Name a checkpoint: a file, a diffusers folder, or one that `models list` shows.",
        )
    return ModelLocation(path.name, mark(path), str(path), "checkpoint", identity.base)


def mark(path: Path) -> str:
    """A model's fingerprint; "" if it cannot be read."""
    try:
        return fingerprint(path, sorted(file for file in path.rglob("*") if file.is_file()))
    except OSError:
        return ""


def _write(task: Task, made: Made, metadata: Mapping[str, str]) -> tuple[str, ...]:
    rows = {name: (tuple(tensor.shape), [tensor]) for name, tensor in made.tensors.items()}
    write_tensors(Path(task.order.out), rows, metadata)
    return made.notes


def _merge_loras(task: Task) -> tuple[str, ...]:
    made = merged(task.stack(), task.base, task.work(widest(task.opened)))
    recipe = task.recipe(task.paths, [weights.metadata for weights in task.opened])
    shared = {name: text for name, text in recipe.shared().items() if name != SCALING}
    return task.notes + _write(task, made, {**shared, **made.metadata, **recipe.header()})


def _resize(task: Task) -> tuple[str, ...]:
    if task.order.rank == 0 and task.order.energy == 1:
        raise InvalidRequestError("Neither a rank nor an energy is given.", field="rank", hint="Give --rank N.")
    (file,), (weights,) = task.files, task.opened
    made = resized(file, weights, task.base, task.work(widest([weights])))
    recipe = task.recipe(task.paths, [weights.metadata])
    dropped = () if made.notes else (SCALING,)
    kept = {name: text for name, text in own_words(weights.metadata).items() if name not in dropped}
    return task.notes + _write(task, made, {**kept, **made.metadata, **recipe.header()})


def _respell(task: Task) -> tuple[str, ...]:
    (file,), (weights,) = task.files, task.opened
    made = respelled(file, weights, task.base, task.order.spelling)
    return task.taken + _write(task, made, made.metadata)


def _checkpoints(task: Task) -> list[Original]:
    opened = [open_original(located(path)) for path in task.paths]
    first, *others = opened
    check_alike(first.location.name, first.shapes, [(one.location.name, one.shapes) for one in others])
    return opened


def _headers(opened: Sequence[Original]) -> list[Mapping[str, str]]:
    return [one.parts["unet"].weights.metadata for one in opened]


def _extract(task: Task) -> tuple[str, ...]:
    opened = before, after = _checkpoints(task)
    base = Base(before.location.base, before.shapes, before.tensor)
    made = extracted(base, after.tensor, task.work(torch.float16), rest=task.order.rest)
    return _write(task, made, {**made.metadata, **task.recipe(task.paths, _headers(opened)).header()})


def _bake(task: Task) -> tuple[str, ...]:
    assert task.original is not None
    metadata = [*_headers([task.original]), *(weights.metadata for weights in task.opened)]
    recipe = task.recipe([Path(task.order.checkpoint), *task.paths], metadata)
    rewrite(task.original, Baked.of(task.stack()), Writing(Path(task.order.out), recipe.header(), task.told))
    return task.notes


def _merge(task: Task) -> tuple[str, ...]:
    opened = first, second, *third = _checkpoints(task)
    check_blocks(task.order.blocks, list(first.shapes))
    read = third[0].tensor if third else None
    mixed = Mixed(frozenset(first.shapes), Shares(task.order.share, task.order.blocks), second.tensor, read)
    header = task.recipe(task.paths, _headers(opened)).header()
    rewrite(first, mixed, Writing(Path(task.order.out), header, task.told))
    return ()


TOOLS = {
    "merge-loras": _merge_loras,
    "resize": _resize,
    "respell": _respell,
    "extract": _extract,
    "bake": _bake,
    "merge": _merge,
}


@torch.no_grad()
def run(order: Order) -> dict[str, Any]:
    """The last line. Nothing is written unless all of it is."""
    try:
        out = Path(order.out)
        if out.exists():
            raise StorageError(f"{out.name} is there already.", hint="Give another name, or move it away.")
        if order.tool not in ("bake", "merge") and out.suffix.lower() != ".safetensors":
            raise InvalidRequestError(f"{out.name} is no name for this.", field="out", hint="End it in .safetensors.")
        return {"path": order.out, "notes": list(TOOLS[order.tool](Task(order)))}
    except StudioError as error:
        wrong = isinstance(error, InvalidRequestError | BaseModelMismatchError)
        field = error.field if isinstance(error, InvalidRequestError) else "files" if wrong else ""
        return {"error": str(error), "hint": error.hint, "field": field, "wrong_use": wrong}


def read_order(text: str) -> Order:
    """An order that was written as JSON."""
    told = json.loads(text)
    plain = {name: _tuples(value) for name, value in told.items() if name in get_type_hints(Order)}
    return Order(**plain)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def written(order: Order) -> str:
    """An order as JSON."""
    return json.dumps(asdict(order))


if __name__ == "__main__":
    print(json.dumps(run(read_order(sys.argv[1]))), flush=True)

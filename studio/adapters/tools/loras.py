"""LoRA files made of other files: several as one, with another rank, or of two checkpoints."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from studio.adapters.delta import Delta, LowRank
from studio.adapters.file import AdapterFile
from studio.adapters.formats.full import Full
from studio.adapters.formats.loha import Hadamard
from studio.adapters.formats.lokr import Kronecker
from studio.adapters.formats.lora import Tucker
from studio.adapters.source import Shape, Tensors
from studio.adapters.stack import Stack, Terms, terms_of
from studio.adapters.tools.lowrank import Keep, cut, factored, together
from studio.adapters.writing import as_kohya, kohya_names
from studio.errors import InvalidRequestError

ON_THEIR_OWN = (LowRank, Tucker, Full, Hadamard, Kronecker)  # changes that do not depend on the checkpoint's values
TABLES = ("token_embedding.weight", "position_embedding.weight")  # in which words are looked up: no LoRA has them
NAMED = 3
ALL, CPU = Keep(), torch.device("cpu")
ROLES = {  # what LyCORIS calls a change that is kept whole, by what it is of, and whether the layer has a matrix
    ("weight", True): "diff",
    ("bias", True): "diff_b",
    ("weight", False): "w_norm",
    ("bias", False): "b_norm",
}
Read = Callable[[str], Tensor]


@dataclass(frozen=True)
class Base:
    """What adapters are for. name: of the base model; targets: its parameters' shapes; read: their values, if a
    checkpoint was named."""

    name: str
    targets: Mapping[str, Shape]
    read: Read | None = None


@dataclass(frozen=True)
class Work:
    """How a tool works. dtype: of what is written; told: hears of parameters done, of all."""

    keep: Keep = ALL
    dtype: torch.dtype = torch.float16
    device: torch.device = CPU
    told: Callable[[int, int], None] = field(default=lambda _done, _total: None)


@dataclass(frozen=True)
class Made:
    """A file that is to be written: tensors and what its kind has in the header; notes: sentences for a person."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    notes: tuple[str, ...] = ()


def merged(stack: Stack, base: Base, work: Work) -> Made:
    """All adapters of a stack as one file that does the same at a weight of 1.

    Plain LoRAs are put side by side, so nothing is lost but rounding; with a rank or an energy to keep they are cut
    down. What is no plain LoRA is kept whole, or cut down as well, if there is something to keep.
    Raises: InvalidRequestError, if a change depends on a checkpoint that was not named, or nothing is changed.
    """
    terms = terms_of(stack)
    if not terms:
        raise InvalidRequestError("These adapters change nothing here.", field="adapters", hint="Give other weights.")
    deltas: dict[str, LowRank] = {}
    whole: dict[str, Tensor] = {}
    for number, (name, row) in enumerate(terms.items(), 1):
        plain = [(term.delta, term.weight) for term in row if isinstance(term.delta, LowRank)]
        if len(plain) == len(row):
            deltas[name] = _kept(together(plain), work)
        elif len(base.targets[name]) > 1 and work.keep != ALL:
            deltas[name] = factored(_sum(name, row, base, work), work.keep)
        else:
            whole[name] = _sum(name, row, base, work)
        work.told(number, len(terms))
    return _made(deltas, whole, base, work)


def resized(file: AdapterFile, weights: Tensors, base: Base, work: Work) -> Made:
    """The file with the plain LoRAs in it cut down to a rank or an energy; its other tensors stay as they are."""
    deltas: dict[str, LowRank] = {}
    others: dict[str, Tensor] = {}
    for number, (name, delta) in enumerate(file.deltas.items(), 1):
        if isinstance(delta, LowRank):
            deltas[name] = _kept(delta, work)
        else:
            others |= {key: weights.tensor(key) for key in file.keys[name]}
        work.told(number, len(file.deltas))
    made = _made(deltas, {}, base, work)
    kinds = ", ".join(name for name in file.algorithms if name not in ("LoRA", "LoCon"))
    notes = (f"{len(others)} tensors ({kinds}) are no plain LoRA and stay as they are.",) if others else ()
    return Made(others | made.tensors, made.metadata, notes)


def extracted(first: Base, tuned: Read, work: Work, *, rest: bool = False) -> Made:
    """What was trained, as a LoRA: the difference of two checkpoints, each layer cut down to a rank or an energy.

    Args:
        first: The checkpoint that it was trained from, with its values.
        tuned: Reads the same parameters of the other one.
        rest: Keep changed biases, norms and tables of words whole; else a note tells how many are left out.
    Raises: InvalidRequestError, if the checkpoints are equal, or one has NaN or infinity.
    """
    assert first.read is not None
    deltas: dict[str, LowRank] = {}
    whole: dict[str, Tensor] = {}
    left_out: list[str] = []
    for number, name in enumerate(first.targets, 1):
        change = tuned(name).to(work.device).float() - first.read(name).to(work.device).float()
        _check_finite(name, change)
        if change.any() and change.dim() > 1 and not name.endswith(TABLES):
            deltas[name] = _on_cpu(factored(change, work.keep))
        elif change.any() and rest:
            whole[name] = change.cpu()
        elif change.any():
            left_out.append(name)
        work.told(number, len(first.targets))
    if not deltas and not whole:
        raise InvalidRequestError(
            "Both checkpoints are the same.", field="tuned", hint="Name the one that was trained."
        )
    note = f"{len(left_out)} changed biases, norms or tables of words are not in it, such as {left_out[:NAMED]}."
    made = _made(deltas, whole, first, work)
    return Made(made.tensors, made.metadata, (note.replace("[", "").replace("]", ""),) if left_out else ())


def _kept(low: LowRank, work: Work) -> LowRank:
    return low if work.keep == ALL else cut(low, work.keep)


def _on_cpu(low: LowRank) -> LowRank:
    return LowRank(low.up.cpu(), low.down.cpu(), low.scale)


def _sum(name: str, terms: Terms, base: Base, work: Work) -> Tensor:
    """The change of a parameter as it is, in fp32."""
    pristine = torch.zeros(base.targets[name])
    if base.read is not None:
        pristine = base.read(name).float()
    elif dependent := [term for term in terms if not _is_on_its_own(term.delta)]:
        raise InvalidRequestError(
            f"{dependent[0].adapter.title} changes {name} in a way that depends on the checkpoint's own values.",
            field="checkpoint",
            hint="Name the checkpoint that it is for with --checkpoint.",
        )
    changes = [term.delta.of(pristine, term.weight) for term in terms]
    total = torch.stack(changes).sum(0)
    _check_finite(name, total)
    return total.reshape(base.targets[name]).to(work.device)


def _is_on_its_own(delta: Delta) -> bool:
    return isinstance(delta, ON_THEIR_OWN)


def _check_finite(name: str, change: Tensor) -> None:
    if not change.isfinite().all():
        raise InvalidRequestError(
            f"{name} has values that are no numbers (NaN or infinity).",
            field="file",
            hint="A file is damaged, or its training diverged.",
        )


def _made(deltas: Mapping[str, LowRank], whole: Mapping[str, Tensor], base: Base, work: Work) -> Made:
    """As kohya spells plain LoRAs, and LyCORIS what is whole."""
    written = as_kohya(deltas, base.targets, base.name)
    tensors = {
        name: tensor if name.endswith(".alpha") else _rounded(name, tensor, work.dtype)
        for name, tensor in written.tensors.items()
    }
    layers = kohya_names(base.targets, base.name)
    for name, change in whole.items():
        layer, _, kind = name.rpartition(".")
        role = ROLES[kind, len(base.targets[f"{layer}.weight"]) > 1]
        tensors[f"{layers[layer]}.{role}"] = _rounded(name, change, work.dtype)
    return Made(tensors, dict(written.metadata))


def _rounded(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """In the precision that is written. Raises: InvalidRequestError, for numbers too large for it."""
    made = tensor.detach().to("cpu", dtype).contiguous()
    if not made.isfinite().all():
        raise InvalidRequestError(
            f"{name} has numbers that are too large for {str(dtype).removeprefix('torch.')}.",
            field="precision",
            hint="Take bf16 or fp32.",
        )
    return made


def widest(files: Sequence[Tensors]) -> torch.dtype:
    """The widest precision that the factors in these files have: fp32, bf16 or fp16."""
    found = {file.tensor(name).dtype for file in files for name, shape in file.shapes.items() if len(shape) > 1}
    wide = found - {torch.float16, torch.bfloat16}
    if wide or len(found) > 1:
        return torch.float32
    return found.pop() if found else torch.float16

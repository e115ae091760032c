"""kohya's spelling of a LoRA or a DoRA into diffusers' and PEFT's, and back. Not a bit of the factors changes.

What the other spelling has no words for (the form of a name, the type of an alpha) is kept in the header, so that the
way back ends at the same tensors and the same header.
"""

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from studio.adapters.delta import Delta, LowRank
from studio.adapters.file import AdapterFile
from studio.adapters.formats.dora import Decomposed
from studio.adapters.scaling import KEY
from studio.adapters.source import Tensors
from studio.adapters.spelling import PARTS
from studio.adapters.tools.loras import Base, Made
from studio.adapters.tools.recipe import ORIGIN
from studio.adapters.writing import as_diffusers, as_kohya
from studio.errors import InvalidRequestError
from studio.library.roles import role_of

KOHYA, PEFT = "kohya", "peft"
SIGNS = {KOHYA: ".lora_down.weight", PEFT: ".lora_A.weight"}
ALPHA = ".alpha"
FACTORS = {"down": "down", "up": "up", "dora_scale": "magnitude", "magnitude": "magnitude"}  # by role


def respelled(file: AdapterFile, weights: Tensors, base: Base, spelling: str) -> Made:
    """The same LoRA in the other spelling, "kohya" or "peft", with all that its header says.

    Raises: InvalidRequestError, if it is spelled so already, or if part of it would be lost: a tensor that no layer
        here has, what is neither LoRA nor DoRA, or a DoRA of a form that PEFT does not have.
    """
    if any(name.endswith(SIGNS[spelling]) for name in weights.shapes):
        raise _refusal(f"{file.title} is spelled as {spelling} already.", "Nothing is to be done.")
    if (origin := _origin(weights)) is not None:
        return _back(origin, weights)
    _check_whole(file)
    ordered = sorted(file.deltas.items(), key=lambda row: PARTS.index(row[0].partition(".")[0]))
    deltas = {name: plain for name, delta in ordered if (plain := _factors(delta)) is not None}
    lengths = {name: delta.magnitude.flatten() for name, delta in ordered if isinstance(delta, Decomposed)}
    if spelling == PEFT and lengths:
        _check_dora(file, deltas, lengths)
    written = (as_kohya if spelling == KOHYA else as_diffusers)(deltas, base.targets, base.name, lengths)
    before = {name: text for name, text in weights.metadata.items() if name not in (KEY, ORIGIN)}
    metadata = {**written.metadata, **before}
    told: dict[str, Any] = {
        "names": _names_before(file, weights, deltas, list(written.tensors)),
        "others": {key: _number(weights.tensor(key)) for key in weights.shapes if _factor(key, weights) == ""},
        "lost": {name: text for name, text in weights.metadata.items() if metadata.get(name) != text},
        "gained": sorted(metadata.keys() - weights.metadata.keys()),
    }
    return Made(dict(written.tensors), metadata | {ORIGIN: json.dumps(told, separators=(",", ":"))})


def _names_before(
    file: AdapterFile, weights: Tensors, deltas: Mapping[str, LowRank], names: list[str]
) -> dict[str, tuple[str, list[int]]]:
    """The old name and shape of each factor by its new name; the new ones come in the order of the changes."""
    new = iter(name for name in names if not name.endswith(ALPHA))
    found: dict[str, tuple[str, list[int]]] = {}
    for parameter in deltas:
        old = {_factor(key, weights): key for key in file.keys[parameter]}
        for role in ("down", "up", "magnitude"):
            if role in old:
                found[next(new)] = (old[role], list(weights.shapes[old[role]]))
    return found


def _factor(key: str, weights: Tensors) -> str:
    """ "down", "up" or "magnitude"; "" for what is no factor."""
    return FACTORS.get(role_of(key, weights.shapes)[1], "")


def _factors(delta: Delta) -> LowRank | None:
    """Those of a LoRA, or of a DoRA's direction; None for what has none."""
    plain = delta.change if isinstance(delta, Decomposed) else delta
    return plain if isinstance(plain, LowRank) else None


def _number(tensor: Tensor) -> tuple[float, str, list[int]]:
    return tensor.item(), str(tensor.dtype).removeprefix("torch."), list(tensor.shape)


def _check_whole(file: AdapterFile) -> None:
    """Refuse a file of which something would be lost."""
    if file.unmatched:
        first, count = file.unmatched[0], len(file.unmatched)
        raise _refusal(
            f"{count} tensors of {file.title} would be lost, such as {first.key}, which {first.reason}.",
            "Name the checkpoint that it is for with --checkpoint.",
        )
    if file.embeddings:
        raise _refusal(
            f"{file.title} has an embedding inside, {', '.join(file.embeddings)}, which would be lost.",
            "Use it as it is; in this studio its words count while it is in the stack.",
        )
    others = [name for name, delta in file.deltas.items() if _factors(delta) is None]
    if others:
        kinds = ", ".join(file.algorithms)
        raise _refusal(
            f"{file.title} is {kinds}; {len(others)} of its changes are no plain LoRA, such as that of {others[0]}.",
            "Only plain LoRAs can be spelled otherwise; `models merge-loras` with a rank makes one of it.",
        )


def _check_dora(file: AdapterFile, deltas: Mapping[str, LowRank], lengths: Mapping[str, Tensor]) -> None:
    """Refuse what PEFT has no words for: it has one length for each output, and a part's layers are DoRA all or none.

    Source: peft, tuners/lora/dora.py and config.py (use_dora).
    """
    for name, delta in file.deltas.items():
        if isinstance(delta, Decomposed) and delta.axis:
            raise _refusal(
                f"{file.title} has a length for each input of {name}, and PEFT has DoRA for outputs alone.",
                "Use it as it is; `models merge-loras` with a rank and a checkpoint makes a plain LoRA of it.",
            )
    bare = [name for name in deltas if name not in lengths]
    if bare and {name.partition(".")[0] for name in bare} & {name.partition(".")[0] for name in lengths}:
        raise _refusal(
            f"{file.title} is DoRA in {len(lengths)} layers and plain in {len(bare)}, such as {bare[0]}, and PEFT has"
            " all layers of a part alike.",
            "Use it as it is; `models merge-loras` with a rank and a checkpoint makes a plain LoRA of it.",
        )


def _origin(weights: Tensors) -> Mapping[str, Any] | None:
    """How the file was spelled before, if it still has the tensors that it had then."""
    try:
        told = json.loads(weights.metadata.get(ORIGIN, "null"))
    except ValueError:
        return None
    factors = {name for name in weights.shapes if not name.endswith(ALPHA)}
    return told if isinstance(told, dict) and told["names"].keys() == factors else None


def _back(origin: Mapping[str, Any], weights: Tensors) -> Made:
    tensors = {old: weights.tensor(new).reshape(shape) for new, (old, shape) in origin["names"].items()}
    for name, (value, dtype, shape) in origin["others"].items():
        tensors[name] = torch.tensor(value, dtype=getattr(torch, dtype)).reshape(shape)
    gone = {*origin["gained"], ORIGIN}
    metadata = {name: text for name, text in weights.metadata.items() if name not in gone}
    return Made(tensors, metadata | dict(origin["lost"]))


def _refusal(said: str, hint: str) -> InvalidRequestError:
    return InvalidRequestError(said, field="file", hint=hint)

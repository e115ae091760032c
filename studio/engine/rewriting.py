"""A checkpoint written anew with other values, in the layout that it has: one file, or a diffusers folder."""

import json
import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from studio.adapters.tools.recipe import own_words
from studio.engine.layouts import TEXT_MODEL, THIRDS, TRANSPOSED, Place
from studio.engine.parts import Part
from studio.engine.sources import PARTS, open_checkpoint
from studio.engine.tensors import Computed, Rows, write_tensors
from studio.engine.weights import Weights
from studio.errors import InvalidRequestError, StorageError
from studio.files import cannot_write
from studio.library.folders import weights_of
from studio.messages import ModelLocation

CARD = "card.json"
STALE = "model_ema."  # averages of what was trained, which would be those of another model
Told = Callable[[int, int], None]


class Change(Protocol):
    """What becomes of parameters, by part and path: `unet.conv_in.weight`."""

    def touches(self, name: str) -> bool:
        """Whether the parameter gets another value."""
        ...

    def value(self, name: str, own: Tensor) -> Tensor:
        """The other value, in the precision in which it is calculated; `own` must not be written to."""
        ...


@dataclass(frozen=True)
class Original:
    """A checkpoint as it lies on the disk. parts: by name."""

    location: ModelLocation
    parts: Mapping[str, Part]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of every parameter of the UNet and the text encoders, by part and path."""
        return {name: part.shapes[own] for name, (part, own) in self._parameters.items()}

    def tensor(self, name: str) -> Tensor:
        """A parameter, as a view of the file. Raises: KeyError."""
        part, own = self._parameters[name]
        return part.tensor(own)

    @cached_property
    def _parameters(self) -> dict[str, tuple[Part, str]]:
        return {
            parameter_name(title, own): (part, own)
            for title, part in self.parts.items()
            if title != "vae"
            for own in part.names()
        }


@dataclass(frozen=True)
class Writing:
    """How the new checkpoint is written. metadata: what is added to the header; told: hears of bytes done, of all."""

    out: Path
    metadata: Mapping[str, str]
    told: Told = field(default=lambda _done, _total: None)


def open_original(location: ModelLocation) -> Original:
    """A checkpoint, of which no tensor is read yet. Raises: ModelNotFoundError."""
    return Original(location, open_checkpoint(location).parts)


def parameter_name(part: str, own: str) -> str:
    """A parameter's name as adapters have it: with its part, and without the wrapper of some text encoders."""
    return f"{part}.{own.removeprefix(TEXT_MODEL)}"


def rewrite(original: Original, change: Change, writing: Writing) -> None:
    """Write the checkpoint with what changes, rounded once to the precision of the file; all else bit for bit.

    Nothing is at `writing.out` before all of it is. No second copy of the checkpoint is ever in memory.
    Raises: StorageError, if something is there already, or the disk is full; InvalidRequestError, for a name that does
        not go with the layout, and for numbers that are too large for the file's precision, or none.
    """
    out, source = writing.out, Path(original.location.path)
    if out.exists():
        raise StorageError(f"{out.name} is there already.", hint="Give another name, or move it away.")
    if source.is_dir():
        _write_folder(original, change, writing)
    elif out.suffix.lower() != ".safetensors":
        raise InvalidRequestError(f"{out.name} is no name for this.", field="out", hint="End it in .safetensors.")
    else:
        weights = next(iter(original.parts.values())).weights
        metadata = own_words(weights.metadata) | dict(writing.metadata)
        write_tensors(out, _rows(weights, original.parts, change), metadata, writing.told)


@dataclass(frozen=True)
class _Piece:
    """A parameter within a stored tensor: its part, its own name there, its name for a change, and where it lies."""

    part: Part
    own: str
    name: str
    place: Place


def _rows(weights: Weights, parts: Mapping[str, Part], change: Change) -> dict[str, Rows | Computed]:
    """Every tensor of the file, those that change as they will be."""
    pieces: dict[str, list[_Piece]] = {}
    for title, part in parts.items():
        for own, place in part.places.items():
            piece = _Piece(part, own, parameter_name(title, own), place)
            if change.touches(piece.name):
                pieces.setdefault(place.name, []).append(piece)
    rows: dict[str, Rows | Computed] = {}
    for name, shape in weights.shapes.items():
        stored = weights.tensor(name)
        if name in pieces:
            rows[name] = Computed(shape, stored.dtype, partial(_made, stored, pieces[name], change))
        elif not (pieces and name.startswith(STALE)):
            rows[name] = (shape, [stored])
    return rows


@torch.no_grad()
def _made(stored: Tensor, pieces: list[_Piece], change: Change) -> Tensor:
    made = stored.clone()
    for piece in pieces:
        value = change.value(piece.name, piece.part.tensor(piece.own))
        _check_held(piece.name, value, made.dtype)
        if piece.place.form == TRANSPOSED:
            made.copy_(value.T)
        elif piece.place.form in THIRDS:
            start = THIRDS.index(piece.place.form) * len(value)
            made[start : start + len(value)].copy_(value)
        else:
            made.copy_(value.reshape(made.shape))
    return made


def _check_held(name: str, value: Tensor, dtype: torch.dtype) -> None:
    """Refuse numbers that the precision cannot hold; fp8 would take the largest that it has instead."""
    if not value.abs().max() <= torch.finfo(dtype).max:  # so that NaN is refused too
        raise InvalidRequestError(
            f"{name} would get numbers that {str(dtype).removeprefix('torch.')} cannot hold.",
            field="weights",
            hint="Take smaller weights; if they are about 1, a file is damaged.",
        )


def _write_folder(original: Original, change: Change, writing: Writing) -> None:
    """All other files are copied; each component that changes gets one new file of weights."""
    source, out = Path(original.location.path), writing.out
    beside = out.with_name(f".{out.name[:40]}.{secrets.token_hex(6)}.part")
    try:
        changed = [name for name, part in original.parts.items() if _changes(name, part, change)]
        shutil.copytree(source, beside, ignore=partial(_without_weights, source, set(changed)))
        for number, name in enumerate(changed):
            part = original.parts[name]
            first = weights_of(source / name)[0].name
            file = "diffusion_pytorch_model" if first.startswith("diffusion") else "model"
            metadata = own_words(part.weights.metadata) | dict(writing.metadata)
            told = partial(_told_in_turn, writing.told, number, len(changed))
            write_tensors(
                beside / name / f"{file}.safetensors", _rows(part.weights, {name: part}, change), metadata, told
            )
        _retitle(beside / CARD, out.name)
        os.replace(beside, out)
    except OSError as error:
        raise cannot_write(out, error) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _retitle(card: Path, name: str) -> None:
    """Give a checkpoint that has a card its own name: the copied one is that of the original."""
    if card.is_file():
        said = json.loads(card.read_text("utf-8"))
        card.write_text(json.dumps({**said, "name": name}, indent=2) + "\n", "utf-8")


def _changes(name: str, part: Part, change: Change) -> bool:
    return name in PARTS and any(change.touches(parameter_name(name, own)) for own in part.names())


def _told_in_turn(told: Told, number: int, count: int, done: int, total: int) -> None:
    told(number * total + done, count * total)


def _without_weights(source: Path, changed: set[str], folder: str, names: list[str]) -> list[str]:
    """What is not copied of a component that gets new weights: the old ones, and what says where they lie."""
    if Path(folder).parent != source or Path(folder).name not in changed:
        return []
    endings = (".safetensors", ".bin", ".ckpt", ".msgpack", ".h5", ".index.json")
    return [name for name in names if name.endswith(endings)]

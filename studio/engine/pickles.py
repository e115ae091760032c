"""Pickled weights (.ckpt, .pt, .pth, .bin), read without running what is in them, and rewritten as safetensors.

torch reads tensors and plain values alone (weights_only=True). The original SD 1.x checkpoints also name a few classes
of their training program; those become empty objects. What names anything else is refused.
"""

import json
import os
import pickle
import re
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from studio.engine.tensors import write_tensors
from studio.errors import ModelNotFoundError, StorageError
from studio.library.pickles import INERT, PARAMETER_TABLE, leaves

PICKLES = (".ckpt", ".pt", ".pth", ".bin")
TEXT_MAX, LIST_MAX = 10_000, 100
WAY_OUT = "Get this model as a .safetensors file, or convert it with the program that made it."


class Inert:
    """Stands for an object that nobody needs: made of anything, holding nothing."""

    def __new__(cls, *_: object) -> "Inert":
        """An empty object."""
        return super().__new__(cls)

    def __setstate__(self, _: object) -> None:
        """Drop what it held."""


class ParameterTable(dict[str, Tensor]):
    """Stands for torch's ParameterDict, in which early embeddings lie: only its parameters are kept."""

    def __setstate__(self, state: Any) -> None:
        """Take the parameters of a module's attributes."""
        held = state.get("_parameters") if isinstance(state, dict) else None
        self.update(held if isinstance(held, dict) else {})


@dataclass(frozen=True)
class Pickled:
    """What is kept of a pickle. tensors: by name, memory-mapped where the file allows it.

    texts: The plain values beside them at the top; all but texts as JSON, lists of them too.
    """

    tensors: dict[str, Tensor]
    texts: dict[str, str]


def read_pickle(file: Path, title: str) -> Pickled:
    """The tensors of a pickle, and what its program said of them.

    Raises: ModelNotFoundError, if the file names code, is damaged, or holds no tensors; OSError.
    """
    try:
        found = _load(file)
    except pickle.UnpicklingError as error:
        raise _refusal(str(error), title) from error
    except (RuntimeError, EOFError, KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise ModelNotFoundError(f"{title} is damaged or no file of weights.", hint=WAY_OUT) from error
    tensors = _tensors(found)
    if not tensors:
        raise ModelNotFoundError(f"{title} holds no tensors.", hint=WAY_OUT)
    return Pickled(tensors, _texts(found))


def convert(source: Path, out: Path) -> Path:
    """Write the tensors of a pickle as a safetensors file, its plain values in the header; `out` itself.

    Raises: StorageError, if `out` is there already or cannot be written; ModelNotFoundError, as `read_pickle` does.
    """
    if out.exists():
        raise StorageError(f"{out.name} is there already.", hint="Give another name, or move that file away.")
    try:
        found = read_pickle(source, source.name)
    except OSError as error:
        raise ModelNotFoundError(f"{source.name} cannot be read: {error.strerror or error}.") from error
    rows = {name: (tuple(tensor.shape), [tensor]) for name, tensor in found.tensors.items()}
    write_tensors(out, rows, found.texts)
    return out


def plain_path(file: Path, stream: Any) -> str:
    """The path of an open file, for libraries that know only names in UTF-8; on Linux a name is any bytes."""
    path = str(file)
    is_text = path.isascii() or os.fsencode(path).decode("utf-8", "replace") == path
    return path if is_text else f"/proc/self/fd/{stream.fileno()}"


def _load(file: Path) -> Any:
    """Without code: what is no tensor or plain value raises an UnpicklingError."""
    names: list[Any] = [*((Inert, name) for name in INERT), (ParameterTable, PARAMETER_TABLE)]
    with warnings.catch_warnings(), torch.serialization.safe_globals(names):
        warnings.simplefilter("ignore")  # old files have storages that torch calls outdated
        with file.open("rb") as stream:
            path = plain_path(file, stream)
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(stream))


def _tensors(found: Any) -> dict[str, Tensor]:
    """Every tensor, under the name by which the file was identified."""
    return leaves(found, lambda value: isinstance(value, Tensor) and not value.is_sparse)


def _texts(found: Any) -> dict[str, str]:
    """The plain values at the top, cut where they are long."""
    said = found.items() if isinstance(found, dict) else ()
    plain = {str(name): value for name, value in said if _is_plain(value)}
    return {name: value[:TEXT_MAX] if isinstance(value, str) else json.dumps(value) for name, value in plain.items()}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) <= LIST_MAX and all(isinstance(item, int | float) for item in value)
    return value is None or isinstance(value, str | int | float)


def _refusal(said: str, title: str) -> ModelNotFoundError:
    named = re.search(r"(?:GLOBAL|global|class) `?([\w.]+\.\w+)", said)
    if named is None:
        return ModelNotFoundError(f"{title} is damaged or no file of weights.", hint=WAY_OUT)
    return ModelNotFoundError(
        f"{title} holds program code beside its weights ({named[1]}), which is never run.", hint=WAY_OUT
    )

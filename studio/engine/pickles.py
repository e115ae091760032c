"""Pickled weights (.ckpt, .pt, .pth, .bin), read without running what is in them, and rewritten as safetensors.

torch reads tensors and plain values alone (weights_only=True). The original SD 1.x checkpoints also name a few classes
of their training program; those become empty objects. What names anything else is refused.
"""

import os
import pickle
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from studio.engine.tensors import write_tensors
from studio.errors import ModelNotFoundError, StorageError
from studio.library.pickles import INERT, PARAMETER_TABLE, leaves

PICKLES = (".ckpt", ".pt", ".pth", ".bin")
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


def read_pickle(file: Path, title: str) -> dict[str, Tensor]:
    """The tensors of a pickle by name, memory-mapped where the file allows it.

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
    return tensors


def convert(source: Path, out: Path) -> Path:
    """Write the tensors of a pickle as a safetensors file; `out` itself.

    Raises: StorageError, if `out` is there already or cannot be written; ModelNotFoundError, as `read_pickle` does.
    """
    if out.exists():
        raise StorageError(f"{out.name} is there already.", hint="Give another name, or move that file away.")
    try:
        tensors = read_pickle(source, source.name)
    except OSError as error:
        raise ModelNotFoundError(f"{source.name} cannot be read: {error.strerror or error}.") from error
    write_tensors(out, {name: (tuple(tensor.shape), [tensor]) for name, tensor in tensors.items()})
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


def _refusal(said: str, title: str) -> ModelNotFoundError:
    named = re.search(r"(?:GLOBAL|global|class) `?([\w.]+\.\w+)", said)
    if named is None:
        return ModelNotFoundError(f"{title} is damaged or no file of weights.", hint=WAY_OUT)
    return ModelNotFoundError(
        f"{title} holds program code beside its weights ({named[1]}), which is never run.", hint=WAY_OUT
    )

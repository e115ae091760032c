"""Tensors written to a safetensors file one by one, so that no second copy of a model is ever in memory."""

import json
import math
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from studio.errors import StorageError
from studio.files import cannot_write

Rows = tuple[tuple[int, ...], Sequence[Tensor]]  # a tensor's shape, and the tensors that are its rows, in order
DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


@dataclass(frozen=True)
class Computed:
    """A tensor that is made when its turn to be written comes, and let go afterwards."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    make: Callable[[], Tensor]


def write_tensors(
    file: Path,
    tensors: Mapping[str, Rows | Computed],
    metadata: Mapping[str, str] | None = None,
    told: Callable[[int, int], None] = lambda _done, _total: None,
) -> None:
    """Write a safetensors file beside its place, then rename it; folders are made as needed.

    Args:
        tensors: By name. A tensor may be given in pieces that follow each other along its first dimension, all of one
            dtype; tensors of any device and any strides.
        metadata: Texts for the header.
        told: Hears after each tensor how many bytes of how many are written; what it raises ends the writing.
    Raises: StorageError, if the disk is full or the folder cannot be written; an older file is untouched then.
        ValueError, naming a tensor whose pieces do not make up its shape or whose dtype has no name.
    Source: https://huggingface.co/docs/safetensors, section Format; the largest types first keep every tensor aligned.
    """
    order = sorted(tensors, key=lambda name: (-_dtype(name, tensors[name]).itemsize, name))
    header, total = _header({name: tensors[name] for name in order}, {"format": "pt", **(metadata or {})})
    done = 0
    with _beside(file, len(header) + total) as stream:
        stream.write(len(header).to_bytes(8, "little") + header)
        for name in order:
            for piece in _pieces(name, tensors[name]):
                flat = piece.detach().to("cpu").contiguous().reshape(-1)
                done += stream.write(memoryview(flat.view(torch.uint8).numpy()))
            told(done, total)


def _pieces(name: str, rows: Rows | Computed) -> Sequence[Tensor]:
    if not isinstance(rows, Computed):
        return rows[1]
    made = rows.make()
    if (made.shape, made.dtype) != (rows.shape, rows.dtype):
        raise ValueError(f"{name} was made {tuple(made.shape)}, {made.dtype}, not {rows.shape}, {rows.dtype}")
    return [made]


def _header(tensors: Mapping[str, Rows | Computed], metadata: Mapping[str, str]) -> tuple[bytes, int]:
    """The header, and how many bytes follow it."""
    table: dict[str, object] = {"__metadata__": dict(metadata)}
    start = 0
    for name, rows in tensors.items():
        dtype, shape = _dtype(name, rows), rows.shape if isinstance(rows, Computed) else rows[0]
        if not isinstance(rows, Computed) and math.prod(shape) != sum(piece.numel() for piece in rows[1]):
            raise ValueError(f"{name} has pieces that do not make up {shape}")
        end = start + math.prod(shape) * dtype.itemsize
        table[name] = {"dtype": DTYPES[dtype], "shape": list(shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(table, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 8), start


def _dtype(name: str, rows: Rows | Computed) -> torch.dtype:
    found = {rows.dtype} if isinstance(rows, Computed) else {piece.dtype for piece in rows[1]}
    if len(found) != 1 or not found <= DTYPES.keys():
        raise ValueError(f"{name} is of {', '.join(sorted(map(str, found))) or 'nothing'}, which cannot be written")
    return found.pop()


@contextmanager
def _beside(file: Path, size: int) -> Iterator[BinaryIO]:
    """A new file that takes its place when it is whole. Raises: StorageError."""
    beside = file.with_name(f".{file.name[:40]}.{secrets.token_hex(6)}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if (free := shutil.disk_usage(file.parent).free) < size:
            raise StorageError(
                f"{file.name} needs {size / 1e9:.2f} GB, and {file.parent} has {free / 1e9:.2f} GB left."
            )
        with beside.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(beside, file)
    except OSError as error:
        raise cannot_write(file, error) from error
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)

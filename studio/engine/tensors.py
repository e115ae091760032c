"""Tensors written to a safetensors file one by one, so that no second copy of a model is ever in memory."""

import json
import math
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

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


def write_tensors(file: Path, tensors: Mapping[str, Rows], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file beside its place, then rename it; folders are made as needed.

    Args:
        tensors: By name. A tensor may be given in pieces that follow each other along its first dimension, all of one
            dtype; tensors of any device and any strides.
        metadata: Texts for the header.
    Raises: StorageError, if the disk is full or the folder cannot be written; an older file is untouched then.
        ValueError, naming a tensor whose pieces do not make up its shape or whose dtype has no name.
    Source: https://huggingface.co/docs/safetensors, section Format; the largest types first keep every tensor aligned.
    """
    order = sorted(tensors, key=lambda name: (-_dtype(name, tensors[name]).itemsize, name))
    header = _header({name: tensors[name] for name in order}, {"format": "pt", **(metadata or {})})
    with _beside(file) as stream:
        stream.write(len(header).to_bytes(8, "little") + header)
        for name in order:
            for piece in tensors[name][1]:
                flat = piece.detach().to("cpu").contiguous().reshape(-1)
                stream.write(memoryview(flat.view(torch.uint8).numpy()))


def _header(tensors: Mapping[str, Rows], metadata: Mapping[str, str]) -> bytes:
    table: dict[str, object] = {"__metadata__": dict(metadata)}
    start = 0
    for name, (shape, pieces) in tensors.items():
        dtype = _dtype(name, (shape, pieces))
        if math.prod(shape) != sum(piece.numel() for piece in pieces):
            raise ValueError(f"{name} has pieces that do not make up {shape}")
        end = start + math.prod(shape) * dtype.itemsize
        table[name] = {"dtype": DTYPES[dtype], "shape": list(shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(table, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 8)


def _dtype(name: str, rows: Rows) -> torch.dtype:
    found = {piece.dtype for piece in rows[1]}
    if len(found) != 1 or not found <= DTYPES.keys():
        raise ValueError(f"{name} is of {', '.join(sorted(map(str, found))) or 'nothing'}, which cannot be written")
    return found.pop()


@contextmanager
def _beside(file: Path) -> Iterator[BinaryIO]:
    """A new file that takes its place when it is whole. Raises: StorageError."""
    beside = file.with_name(f".{file.name[:40]}.{secrets.token_hex(6)}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
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

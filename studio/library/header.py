"""The header of a safetensors file, read strictly: what it holds is known before a tensor is read."""

import json
import os
import struct
from dataclasses import dataclass
from itertools import chain
from math import prod
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

BITS = {
    "F4": 4,
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
}
SAFETENSORS = (".safetensors", ".sft")
HEADER_MAX = 32 << 20  # no model comes near it; the format itself stops at 100 MB
DIMENSIONS_MAX = 16
SIZE_MAX = 1 << 48  # of a dimension
OTHER_FILES = (  # what else is found under the name of a safetensors file, by its first bytes
    (b"PK\x03\x04", "is a pickle: give it a name that ends in .ckpt"),
    (b"GGUF", "is a GGUF file, which is for other programs"),
    (b"version https://git-lfs", "is a Git LFS pointer and not the file itself: download it again"),
    (b"<!DOCTYPE", "is a web page and no model: download it again"),
    (b"<html", "is a web page and no model: download it again"),
)


class HeaderError(ValueError):
    """A file of weights that cannot be read. The message names the file and what was found, without a full stop."""


class TensorInfo(NamedTuple):
    """What a tensor is, and where: bytes from the file's start (in a pickle: from the start of its own record)."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Header:
    """What a file of weights holds. bytes: the size of the file."""

    tensors: dict[str, TensorInfo]
    metadata: dict[str, str]
    bytes: int


def shown(name: str) -> str:
    """A file's or a tensor's name, short and printable, whatever it is made of."""
    text = "".join(letter if letter.isprintable() else "?" for letter in name[:200])
    return text if len(text) <= 100 else f"{text[:97]}..."


def read_header(file: Path) -> Header:
    """The header of a safetensors file; no tensor is read.

    Raises: HeaderError, if a program that follows the format would refuse the file: it is cut short, its header is
        longer than the file or than 32 MB, a name is there twice, tensors overlap or leave gaps, or a size does not
        fit its type; OSError.
    Source: https://huggingface.co/docs/safetensors, section Format.
    """
    with file.open("rb") as stream:
        return header_in(stream, shown(file.name))


def header_in(stream: BinaryIO, name: str) -> Header:
    """The header of an open safetensors file, which sentences call `name`. Raises: as `read_header` does."""
    size = os.fstat(stream.fileno()).st_size
    stream.seek(0)
    start = stream.read(32)
    length = int.from_bytes(start[:8], "little")
    _check_start(name, start, length, size)
    stream.seek(8)
    raw = stream.read(length)
    if len(raw) < length:
        raise HeaderError(f"{name} is cut short")
    table = _parse(name, raw)
    metadata = _metadata(name, table.pop("__metadata__", {}))
    offset = 8 + length
    tensors = _tensors(name, table, offset)
    _check_offsets(name, tensors, offset, size)
    return Header(tensors, metadata, size)


def read_values(file: Path, info: TensorInfo) -> tuple[float, ...]:
    """The numbers of a small tensor of a safetensors file, in order. Raises: HeaderError, for other types; OSError."""
    with file.open("rb") as stream:
        stream.seek(info.start)
        return decode(info.dtype, stream.read(info.end - info.start))


def decode(dtype: str, data: bytes) -> tuple[float, ...]:
    """Little-endian numbers of type F16, BF16, F32 or F64. Raises: HeaderError, for other types."""
    if dtype == "BF16":  # the upper half of a float32
        return tuple(struct.unpack("<f", b"\0\0" + data[at : at + 2])[0] for at in range(0, len(data) - 1, 2))
    letter, width = {"F16": ("e", 2), "F32": ("f", 4), "F64": ("d", 8)}.get(dtype, ("", 1))
    if not letter:
        raise HeaderError(f"numbers of type {dtype} cannot be read here")
    count = len(data) // width
    return struct.unpack(f"<{count}{letter}", data[: count * width])


def _check_start(name: str, start: bytes, length: int, size: int) -> None:
    if not size:
        raise HeaderError(f"{name} is empty")
    for first, what in OTHER_FILES:
        if start.lower().startswith(first.lower()):
            raise HeaderError(f"{name} {what}")
    if size < 10 or start[8:9] != b"{":
        raise HeaderError(f"{name} is no safetensors file")
    if length > size - 8:
        raise HeaderError(f"{name} is cut short or damaged: its header would be longer than the file")
    if length > HEADER_MAX:
        raise HeaderError(f"{name} has a header of {length / 1e6:.0f} MB; no model that is known here has one as long")


def _parse(name: str, raw: bytes) -> dict[str, Any]:
    try:
        text = raw.decode("utf-8")
        table: Any = json.loads(text)
        if not isinstance(table, dict) or _may_repeat(text, len(cast(dict[str, Any], table))):
            table = json.loads(text, object_pairs_hook=_once)
        "\n".join(cast(dict[str, Any], table)).encode("utf-8")
    except HeaderError as error:
        raise HeaderError(f"{name} is damaged: {error}") from error
    except UnicodeError as error:
        raise HeaderError(f"{name} is damaged: its header is no UTF-8 text") from error
    except (ValueError, RecursionError) as error:
        raise HeaderError(f"{name} is damaged: its header is no JSON") from error
    if not isinstance(table, dict):
        raise HeaderError(f"{name} is damaged: its header is no table of tensors")
    return cast(dict[str, Any], table)


def _may_repeat(text: str, count: int) -> bool:
    """Whether a key may be there twice. Looking is quicker than parsing so that it would be seen."""
    tables = text.count('"__metadata__"')
    tensors = count - tables
    return (
        tables > 1
        or "\\" in text
        or any(text.count(word) != tensors for word in ('"dtype"', '"shape"', '"data_offsets"'))
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise HeaderError(f"its header has {shown(twice)} twice")
    return table


def _metadata(name: str, found: Any) -> dict[str, str]:
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in cast(dict[str, Any], found).values()):
        raise HeaderError(f"{name} is damaged: its metadata is not made of texts")
    return cast(dict[str, str], found)


def _tensors(name: str, table: dict[str, Any], offset: int) -> dict[str, TensorInfo]:
    try:
        rows = [(key, entry["dtype"], entry["shape"], *entry["data_offsets"]) for key, entry in table.items()]
        places = {*map(type, chain.from_iterable(row[3:] for row in rows))}
        shapes = [row[2] for row in rows]
        if (
            {*map(len, rows)} - {5}
            or {*map(type, shapes)} - {list}
            or max(map(len, shapes), default=0) > DIMENSIONS_MAX
        ):
            raise TypeError
        if (places | {*map(type, chain.from_iterable(shapes))}) - {int}:
            raise TypeError
        if min(chain.from_iterable(shapes), default=0) < 0:
            raise ValueError
        found: dict[str, TensorInfo] = {}
        for key, dtype, shape, start, end in rows:
            if prod(shape) * BITS[dtype] != 8 * (end - start):
                raise HeaderError(f"{name} is damaged: {shown(key)} does not fit its place")
            found[key] = TensorInfo(dtype, tuple(shape), offset + start, offset + end)
    except HeaderError:
        raise
    except KeyError as error:
        raise HeaderError(f"{name} is damaged: it has a tensor of no known type") from error
    except (TypeError, ValueError) as error:
        raise HeaderError(f"{name} is damaged: it has a tensor that is not described as tensors are") from error
    return found


def _check_offsets(name: str, tensors: dict[str, TensorInfo], offset: int, size: int) -> None:
    """The data has to be covered once: that is what the format promises."""
    for _, _, start, end in sorted(tensors.values(), key=itemgetter(2, 3)):
        if start != offset:
            raise HeaderError(f"{name} is damaged: its tensors {'overlap' if start < offset else 'leave a gap'}")
        offset = end
    if offset > size:
        raise HeaderError(f"{name} is cut short")
    if offset < size:
        raise HeaderError(f"{name} is damaged: {size - offset} bytes after its tensors belong to none")

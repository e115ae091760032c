"""The header of a safetensors file, read strictly: what it holds is known before a tensor is read."""

import json
import os
import re
import struct
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from itertools import chain
from math import prod
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar, cast

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
T = TypeVar("T")
METADATA = '"__metadata__"'
SPACE = " \t\r\n"  # in JSON
METADATA_FIRST = re.compile(r'\{[ \t\r\n]*"__metadata__"[ \t\r\n]*:[ \t\r\n]*')  # as the format's own library writes it
MORE_TENSORS = re.compile(r'[ \t\r\n]*,[ \t\r\n]*"')


class HeaderError(ValueError):
    """A file of weights that cannot be read. The message names the file and what was found, without a full stop."""


class TensorInfo(NamedTuple):
    """What a tensor is, and where: bytes from the start of the data (in a pickle: from the start of its own record)."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


class Tensors(dict[str, TensorInfo]):
    """A file's tensors by their names, which nobody changes: many files share them, and what was found out of them."""

    def __init__(self, tensors: Mapping[str, TensorInfo]) -> None:
        super().__init__(tensors)
        self._facts: dict[tuple[Hashable, ...], Any] = {}

    def once(self, find: Callable[..., T], *about: Hashable) -> T:
        """What `find(tensors, *about)` tells, asked once. It must look at nothing else."""
        key = (find, *about)
        if key not in self._facts:
            self._facts[key] = find(self, *about)
        return self._facts[key]


@dataclass(frozen=True)
class Header:
    """What a file of weights holds. bytes: the size of the file; data: where in it the tensors' data starts."""

    tensors: Tensors
    metadata: dict[str, str]
    bytes: int
    data: int = 0


def shown(name: str) -> str:
    """A file's or a tensor's name, short and printable, whatever it is made of."""
    text = "".join(letter if letter.isprintable() else "?" for letter in name[:200])
    return text if len(text) <= 100 else f"{text[:97]}..."


def read_tensors(table: str) -> Tensors:
    """The tensors that a header without its metadata, in JSON, tells of. Raises: HeaderError: what is wrong with it."""
    tensors = _tensors(_parse(table))
    _check_cover(tensors)
    return tensors


def read_header(file: Path, tensors_in: Callable[[str], Tensors] = read_tensors) -> Header:
    """The header of a safetensors file; no tensor is read.

    Args:
        tensors_in: Does as `read_tensors`; one that remembers spares the reader of many files much, since files that
            one program wrote for one base model tell of the same tensors.

    Raises: HeaderError, if a program that follows the format would refuse the file: it is cut short, its header is
        longer than the file or than 32 MB, a name is there twice, tensors overlap or leave gaps, or a size does not
        fit its type; OSError.
    Source: https://huggingface.co/docs/safetensors, section Format.
    """
    with file.open("rb") as stream:
        return header_in(stream, shown(file.name), tensors_in)


def header_in(stream: BinaryIO, name: str, tensors_in: Callable[[str], Tensors] = read_tensors) -> Header:
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
    try:
        metadata, table = _parted(raw)
        tensors = tensors_in(table)
    except HeaderError as error:
        raise HeaderError(f"{name} is damaged: {error}") from error
    _check_size(name, tensors, size - 8 - length)
    return Header(tensors, metadata, size, 8 + length)


def read_values(file: Path, header: Header, name: str) -> tuple[float, ...]:
    """The numbers of a small tensor of a safetensors file, in order.

    Raises: HeaderError, for other types; KeyError; OSError.
    """
    info = header.tensors[name]
    with file.open("rb") as stream:
        stream.seek(header.data + info.start)
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


def _parted(raw: bytes) -> tuple[dict[str, str], str]:
    """A header's metadata, and the rest of it, which many files share, as it is written. Raises: HeaderError."""
    try:
        text = raw.decode("utf-8").rstrip(SPACE)
        if first := METADATA_FIRST.match(text):
            metadata, end = STRICT.raw_decode(text, first.end())
            if (rest := MORE_TENSORS.match(text, end)) and METADATA not in text[end:]:
                return _metadata(metadata), "{" + text[rest.end() - 1 :]
        if METADATA not in text and "\\" not in text:
            return {}, text
        table = _parse(text)
        metadata = _metadata(table.pop("__metadata__", {}))
        return metadata, json.dumps(table)
    except UnicodeError as error:
        raise HeaderError("its header is no UTF-8 text") from error
    except HeaderError:
        raise
    except (ValueError, RecursionError) as error:
        raise HeaderError("its header is no JSON") from error


def _parse(text: str) -> dict[str, Any]:
    try:
        table: Any = json.loads(text)
        if not isinstance(table, dict) or _may_repeat(text, len(cast(dict[str, Any], table))):
            table = json.loads(text, object_pairs_hook=_once)
        "\n".join(cast(dict[str, Any], table)).encode("utf-8")
    except HeaderError:
        raise
    except UnicodeError as error:
        raise HeaderError("its header is no UTF-8 text") from error
    except (ValueError, RecursionError) as error:
        raise HeaderError("its header is no JSON") from error
    if not isinstance(table, dict):
        raise HeaderError("its header is no table of tensors")
    return cast(dict[str, Any], table)


def _may_repeat(text: str, count: int) -> bool:
    """Whether a key may be there twice. Looking is quicker than parsing so that it would be seen."""
    tables = text.count(METADATA)
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


STRICT = json.JSONDecoder(object_pairs_hook=_once)


def _metadata(found: Any) -> dict[str, str]:
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in cast(dict[str, Any], found).values()):
        raise HeaderError("its metadata is not made of texts")
    return cast(dict[str, str], found)


def _tensors(table: dict[str, Any]) -> Tensors:
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
                raise HeaderError(f"{shown(key)} does not fit its place")
            found[key] = TensorInfo(dtype, tuple(shape), start, end)
    except HeaderError:
        raise
    except KeyError as error:
        raise HeaderError("it has a tensor of no known type") from error
    except (TypeError, ValueError) as error:
        raise HeaderError("it has a tensor that is not described as tensors are") from error
    return Tensors(found)


def _check_cover(tensors: Tensors) -> None:
    """The data has to be covered once: that is what the format promises."""
    covered = 0
    for _, _, start, end in sorted(tensors.values(), key=itemgetter(2, 3)):
        if start != covered:
            raise HeaderError(f"its tensors {'overlap' if start < covered else 'leave a gap'}")
        covered = end


def _check_size(name: str, tensors: Tensors, room: int) -> None:
    length = tensors.once(_length)
    if length > room:
        raise HeaderError(f"{name} is cut short")
    if length < room:
        raise HeaderError(f"{name} is damaged: {room - length} bytes after its tensors belong to none")


def _length(tensors: Tensors) -> int:
    return max((info.end for info in tensors.values()), default=0)

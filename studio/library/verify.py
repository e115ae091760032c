"""Reading models from end to end, to name those that are damaged."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from studio.library.cache import Cache
from studio.library.entry import ModelEntry, shown
from studio.library.hashes import BLOCK, read_sha256
from studio.library.header import Header, HeaderError
from studio.library.identify import SAFETENSORS, header_of
from studio.library.walk import SINGLE_FILES, files_of

EXPONENTS = {  # per type: words, and the bits that all are set in NaN and infinity (IEEE 754; bfloat16; OCP's fp8)
    "F8_E4M3": ("<u1", 0x7F),  # it has no infinity, and one NaN of each sign
    "F8_E5M2": ("<u1", 0x7C),
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
    "F32": ("<u4", 0x7F800000),
    "F64": ("<u8", 0x7FF0000000000000),
}
MASKS = "mask"  # some text encoders keep an attention mask, whose infinities are meant


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was found about one model. problem: a sentence; "" for one that is sound. sha256: "" for a folder."""

    name: str
    path: str
    kind: str
    sha256: str
    problem: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"ok": not self.problem}


def verify(cache: Cache, entry: ModelEntry) -> Verdict:
    """Read every byte of a model: its header, its numbers, its hash against the one that was known before.

    A file that was changed since it was read last is not damaged: its time tells. Never raises for what is in a file.
    """
    problem, sha256 = "", ""
    try:
        for file in files_of(entry.path):
            problem = problem or next(_header_problems(file), "")
            sha256 = read_sha256(file)
            problem = problem or _hash_problem(cache, entry, file, sha256)
    except OSError as error:
        problem = f"It cannot be read: {error.strerror or error}."
    except HeaderError as error:
        problem = f"{error}."
    return Verdict(
        name=entry.name,
        path=shown(entry.path),
        kind=entry.kind,
        sha256="" if entry.is_folder else sha256,
        problem=problem,
    )


def _hash_problem(cache: Cache, entry: ModelEntry, file: Path, sha256: str) -> str:
    known = cache.known_hash(file)
    if known and known != sha256:
        return f"{shown(file.name)} has other bytes than before, and yet the same size and time: the disk lost some."
    row = cache.row(entry.path)
    promised = "" if row is None or entry.is_folder else row.said.sha256
    if promised and promised != sha256:
        return f"Its hash {sha256[:10]} is not {promised[:10]}, which the file beside it promises."
    return ""


def _header_problems(file: Path) -> Iterator[str]:
    """What is wrong with a file of weights: values that are no numbers. Raises: HeaderError, OSError."""
    if file.suffix.lower() not in SINGLE_FILES:
        return
    header = header_of(file)
    if file.suffix.lower() not in SAFETENSORS:
        return
    odd = [name for name in header.tensors if MASKS not in name and not _is_finite(file, header, name)]
    if odd:
        others = f" and in {len(odd) - 1} more tensors" if len(odd) > 1 else ""
        yield f"{shown(file.name)} holds NaN or infinity in {shown(odd[0])[:80]}{others}."


def _is_finite(file: Path, header: Header, name: str) -> bool:
    info = header.tensors[name]
    if info.dtype not in EXPONENTS:
        return True
    words, exponent = EXPONENTS[info.dtype]
    with file.open("rb") as stream:
        stream.seek(header.data + info.start)
        left = info.end - info.start
        while left > 0 and (block := stream.read(min(BLOCK, left))):
            left -= len(block)
            numbers = np.frombuffer(block, dtype=words, count=len(block) // np.dtype(words).itemsize)
            if bool(np.any((numbers & numbers.dtype.type(exponent)) == exponent)):
                return False
    return True

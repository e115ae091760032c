"""Which model a file is, cheaply: a fingerprint stays the same when the file is moved, and changes with its content."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

BLOCK = 1 << 16
HEADER_MAX = 100_000_000
NOT_CONTENT = "card.json"  # describes a model; changing it changes no picture's bytes


def fingerprint(path: Path, files: Iterable[Path]) -> str:
    """A model's fingerprint: 64 hexadecimal digits. Raises: OSError.

    Of a file: size, header, and 64 KiB each from the middle and the end, so that checkpoints with a frozen text encoder
    at their end are told apart. Of a folder: its files' names and fingerprints.
    """
    if not path.is_dir():
        return _of_file(path)
    lines = [f"{file.relative_to(path).as_posix()} {_of_file(file)}" for file in files if file.name != NOT_CONTENT]
    return hashlib.sha256(os.fsencode("\n".join(lines))).hexdigest()


def of_unreadable(path: Path, size: int) -> str:
    """What stands for the fingerprint of a file that cannot be read."""
    return hashlib.sha256(os.fsencode(f"{path} {size}")).hexdigest()


def _of_file(file: Path) -> str:
    with file.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        digest = hashlib.sha256(b"%d\n" % size)
        start = stream.read(8)
        length = int.from_bytes(start, "little") if file.suffix.lower() in (".safetensors", ".sft") else BLOCK
        digest.update(start + stream.read(length if length <= min(HEADER_MAX, size) else BLOCK))
        for place in (size // 2, max(0, size - BLOCK)):
            stream.seek(place)
            digest.update(stream.read(BLOCK))
    return digest.hexdigest()

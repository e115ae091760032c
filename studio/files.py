"""Files that are whole or absent: written beside their place, flushed to the disk, then renamed."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from studio.errors import StorageError


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` to `path`, so that nobody ever reads half of it; folders are made as needed.

    Raises: StorageError, if the disk is full or the folder cannot be written; an older file is untouched then.
    """
    beside = path.with_name(f".{path.name[:40]}.{secrets.token_hex(6)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def move_whole(source: Path, target: Path) -> None:
    """Rename a file into another folder of the same disk. Raises: StorageError."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(source, target)
    except OSError as error:
        raise cannot_write(target, error) from error


def cannot_write(path: Path, error: OSError) -> StorageError:
    """The sentence for a write that the system refused."""
    return StorageError(f"{path.name} could not be written to {path.parent}: {error.strerror or error}.")

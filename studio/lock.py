"""One studio per data folder: `.lock` is held by the process at work there, and says its pid and port.

The operating system drops the lock when the process ends, however it ends, so nothing is ever left to clear up.
"""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from studio.errors import StartError, StorageError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

FAR = 1 << 20  # Windows forbids others to read a locked byte, so the locked one lies behind the text


@dataclass(frozen=True)
class Running:
    """Who holds a data folder. port 0: it serves no page; key lets a local command in, where accounts are on."""

    pid: int
    port: int
    key: str = ""


class StudioLock:
    """Holds a data folder while the block runs, or until `release`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def acquire(self) -> None:
        """Take the folder. Raises: StartError, if another process has it; StorageError, if it cannot be written."""
        file = _open(self.path)
        if not _try_lock(file):
            file.close()
            raise _taken(self.path)
        self._file = file
        self.announce(0)

    def announce(self, port: int, key: str = "") -> None:
        """Say where the page answers."""
        assert self._file is not None
        self._file.seek(0)
        self._file.truncate()
        self._file.write(json.dumps({"pid": os.getpid(), "port": port, "key": key}).encode())
        self._file.flush()

    def release(self) -> None:
        """Give the folder back; the file stays, empty."""
        if self._file is not None:
            self._file.truncate(0)
            _unlock(self._file)
            self._file.close()
            self._file = None


def running_studio(path: Path) -> Running | None:
    """The process that holds the folder, or None."""
    if not path.is_file():
        return None
    file = _open(path)
    try:
        if _try_lock(file):
            _unlock(file)
            return None
        file.seek(0)
        return _parse(file.read())
    finally:
        file.close()


def _parse(text: bytes) -> Running:
    try:
        said: Any = json.loads(text)
        return Running(pid=int(said["pid"]), port=int(said["port"]), key=str(said.get("key", "")))
    except (ValueError, TypeError, KeyError):
        return Running(pid=0, port=0)  # held, and just about to say so


def _taken(path: Path) -> StartError:
    holder = running_studio(path)
    if holder is not None and holder.port:
        return StartError(
            f"A studio is at work on {path.parent} already, at http://127.0.0.1:{holder.port}.",
            hint="Open that page, or start this one with another folder: --data DIR.",
        )
    return StartError(f"Another command is at work on {path.parent}.", hint="Wait until it is done, or use --data DIR.")


def _open(path: Path) -> IO[bytes]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written ({error.strerror}).", hint="Choose another folder with --data."
        ) from error
    return os.fdopen(handle, "r+b")


def _try_lock(file: IO[bytes]) -> bool:
    try:
        if sys.platform == "win32":
            file.seek(FAR)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _unlock(file: IO[bytes]) -> None:
    if sys.platform == "win32":
        file.seek(FAR)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
    else:
        fcntl.flock(file, fcntl.LOCK_UN)

"""Content ids: the same content has the same id, wherever it lies. Files are read from end to end once, when needed."""

import hashlib
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path

from studio.errors import StorageError
from studio.library.cache import Cache
from studio.library.fingerprint import NOT_CONTENT
from studio.library.walk import files_of

BLOCK = 1 << 20
BETWEEN = 0.25  # seconds between two words on how far a reading is


class Reading:
    """How far a model is read: told a few times a second, and at its end; nothing is told of a quick one.

    told: Called with the bytes read and the bytes in all.
    """

    def __init__(self, total: int, told: Callable[[int, int], object], clock: Callable[[], float]) -> None:
        self.total, self.done, self._told, self._clock = total, 0, told, clock
        self._last, self._spoke = clock(), False

    def add(self, count: int) -> None:
        """So many bytes more."""
        self.done += count
        if (now := self._clock()) - self._last >= BETWEEN:
            self._last, self._spoke = now, True
            self._told(min(self.done, self.total), self.total)

    def end(self) -> None:
        """It is read, or cannot be."""
        if self._spoke:
            self._told(self.total, self.total)


class Hashes:
    """Computes ids, each once, however many ask at the same time.

    told: Called with the model, the bytes of it that were read and all its bytes, while a reading takes its time;
        the two are equal at the end, whatever the end is.
    """

    def __init__(
        self,
        cache: Cache,
        told: Callable[[Path, int, int], object] = lambda _path, _done, _total: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cache, self._told, self._clock = cache, told, clock
        self._lock = threading.Lock()
        self._running: dict[Path, Future[str]] = {}

    def start(self, path: Path) -> "Future[str]":
        """The id of a model, being computed. It may end with an OSError or a StorageError."""
        with self._lock:
            if (running := self._running.get(path)) is not None:
                return running
            future = self._running[path] = Future[str]()
        threading.Thread(target=self._run, args=(path, future), name="hash", daemon=True).start()
        return future

    def content_id(self, path: Path) -> str:
        """A file's sha256; of a folder, that of its files' names and hashes.

        Raises: OSError, if it cannot be read; StorageError.
        """
        return self.start(path).result()

    def keep(self, file: Path, sha256: str) -> None:
        """Note the hash of a file that was read by somebody else just now. Raises: OSError, StorageError."""
        self._cache.put_hash(file, file.stat(), sha256)

    def _run(self, path: Path, future: "Future[str]") -> None:
        try:
            content = self._compute(path)
        except (OSError, StorageError) as error:
            self._finish(path)
            future.set_exception(error)
        else:
            self._finish(path)
            future.set_result(content)
        finally:
            if not future.done():  # a bug, for which nobody shall wait
                future.set_exception(RuntimeError(f"{path} was not read to its end"))

    def _finish(self, path: Path) -> None:
        self._cache.database.close()  # this thread's connection
        with self._lock:
            self._running.pop(path, None)

    def _compute(self, path: Path) -> str:
        is_folder = path.is_dir()
        files = [file for file in files_of(path) if file.name != NOT_CONTENT] if is_folder else [path]
        reading = Reading(sum(file.stat().st_size for file in files), partial(self._told, path), self._clock)
        try:
            hashes = [self._sha256(file, reading) for file in files]
        finally:
            reading.end()
        if not is_folder:
            return hashes[0]
        lines = [f"{file.relative_to(path).as_posix()} {sha256}" for file, sha256 in zip(files, hashes, strict=True)]
        return hashlib.sha256(os.fsencode("\n".join(lines))).hexdigest()

    def _sha256(self, file: Path, reading: Reading) -> str:
        """A file's hash, from the cache if the file has not changed. Raises: OSError, StorageError."""
        stat = file.stat()
        if known := self._cache.known_hash(file):
            reading.add(stat.st_size)
            return known
        found = read_sha256(file, reading.add)
        self._cache.put_hash(file, stat, found)
        return found


def read_sha256(file: Path, told: Callable[[int], object] = lambda _: None) -> str:
    """The hash of a file, read from end to end; `told` the size of each block that was read. Raises: OSError."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
            told(len(block))
    return digest.hexdigest()


def short_hash(sha256: str) -> str:
    """The ten digits by which A1111 and others name a model."""
    return sha256[:10]

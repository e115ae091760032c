"""Content ids: the same content has the same id, wherever it lies. Files are read from end to end once, when needed."""

import hashlib
import os
import threading
from concurrent.futures import Future
from pathlib import Path

from studio.errors import StorageError
from studio.library.cache import Cache
from studio.library.fingerprint import NOT_CONTENT
from studio.library.walk import files_of

BLOCK = 1 << 20


class Hashes:
    """Computes ids, each once, however many ask at the same time."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
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
        if not path.is_dir():
            return self.sha256(path)
        files = [file for file in files_of(path) if file.name != NOT_CONTENT]
        lines = [f"{file.relative_to(path).as_posix()} {self.sha256(file)}" for file in files]
        return hashlib.sha256(os.fsencode("\n".join(lines))).hexdigest()

    def sha256(self, file: Path) -> str:
        """A file's hash, from the cache if the file has not changed. Raises: OSError, StorageError."""
        if known := self._cache.known_hash(file):
            return known
        stat = file.stat()
        found = read_sha256(file)
        self._cache.put_hash(file, stat, found)
        return found


def read_sha256(file: Path) -> str:
    """The hash of a file, read from end to end. Raises: OSError."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def short_hash(sha256: str) -> str:
    """The ten digits by which A1111 and others name a model."""
    return sha256[:10]

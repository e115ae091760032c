"""Files read ahead into the system's page cache while the device is busy, so that a swap copies from memory."""

import threading
from pathlib import Path

import psutil

from studio.messages import ModelLocation

BLOCK = 8 * 2**20
SHARE = 0.5  # of the memory that is free: what is read ahead must push nothing out


class ReadAhead:
    """Reads the files of the model that was selected last; an earlier one is given up."""

    def __init__(self) -> None:
        self._wanted: ModelLocation | None = None
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def begin(self, location: ModelLocation) -> None:
        """Read that model's weights from now on; returns at once."""
        with self._lock:
            self._wanted = location
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="read ahead", daemon=True)
                self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Whether everything that was asked for is read, waiting for it at most so long."""
        thread = self._thread
        if thread is not None:
            thread.join(seconds)
        return thread is None or not thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._lock:
                location, self._wanted = self._wanted, None
                if location is None:
                    self._thread = None
                    return
            self._read(location)

    def _read(self, location: ModelLocation) -> None:
        buffer = bytearray(BLOCK)
        for file in weights(location):
            try:
                with file.open("rb", buffering=0) as stream:
                    while stream.readinto(buffer) and self._wanted is None:
                        pass
            except OSError:
                return  # whoever loads it will say why


def weights(location: ModelLocation) -> list[Path]:
    """The model's files of weights, if all of them find room in free memory beside what is loaded; else none."""
    path = Path(location.path)
    files = sorted(path.rglob("*.safetensors")) if path.is_dir() else [path]
    try:
        size = sum(file.stat().st_size for file in files)
    except OSError:
        return []
    return files if size < psutil.virtual_memory().available * SHARE else []

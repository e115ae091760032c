"""Tensors on the disk, by what they were made of: made once, whole or absent, and made again if damaged."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from studio.files import write_whole

ROOM = 128 * 2**20  # bytes


class TensorCache:
    """A folder of single tensors, which may be deleted at any time. As many as `room` bytes hold are kept in memory."""

    def __init__(self, folder: Path, room: int = ROOM) -> None:
        self.folder, self.room = folder, room
        self._held: OrderedDict[tuple[object, ...], Tensor] = OrderedDict()
        self._bytes = 0

    def tensor(self, key: tuple[object, ...], make: Callable[[], Tensor]) -> Tensor:
        """The tensor of that key, made and kept if it is not here; on the CPU, not to be changed.

        key: Everything that it follows from; equal keys have equal `repr`.
        Raises: what `make` raises; StorageError, if the disk is full.
        """
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key]
        found = self._on_disk(key, make)
        self._held[key] = found
        self._bytes += found.nbytes
        while self._bytes > self.room:
            self._bytes -= self._held.popitem(last=False)[1].nbytes
        return found

    def _on_disk(self, key: tuple[object, ...], make: Callable[[], Tensor]) -> Tensor:
        path = self.path(key)
        try:
            return load(path.read_bytes())["tensor"]
        except (OSError, SafetensorError, KeyError):
            made = make().detach().cpu().contiguous()
            write_whole(path, save({"tensor": made}))
            return made

    def has(self, key: tuple[object, ...]) -> bool:
        """Whether it is here."""
        return self.path(key).is_file()

    def path(self, key: tuple[object, ...]) -> Path:
        """Where it lies, here or not."""
        name = hashlib.sha256(repr(key).encode()).hexdigest()
        return self.folder / name[:2] / f"{name}.safetensors"

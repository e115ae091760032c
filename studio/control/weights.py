"""The weights of annotators, opened: the network that made the last map is held for the next one."""

import logging
import pickle
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import ModelNotFoundError
from studio.library.annotators import AnnotatorFiles

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger("studio.worker")
DAMAGED = (RuntimeError, OSError, ValueError, TypeError, KeyError, AttributeError, EOFError, pickle.UnpicklingError)
TABLES = ("state_dict", "model")  # under which trainers keep the tensors, beside their own records
AGAIN = "Delete it from data/models/annotators and download it again."


class Weights:
    """What an annotator is given to open its files with.

    Args:
        files: Where they lie.
        device: Where networks run. Between two maps they lie in the computer's memory.
    """

    def __init__(self, files: AnnotatorFiles, device: str = "cpu") -> None:
        self.files, self.device = files, device
        self._held: tuple[object, Any] | None = None

    def file(self, name: str) -> Path:
        """Where it lies. Raises: ModelNotFoundError."""
        found = self.files.find(name)
        if found is None:
            raise ModelNotFoundError(f"{name} is not here any more.", hint="Download the annotator again.")
        return found

    @contextmanager
    def network(self, names: Sequence[str], build: Callable[..., Any]) -> Generator[Any]:
        """What `build(*paths)` makes of the files, on the device, with torch in inference mode.

        build: A module-level function; whatever it returns has a method `to(device)`.
        Raises: ModelNotFoundError, if a file is not there, is damaged or holds something else.
        """
        import torch

        made = self._made([self.file(name) for name in names], build)
        made.to(self.device)
        try:
            with torch.inference_mode():
                yield made
        finally:
            made.to("cpu")

    def forget(self) -> None:
        """Let the network go."""
        self._held = None

    def _made(self, paths: list[Path], build: Callable[..., Any]) -> Any:
        key = (build, *((path, path.stat().st_mtime_ns, path.stat().st_size) for path in paths))
        if self._held is None or self._held[0] != key:
            self.forget()  # before the next one is read: two need twice the memory
            self._held = key, _opened(paths, build)
        return self._held[1]


def _opened(paths: list[Path], build: Callable[..., Any]) -> Any:
    from safetensors import SafetensorError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # libraries that build networks warn of what they will do differently
            return build(*paths)
    except (*DAMAGED, SafetensorError) as error:
        log.warning("%s: %s", " or ".join(path.name for path in paths), error)
        raise not_it(paths) from error


def not_it(paths: Sequence[Path]) -> ModelNotFoundError:
    """What is told of files of which one holds something else than the network that it should."""
    names = " or ".join(path.name for path in paths)
    return ModelNotFoundError(f"{names} is damaged, or holds something else than it should.", hint=AGAIN)


def read_state(file: Path) -> "dict[str, Tensor]":
    """The tensors of a safetensors file or a pickle by name, in 32 bits; nothing in a pickle runs.

    Raises: one of DAMAGED, or SafetensorError.
    """
    import torch
    from safetensors.torch import load_file

    found: Any = (
        load_file(file)
        if file.suffix == ".safetensors"
        else torch.load(file, map_location="cpu", weights_only=True, mmap=False)
    )
    found = next((found[name] for name in TABLES if name in found), found)
    return {name.removeprefix("module."): tensor.float() for name, tensor in found.items()}

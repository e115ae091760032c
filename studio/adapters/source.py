"""A file's tensors as adapters need them: names and shapes at once, numbers when they are asked for."""

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

Shape = tuple[int, ...]


class Tensors(Protocol):
    """An opened file of tensors. title: what a person calls it; metadata: the texts of its header."""

    @property
    def title(self) -> str: ...

    @property
    def metadata(self) -> Mapping[str, str]: ...

    @property
    def shapes(self) -> Mapping[str, Shape]: ...

    def tensor(self, name: str) -> Tensor:
        """The tensor as it is stored, a view that must not be written to. Raises: KeyError."""
        ...

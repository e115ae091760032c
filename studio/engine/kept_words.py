"""Keys and values that attention layers make of words: the same at every step of a picture, so made once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

MOST = 128 * 2**20
Pair = tuple[Tensor, Tensor]


@dataclass
class KeptWords:
    """What the layers of one or several models made of the words that are told now, by the layer's id.

    Words are known by their tensor, not by its values: whoever tells others, or writes into layers, says so. Beyond
    MOST bytes nothing more is kept: SD 1.5 has 8 MB for a picture, and SDXL 55, but a batch of eight has eight times as
    much.
    """

    told: Sequence[Tensor] = ()
    _bytes: int = field(default=0, init=False)
    _made: dict[tuple[Any, int], Pair] = field(default_factory=dict[tuple[Any, int], Pair], init=False)

    def tell(self, told: Sequence[Tensor]) -> None:
        """Keep what is made of these, (B, L, D) each, from now on; of others, it is made anew every time."""
        if len(told) != len(self.told) or any(a is not b for a, b in zip(told, self.told, strict=True)):
            self.told = tuple(told)  # they live as long as they are told, so no other tensor has their id
            self.forget()

    def forget(self) -> None:
        """The layers' weights have changed."""
        self._made.clear()
        self._bytes = 0

    def of(self, layer: object, said: Tensor, make: Callable[[], Pair]) -> Pair:
        """Keys and values of a layer, made when they are asked for first; of what is not told, every time."""
        if not any(said is told for told in self.told):
            return make()
        key = id(layer), id(said)
        if (known := self._made.get(key)) is not None:
            return known
        made = make()
        size = sum(t.nbytes for t in made)
        if self._bytes + size <= MOST:
            self._made[key], self._bytes = made, self._bytes + size
        return made

"""One component of a model: its class, its configuration, and where each of its tensors lies in which file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from studio.engine.layouts import THIRDS, TRANSPOSED, Place
from studio.engine.reading import Stretch
from studio.engine.skeletons import expected_shapes
from studio.engine.weights import Weights
from studio.errors import ModelNotFoundError

Shape = tuple[int, ...]
NAMED = 3
INCOMPLETE = "The file is cut down, damaged, or made for another base model: take another version of it."


@dataclass
class Part:
    """One component. config: as diffusers or transformers write it; shapes, places: of the class's tensors, by name."""

    class_name: str
    config: dict[str, Any]
    shapes: dict[str, Shape]
    places: dict[str, Place]
    weights: Weights

    def names(self) -> Sequence[str]:
        """The names of the tensors that the class is loaded with."""
        return list(self.places)

    def tensor(self, name: str) -> Tensor:
        """The tensor in the class's shape and the file's precision: a view of the file's mapping, not to be written to.

        Raises: KeyError.
        """
        place, shape = self.places[name], self.shapes[name]
        stored = self.weights.tensor(place.name)
        if place.form == TRANSPOSED:
            return stored.T
        if place.form in THIRDS:
            start = THIRDS.index(place.form) * shape[0]
            return stored[start : start + shape[0]]
        return stored.reshape(shape)

    def stretch(self, name: str) -> Stretch | None:
        """Where the tensor's bytes lie in its file, in the order of the class's shape; None if they lie otherwise."""
        place = self.places[name]
        stored = self.weights.stretches.get(place.name)
        if stored is None or place.form == TRANSPOSED:
            return None
        return stored.third(THIRDS.index(place.form)) if place.form in THIRDS else stored


def find_part(
    class_name: str, config: dict[str, Any], weights: Weights, what: str, where: Callable[[str], Sequence[Place]]
) -> Part:
    """The component, with each tensor that its class is made of found. No tensor is read.

    Args:
        what: What a person calls the component.
        where: The places that a tensor may lie at, best first, by its name.
    Raises: ModelNotFoundError, naming the first tensors that are missing or do not fit.
    """
    try:
        shapes = expected_shapes(class_name, config)
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        raise ModelNotFoundError(f"{weights.title}: its {what} cannot be built: {error}.", hint=INCOMPLETE) from error
    places = {name: next((place for place in where(name) if place.name in weights.shapes), None) for name in shapes}
    found = {name: place for name, place in places.items() if place is not None}
    if len(found) < len(shapes):
        missing = [name for name, place in places.items() if place is None]
        raise ModelNotFoundError(
            f"{weights.title} lacks {len(missing)} of the {len(shapes)} tensors of its {what}, "
            f"such as {', '.join(missing[:NAMED])}.",
            hint=INCOMPLETE,
        )
    for name, place in found.items():
        if not _fits(weights.shapes[place.name], shapes[name], place.form):
            raise ModelNotFoundError(
                f"{weights.title}: {place.name} has the shape {weights.shapes[place.name]}, "
                f"which its {what} cannot take.",
                hint=INCOMPLETE,
            )
    return Part(class_name, config, shapes, found, weights)


def _fits(stored: Shape, wanted: Shape, form: str) -> bool:
    """Whether a stored tensor becomes the wanted one; ones at the end do not count, as in 1x1 convolutions."""
    if form == TRANSPOSED:
        return stored == wanted[::-1]
    if form in THIRDS:
        return stored == (3 * wanted[0], *wanted[1:])
    return _plain(stored) == _plain(wanted)


def _plain(shape: Shape) -> Shape:
    while len(shape) > 1 and shape[-1] == 1:
        shape = shape[:-1]
    return shape

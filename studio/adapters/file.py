"""An adapter's file, read for a checkpoint: what it changes there, and what of it cannot be used and why.

Nothing is calculated, and no tensor but single numbers is read, before a change is asked for. Whether all numbers of a
file are numbers is seen where they are summed (studio/adapters/stack.py).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from studio.adapters.bundled import STRANGE, Bundled, bundled_in
from studio.adapters.delta import Delta
from studio.adapters.formats.layer import Layer, UnusableError
from studio.adapters.formats.table import BY_SIGN, Algorithm
from studio.adapters.scaling import KEY, Scaling, scaling_in
from studio.adapters.source import Shape, Tensors
from studio.adapters.spelling import ONE_ENCODER, TWO_ENCODERS, Layers, layers_of
from studio.library.roles import embedding_in, role_of
from studio.library.rules.lora import MOTION, OTHERS, PRIOR, TEXT_PLACE, UNET_PLACE

UNKNOWN = "ends in no way that a tensor of an adapter does"
UNREAD = "is of a sort that cannot be read"
IDLE = "stands beside nothing that it could be of use to"
NO_LAYER = "is for a layer that this checkpoint does not have"
FEWER = "is for a checkpoint with one text encoder"
MORE = "is for a checkpoint with two text encoders"
UNREAD_ROLES = frozenset(("lokr_t1", "reshape_weight"))


@dataclass(frozen=True)
class Unmatched:
    """A tensor that is not used. reason: a sentence that begins with its verb, for `key`."""

    key: str
    reason: str


@dataclass(frozen=True)
class AdapterFile:
    """What a file changes of a checkpoint.

    Fields:
        deltas: By the parameter's name, part first.
        matched: How many of the file's tensors are used. 0 means that it is no adapter for this checkpoint.
        algorithms: Their names, as people write them.
        keys: The file's tensors that make each delta.
        embeddings: Those inside of the file, by the names that prompts call them; of another width, too.
    """

    title: str
    deltas: Mapping[str, Delta]
    matched: int
    unmatched: tuple[Unmatched, ...]
    algorithms: tuple[str, ...]
    metadata: Mapping[str, str]
    keys: Mapping[str, tuple[str, ...]]
    embeddings: Mapping[str, Bundled]


def read_adapter(weights: Tensors, targets: Mapping[str, Shape]) -> AdapterFile:
    """What the file changes of a checkpoint that has these parameters, part first, each with its shape.

    A layer whose tensors do not all fit stays as it is, and each of them is in `unmatched`.
    """
    reading = _Reading(weights, targets, layers_of(targets), scaling_in(weights.metadata))
    for stem, keys in reading.grouped().items():
        reading.change(stem, keys)
    if reading.scaling.fault:
        reading.leave([KEY], reading.scaling.fault)
    embeddings = reading.embeddings()
    return AdapterFile(
        weights.title,
        reading.deltas,
        len(reading.used),
        tuple(reading.unmatched),
        tuple(sorted(reading.titles)),
        weights.metadata,
        reading.keys,
        embeddings,
    )


@dataclass
class _Reading:
    """A file on its way to an AdapterFile. owners: which spelling of a layer came first."""

    weights: Tensors
    targets: Mapping[str, Shape]
    layers: Layers
    scaling: Scaling
    owners: dict[str, str] = field(default_factory=dict[str, str])
    deltas: dict[str, Delta] = field(default_factory=dict[str, Delta])
    keys: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    used: set[str] = field(default_factory=set[str])
    titles: set[str] = field(default_factory=set[str])
    unmatched: list[Unmatched] = field(default_factory=list[Unmatched])

    def leave(self, keys: Iterable[str], reason: str) -> None:
        """Note tensors that are not used."""
        self.unmatched.extend(Unmatched(key, reason) for key in keys)

    def grouped(self) -> dict[str, dict[str, str]]:
        """The file's tensors by layer as it spells them, and by what they are of it."""
        found: dict[str, dict[str, str]] = {}
        names = self.weights.shapes
        for key in names:
            stem, role = role_of(key, names)
            if embedding_in(key)[0]:
                continue
            if not role:
                self.leave([key], UNKNOWN)
            elif (first := found.setdefault(stem, {}).setdefault(role, key)) != key:
                self.leave([key], f"is another spelling of {first}, which is used")
        return found

    def embeddings(self) -> dict[str, Bundled]:
        """Take the embeddings inside of the file; those of another width are named, and never read."""
        found, strange = bundled_in(self.weights)
        self.leave(strange, STRANGE)
        for one in found.values():
            if fault := one.fault(self.targets):
                self.leave(one.keys.values(), fault)
            else:
                self.used.update(one.keys.values())
        return found

    def change(self, stem: str, keys: Mapping[str, str]) -> None:
        """Take what the file has for one layer, or note why it cannot be used."""
        path = self.layers.find(stem)
        if not path:
            self.leave(keys.values(), _why(stem, self.layers))
        elif (first := self.owners.setdefault(path, stem)) != stem:
            self.leave(keys.values(), f"is for {path}, which {first} changes already")
        else:
            self._change(Layer(path, keys, self.weights, self.targets, self.scaling))

    def _change(self, layer: Layer) -> None:
        faults: dict[str, str] = {}
        for algorithm in dict.fromkeys(BY_SIGN[role] for role in layer.keys if role in BY_SIGN):
            own = [key for role, key in layer.keys.items() if role in algorithm.roles]
            try:
                self._take(layer, algorithm, own)
            except UnusableError as error:
                faults |= dict.fromkeys(own, str(error))
        for role, key in layer.keys.items():
            if key not in self.used:
                self.leave([key], faults.get(key, UNREAD if role in UNREAD_ROLES else IDLE))

    def _take(self, layer: Layer, algorithm: Algorithm, keys: list[str]) -> None:
        name = f"{layer.path}.{algorithm.parameter}"
        if name in self.deltas:
            raise UnusableError(f"is for {name}, which other tensors of the same layer change already")
        title, self.deltas[name] = algorithm.build(layer)
        self.titles.add(title)
        self.keys[name] = tuple(keys)
        self.used.update(keys)


def _why(stem: str, layers: Layers) -> str:
    """Why a layer is none of the checkpoint's."""
    flat = stem.replace(".", "_")
    if flat.startswith(PRIOR):
        return "is for Stable Cascade"
    for starts, reason in ((ONE_ENCODER, FEWER), (TWO_ENCODERS, MORE)):
        if flat.startswith(tuple(start for start, _ in starts)) and not set(starts) <= set(layers.starts):
            return reason
    if (UNET_PLACE.search(flat) and MOTION not in flat) or TEXT_PLACE.search(flat):
        return NO_LAYER
    return next((f"is for {what}" for what, pattern in OTHERS if pattern.search(flat)), NO_LAYER)

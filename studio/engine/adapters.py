"""Adapters of a request: their files opened, and a stack made of them."""

import os
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from studio.adapters import scaling
from studio.adapters.delta import LowRank
from studio.adapters.file import AdapterFile, Unmatched, read_adapter
from studio.adapters.stack import Weighted
from studio.engine.stack import Adapted
from studio.engine.weights import open_weights
from studio.errors import InvalidRequestError, ModelNotFoundError
from studio.messages import ModelLocation
from studio.params import AdapterRef

OPEN = 64  # files; each holds a mapping, and no memory of ours
NAMED = 3
Mark = tuple[int, int, int]


@dataclass(frozen=True)
class Opened:
    """A file that was read for some checkpoint. mark: what changes when the file is replaced."""

    file: AdapterFile
    mark: Mark


@dataclass
class AdapterFiles:
    """The files that were used last, kept open."""

    held: OrderedDict[tuple[str, int], Opened] = field(default_factory=OrderedDict[tuple[str, int], Opened])

    def stack(
        self, refs: Iterable[AdapterRef], models: Mapping[str, ModelLocation], adapted: Mapping[str, Adapted]
    ) -> tuple[list[Weighted], list[str]]:
        """The stack of those that change weights, and sentences on what of their files is not used.

        Args:
            models: Where the files lie, by content id.
            adapted: The parts of the checkpoint.
        Raises: ModelNotFoundError, for a file that is gone, was replaced or is broken; InvalidRequestError, for one of
            which nothing fits the checkpoint.
        """
        wanted = [ref for ref in refs if ref.kind == "lora"]
        targets = {
            name: tuple(parameter.shape)
            for part in (adapted.values() if wanted else ())
            for name, (_own, parameter) in part.parameters().items()
        }
        files = [self._open(models[ref.id], targets) for ref in wanted]
        notes = [told_of(file) for file in files if file.unmatched]
        return [_weighted(ref, file) for ref, file in zip(wanted, files, strict=True)], list(dict.fromkeys(notes))

    def _open(self, location: ModelLocation, targets: Mapping[str, tuple[int, ...]]) -> AdapterFile:
        key, mark = (location.id, hash(frozenset(targets.items()))), _mark(location)
        held = self.held.pop(key, None)
        if held is None:
            weights = open_weights(file := Path(location.path))
            weights = replace(weights, metadata=scaling.beside(file) | dict(weights.metadata))
            held = Opened(read_adapter(weights, targets), mark)
        elif held.mark != mark:
            raise ModelNotFoundError(
                f"{held.file.title} was replaced while it was in use.", hint="Rescan the models and choose it again."
            )
        if not held.file.deltas:
            raise InvalidRequestError(
                f"{held.file.title} changes nothing of this checkpoint: {_reasons(held.file.unmatched)}.",
                field="adapters",
                hint="Take it off, or choose a checkpoint of the base model that it was made for.",
            )
        self.held[key] = held
        while len(self.held) > OPEN:
            self.held.popitem(last=False)
        return held.file


def told_of(file: AdapterFile) -> str:
    """One sentence on what of a file is not used, with the first names."""
    count, total = len(file.unmatched), len(file.unmatched) + file.matched
    return f"{count} of {total} tensors of {file.title} were not used: {_reasons(file.unmatched)}."


def _reasons(unmatched: Iterable[Unmatched]) -> str:
    """The first names, one for each reason."""
    rows: dict[str, list[str]] = {}
    for one in unmatched:
        rows.setdefault(one.reason, []).append(one.key)
    shown = [
        f"{keys[0]}{f' (and {len(keys) - 1} more like it)' if keys[1:] else ''} {reason}"
        for reason, keys in list(rows.items())[:NAMED]
    ]
    more = len(rows) - len(shown)
    return "; ".join(shown) + (f"; and {more} other reasons" if more else "") or "it holds no tensors"


def _weighted(ref: AdapterRef, file: AdapterFile) -> Weighted:
    rank, deltas = ref.rank, file.deltas
    if rank is not None:
        deltas = {n: d.narrowed(rank) if isinstance(d, LowRank) else d for n, d in deltas.items()}
    return Weighted(
        id=ref.id if rank is None else f"{ref.id}, rank {rank}",
        title=file.title,
        deltas=deltas,
        weight=ref.weight,
        text_weight=ref.text_weight,
        blocks=ref.blocks,
        start=ref.start,
        end=ref.end,
        curve=ref.curve,
        embeddings=file.embeddings,
    )


def _mark(location: ModelLocation) -> Mark:
    try:
        found = os.stat(location.path)
    except OSError as error:
        raise ModelNotFoundError(
            f"{Path(location.path).name} is not there any more.", hint="Put it back, or take it off the stack."
        ) from error
    return found.st_ino, found.st_size, found.st_mtime_ns

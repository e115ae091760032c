"""Files of weights, opened without reading them: tensors are views of the file's memory mapping."""

import math
import mmap
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path

import torch
from torch import Tensor

from studio.engine.pickles import PICKLES, read_pickle
from studio.engine.reading import OpenFile, Stretch
from studio.engine.tensors import DTYPES
from studio.errors import ModelNotFoundError
from studio.library.folders import UNREADABLE, weights_of
from studio.library.header import Header, HeaderError, header_in, read_tensors, shown

Shape = tuple[int, ...]
DAMAGED = "Download or copy it again, then look at its size."
SCALED = "scaled_fp8"  # the mark of files whose fp8 tensors are to be multiplied by scales of their own
PLAIN = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64}
TYPES = {name: dtype for dtype, name in DTYPES.items()}
tensors_in = lru_cache(maxsize=4)(read_tensors)  # checkpoints between which one swaps mostly hold the same tensors


@dataclass(frozen=True)
class Weights:
    """The tensors of a file, or of several that belong together. title: what a person calls it; shapes by name.

    stretches: Where tensors lie whose bytes can be read as they are.
    mapped: Whether the tensors are views of the file, and no memory of this program.
    """

    title: str
    shapes: Mapping[str, Shape]
    metadata: Mapping[str, str]
    readers: Mapping[str, Callable[[str], Tensor]]
    stretches: Mapping[str, Stretch] = field(default_factory=dict[str, Stretch])
    mapped: bool = True

    def names(self) -> Sequence[str]:
        """The names of all tensors."""
        return list(self.shapes)

    def tensor(self, name: str) -> Tensor:
        """The tensor as it is stored: a view of the mapping, which must not be written to. Raises: KeyError."""
        return self.readers[name](name)


def open_weights(file: Path, title: str = "") -> Weights:
    """The tensors of a safetensors file, or of a pickle that holds nothing but tensors.

    Raises: ModelNotFoundError, saying what is wrong with the file and what to do.
    """
    title = title or file.name
    try:
        opened = _open_pickle(file, title) if file.suffix.lower() in PICKLES else _open_safetensors(file, title)
    except HeaderError as error:
        raise ModelNotFoundError(f"{error}.", hint=DAMAGED) from error
    except OSError as error:
        raise ModelNotFoundError(f"{title} cannot be read: {error.strerror or error}.") from error
    if SCALED in opened.shapes:
        raise ModelNotFoundError(
            f"{title} has fp8 weights with scales of their own, which cannot be read.",
            hint="Take the fp16 or the plain fp8 version of this model.",
        )
    return opened


def open_folder(folder: Path, title: str) -> Weights:
    """The weights of a component's folder, in one file or in shards; a variant such as fp16 where there is no other.

    Raises: ModelNotFoundError, saying what is missing.
    """
    try:
        files = weights_of(folder)
    except UNREADABLE as error:
        raise ModelNotFoundError(f"{title}: the index in {folder.name} cannot be read.", hint=DAMAGED) from error
    if not files:
        raise ModelNotFoundError(f"{title} has no weights in {folder.name}.", hint="Download the folder again.")
    for file in files:
        if not file.is_file():
            raise ModelNotFoundError(f"{title} lacks {folder.name}/{file.name}.", hint="Download the folder again.")
    parts = [open_weights(file, title) for file in files]
    return Weights(
        title,
        {name: shape for part in parts for name, shape in part.shapes.items()},
        parts[0].metadata,
        {name: reader for part in parts for name, reader in part.readers.items()},
        {name: stretch for part in parts for name, stretch in part.stretches.items()},
        all(part.mapped for part in parts),
    )


def _open_safetensors(file: Path, title: str) -> Weights:
    """Opened by its name once: header, mapping and stretches are of one file, whatever the name comes to mean."""
    plain = OpenFile(file)
    with os.fdopen(os.dup(plain.stream.fileno()), "rb") as stream:
        header = header_in(stream, shown(file.name), tensors_in)
        mapping = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
    shapes = {name: info.shape for name, info in header.tensors.items()}
    stretches = {
        name: Stretch(plain, PLAIN[info.dtype], header.data + info.start, header.data + info.end)
        for name, info in header.tensors.items()
        if info.dtype in PLAIN
    }
    read = partial(_view, plain, mapping, header)
    return Weights(title, shapes, header.metadata, dict.fromkeys(shapes, read), stretches)


def _view(file: OpenFile, mapping: mmap.mmap, header: Header, name: str) -> Tensor:
    info = header.tensors[name]
    file.check(header.data + info.end)  # a mapping of what is no longer there ends the process
    if info.start == info.end:
        return torch.empty(info.shape, dtype=TYPES[info.dtype])
    flat = torch.frombuffer(
        mapping, dtype=TYPES[info.dtype], count=math.prod(info.shape), offset=header.data + info.start
    )
    return flat.view(info.shape)


def _open_pickle(file: Path, title: str) -> Weights:
    found = read_pickle(file, title)
    shapes = {name: tuple(tensor.shape) for name, tensor in found.tensors.items()}
    return Weights(title, shapes, found.texts, dict.fromkeys(shapes, found.tensors.__getitem__))

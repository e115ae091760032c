"""Files of weights, opened without reading them: tensors are views of the file's memory mapping."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from studio.engine.pickles import PICKLES, plain_path, read_pickle
from studio.engine.reading import OpenFile, Stretch
from studio.errors import ModelNotFoundError
from studio.library.folders import UNREADABLE, weights_of
from studio.library.header import HeaderError, read_header

Shape = tuple[int, ...]
DAMAGED = "Download or copy it again, then look at its size."
SCALED = "scaled_fp8"  # the mark of files whose fp8 tensors are to be multiplied by scales of their own
CHUNK = 1 << 24
PLAIN = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64}
# Bits that are all set in what is infinite or no number. e4m3fn has no infinity.
SPECIAL = {
    torch.float64: (torch.int64, 0x7FF0000000000000),
    torch.float32: (torch.int32, 0x7F800000),
    torch.float16: (torch.int16, 0x7C00),
    torch.bfloat16: (torch.int16, 0x7F80),
    torch.float8_e5m2: (torch.uint8, 0x7C),
    torch.float8_e4m3fn: (torch.uint8, 0x7F),
}


class Named(Protocol):
    """Tensors by name."""

    def names(self) -> Sequence[str]:
        """Their names."""
        ...

    def tensor(self, name: str) -> Tensor:
        """One of them."""
        ...


@dataclass(frozen=True)
class Weights:
    """The tensors of a file, or of several that belong together. title: what a person calls it; shapes by name.

    stretches: Where tensors lie whose bytes can be read as they are.
    """

    title: str
    shapes: Mapping[str, Shape]
    metadata: Mapping[str, str]
    readers: Mapping[str, Callable[[str], Tensor]]
    stretches: Mapping[str, Stretch] = field(default_factory=dict[str, Stretch])

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
    except SafetensorError as error:
        raise ModelNotFoundError(f"{title} cannot be read: {error}.", hint=DAMAGED) from error
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
    )


def find_nonfinite(weights: Named) -> list[str]:
    """The names of the tensors that hold NaN or infinite values. Every value is looked at, 16 million at a time."""
    return [name for name in weights.names() if _has_nonfinite(weights.tensor(name))]


def _has_nonfinite(tensor: Tensor) -> bool:
    if tensor.dtype not in SPECIAL:
        return tensor.is_floating_point() and not bool(torch.isfinite(tensor.float()).all())
    integer, special = SPECIAL[tensor.dtype]
    bits = tensor.detach().contiguous().view(-1).view(integer)
    return any(bool(((chunk & special) == special).any()) for chunk in bits.split(CHUNK))


def _open_safetensors(file: Path, title: str) -> Weights:
    header = read_header(file)
    plain = OpenFile(file)
    opened = safe_open(plain_path(file, plain.stream), "pt")
    shapes = {name: info.shape for name, info in header.tensors.items()}
    stretches = {
        name: Stretch(plain, PLAIN[info.dtype], info.start, info.end)
        for name, info in header.tensors.items()
        if info.dtype in PLAIN
    }
    return Weights(title, shapes, header.metadata, dict.fromkeys(shapes, opened.get_tensor), stretches)


def _open_pickle(file: Path, title: str) -> Weights:
    tensors = read_pickle(file, title)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    return Weights(title, shapes, {}, dict.fromkeys(shapes, tensors.__getitem__))

"""What a pickle of weights holds, read without running it.

A pickle is a program: loading one may do anything. Here it is read by a machine of its own, which knows the few
instructions that weights need, imports nothing and calls nothing: what a program would import is only a name, and
stands for a tensor, a table or nothing at all. Everything else is refused.
Source: the instructions are in CPython's Lib/pickletools.py, the archive in PyTorch's torch/serialization.py.
"""

import errno
import math
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

from studio.library.header import (
    BITS,
    DIMENSIONS_MAX,
    SAFETENSORS,
    SIZE_MAX,
    Header,
    HeaderError,
    TensorInfo,
    Tensors,
    decode,
    read_header,
    read_tensors,
    shown,
)

PROGRAM_MAX = 4 << 20  # that of a checkpoint has half a megabyte
DEPTH, NAME_MAX = 8, 500  # of tables within tables; letters
WAY_OUT = "try `python launch.py models convert`, which runs no code either, or get it as a .safetensors file"
WRAPPERS = ("state_dict", "model_state_dict", "params_ema", "params-ema", "params", "model", "net", "module")
# What the training program of the original checkpoints left in them, and nobody needs.
# Source: the globals that v1-5-pruned.ckpt, sd-v1-4-full-ema.ckpt and v2-1 name, as listed by picklescan.
INERT = (
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "pytorch_lightning.callbacks.early_stopping.EarlyStopping",
    "pytorch_lightning.callbacks.ModelCheckpoint",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
)
STORAGES = {
    "torch.DoubleStorage": "F64",
    "torch.FloatStorage": "F32",
    "torch.HalfStorage": "F16",
    "torch.BFloat16Storage": "BF16",
    "torch.LongStorage": "I64",
    "torch.IntStorage": "I32",
    "torch.ShortStorage": "I16",
    "torch.CharStorage": "I8",
    "torch.ByteStorage": "U8",
    "torch.BoolStorage": "BOOL",
    "torch.storage.UntypedStorage": "U8",
}
DTYPES = {"torch.float8_e4m3fn": "F8_E4M3", "torch.float8_e5m2": "F8_E5M2"}  # they come with a plain storage
PARAMETER_TABLE = "torch.nn.modules.container.ParameterDict"
TABLES = ("collections.OrderedDict", PARAMETER_TABLE)
REBUILT = ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor_v3", "torch._utils._rebuild_tensor")
PARAMETERS = ("torch._utils._rebuild_parameter", "torch.nn.parameter.Parameter")
NOTHING = (
    *(f"torch.{name}" for name in ("Size", "device", "float16", "float32", "float64", "bfloat16", "int64", "int32")),
    *("_codecs.encode", "__builtin__.set", "builtins.set"),
)
ALLOWED = {*STORAGES, *DTYPES, *TABLES, *REBUILT, *PARAMETERS, *NOTHING, *INERT}
BROKEN = (IndexError, KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, struct.error)


class _Imported(NamedTuple):
    """What a program wanted to import: a name, and no more."""

    name: str


class _Storage(NamedTuple):
    dtype: str
    key: str
    length: int


class _Tensor(NamedTuple):
    storage: _Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class _Mark:
    """Where on the stack a list of things begins."""


@dataclass
class _Archive:
    """A zip file of PyTorch's, and what its program made."""

    zip: zipfile.ZipFile
    folder: str
    root: Any
    size: int


def header_of(file: Path, tensors_in: Callable[[str], Tensors] = read_tensors) -> Header:
    """What `read_header` tells, of a file of whichever sort. Raises: HeaderError; OSError."""
    return read_header(file, tensors_in) if file.suffix.lower() in SAFETENSORS else read_pickle_header(file)


def read_pickle_header(file: Path) -> Header:
    """Names, shapes and types of the tensors in a .ckpt, .pt, .pth or .bin; plain texts and numbers become metadata.

    Names of tables within tables are joined with dots; the table that is known to hold the weights is unwrapped.
    Raises: HeaderError, for a program that would import or do anything that weights do not need, for files of PyTorch
        before 1.6, and for damaged ones; OSError.
    """
    name = shown(file.name)
    with file.open("rb") as stream:
        archive = _open(name, stream)
        tensors = {key: _info(name, archive, key, tensor) for key, tensor in _tensors(archive.root).items()}
        return Header(Tensors(tensors), _texts(archive.root), archive.size)


def read_pickle_values(file: Path, name: str) -> tuple[float, ...]:
    """The numbers of a small tensor of a pickle, in order of storage. Raises: HeaderError; KeyError; OSError."""
    with file.open("rb") as stream:
        archive = _open(shown(file.name), stream)
        tensor = _tensors(archive.root)[name]
        info = _info(shown(file.name), archive, name, tensor)
        record = archive.zip.getinfo(f"{archive.folder}data/{tensor.storage.key}")
        with archive.zip.open(record) as data:
            data.seek(info.start)
            return decode(info.dtype, data.read(info.end - info.start))


def _open(name: str, stream: Any) -> _Archive:
    if stream.read(4) != b"PK\x03\x04":
        raise HeaderError(_no_zip(name, stream))
    try:
        archive = zipfile.ZipFile(stream)
        program = next(record for record in archive.infolist() if record.filename.rpartition("/")[2] == "data.pkl")
        folder = program.filename.removesuffix("data.pkl")
        if any(record.filename.startswith(f"{folder}code/") for record in archive.infolist()):
            raise HeaderError(f"{name} is a TorchScript program and not weights alone")
        if program.compress_type != zipfile.ZIP_STORED or program.file_size > PROGRAM_MAX:
            raise HeaderError(f"{name} is packed in a way that PyTorch does not pack weights")
        data = archive.read(program)
    except StopIteration as error:
        raise HeaderError(f"{name} is a zip archive without weights") from error
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, *BROKEN) as error:
        if isinstance(error, HeaderError) or (isinstance(error, OSError) and error.errno != errno.EINVAL):
            raise  # EINVAL: the archive points to before its beginning
        raise HeaderError(f"{name} is cut short or damaged: it is no zip archive") from error
    return _Archive(archive, folder, _Machine(name, data).run(), stream.seek(0, 2))


def _no_zip(name: str, stream: Any) -> str:
    stream.seek(0)
    start = stream.read(16)
    if not start:
        return f"{name} is empty"
    if start[8:9] == b"{":
        return f"{name} is a safetensors file: give it a name that ends in .safetensors"
    if start[:1] == b"\x80" and start[1] in range(2, 6):
        return f"{name} is a pickle of PyTorch before 1.6, which cannot be looked into without running it; {WAY_OUT}"
    return f"{name} is no file of weights"


class _Machine:
    """Runs the instructions of a pickle that build tables, and no others. Nothing outside of it is ever called."""

    def __init__(self, name: str, data: bytes) -> None:
        self.name = name
        self.data = data
        self.at = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """What the program leaves. Raises: HeaderError."""
        try:
            while (code := self.take(1)[0]) != STOP:
                step = STEPS.get(code)
                if step is None:
                    raise HeaderError(f"{self.name} has an instruction that weights do not need; {WAY_OUT}")
                step(self)
            return self.stack.pop()
        except HeaderError:
            raise
        except BROKEN as error:
            raise HeaderError(f"{self.name} is damaged: its pickle makes no sense") from error

    def take(self, count: int) -> bytes:
        """The next bytes of the program. Raises: IndexError, past its end."""
        end = self.at + count
        if end > len(self.data):
            raise IndexError(end)
        taken = self.data[self.at : end]
        self.at = end
        return taken

    def number(self, form: str, width: int) -> Any:
        """The next number, as struct spells its form."""
        return struct.unpack(form, self.take(width))[0]

    def line(self) -> str:
        """The text up to the end of the line."""
        end = self.data.index(b"\n", self.at)
        text = self.data[self.at : end].decode("utf-8")
        self.at = end + 1
        return text

    def after_mark(self) -> list[Any]:
        """Everything above the last mark, which goes too."""
        place = len(self.stack) - 1
        while not isinstance(self.stack[place], _Mark):
            place -= 1
            if place < 0:
                raise IndexError(place)
        taken = self.stack[place + 1 :]
        del self.stack[place:]
        return taken

    def push(self, value: Any) -> None:
        """Put on the stack."""
        self.stack.append(value)

    def pop(self) -> Any:
        """Take from the stack."""
        return self.stack.pop()

    def keep(self, number: int) -> None:
        """Remember what is on top."""
        self.memo[number] = self.stack[-1]

    def imported(self) -> None:
        """Only the name of what the program would import. Raises: HeaderError, for one that is not on the list."""
        module, name = self.line(), self.line()
        if (whole := f"{module}.{name}") not in ALLOWED:
            raise HeaderError(f"{self.name} wants to import {shown(whole)}, which weights do not need; {WAY_OUT}")
        self.push(_Imported(whole))

    def called(self) -> None:
        """What a call would have made."""
        arguments, target = self.pop(), self.pop()
        if not isinstance(target, _Imported) or not isinstance(arguments, tuple):
            raise TypeError("a call of something that was not imported")
        self.push(_made(target.name, cast(tuple[Any, ...], arguments)))

    def built(self) -> None:
        """Attributes of what was made: only an old ParameterDict keeps its tensors in them."""
        state = self.pop()
        inner = cast(dict[str, Any], state).get("_parameters") if isinstance(state, dict) else None
        if isinstance(inner, dict):
            self.fill([item for pair in cast(dict[Any, Any], inner).items() for item in pair])

    def fill(self, items: list[Any]) -> None:
        """Keys and values for the table on top. Keys are texts or numbers: nothing whose hash takes long.

        What lies under a class, as a training program's notes do, is left out.
        """
        table = self.stack[-1]
        if not isinstance(table, dict):
            raise TypeError("no table")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if isinstance(key, _Imported):
                continue
            if not isinstance(key, str | int) or (isinstance(key, str) and len(key) > NAME_MAX):
                raise TypeError("a key that is neither a name nor a number")
            cast(dict[Any, Any], table)[key] = value

    def extend(self, items: list[Any]) -> None:
        """More items for the list on top."""
        cast(list[Any], self.stack[-1]).extend(items)

    def stored(self) -> None:
        """A reference to a record of the archive: ("storage", type, key, device, count)."""
        kind, target, key, _, count = self.pop()
        if kind != "storage" or not isinstance(target, _Imported) or not isinstance(count, int):
            raise TypeError("no storage")
        self.push(_Storage(STORAGES[target.name], str(key), count))


def _made(name: str, arguments: tuple[Any, ...]) -> Any:
    if name in REBUILT:
        return _rebuilt(name, arguments)
    if name in PARAMETERS:
        return arguments[0] if arguments else None
    if name in TABLES:
        return {}
    return tuple(arguments[0][:DIMENSIONS_MAX]) if name == "torch.Size" and arguments else None


def _rebuilt(name: str, arguments: tuple[Any, ...]) -> _Tensor:
    storage, offset, shape, stride = arguments[:4]
    if not isinstance(storage, _Storage) or len(shape) != len(stride) or len(shape) > DIMENSIONS_MAX:
        raise TypeError("no storage, or no shape")
    kind = arguments[6] if name.endswith("_v3") else None
    dtype = DTYPES.get(kind.name, storage.dtype) if isinstance(kind, _Imported) else storage.dtype
    numbers = [offset, *shape, *stride]
    if not all(type(number) is int and 0 <= number < SIZE_MAX for number in numbers):
        raise ValueError("no shape")
    return _Tensor(storage, dtype, offset, tuple(shape), tuple(stride))


STOP = ord(".")
STEPS: dict[int, Callable[[_Machine], Any]] = {
    0x80: lambda m: m.take(1),  # PROTO
    ord("("): lambda m: m.push(_Mark()),  # MARK
    ord("0"): lambda m: m.pop(),  # POP
    ord("N"): lambda m: m.push(None),  # NONE
    0x88: lambda m: m.push(True),  # NEWTRUE
    0x89: lambda m: m.push(False),  # NEWFALSE
    ord("K"): lambda m: m.push(m.number("<B", 1)),  # BININT1
    ord("M"): lambda m: m.push(m.number("<H", 2)),  # BININT2
    ord("J"): lambda m: m.push(m.number("<i", 4)),  # BININT
    0x8A: lambda m: m.push(int.from_bytes(m.take(m.number("<B", 1)), "little", signed=True)),  # LONG1
    ord("G"): lambda m: m.push(m.number(">d", 8)),  # BINFLOAT
    ord("X"): lambda m: m.push(m.take(m.number("<I", 4)).decode("utf-8", "surrogatepass")),  # BINUNICODE
    ord("U"): lambda m: m.push(m.take(m.number("<B", 1)).decode("latin-1")),  # SHORT_BINSTRING
    ord("]"): lambda m: m.push([]),  # EMPTY_LIST
    ord("}"): lambda m: m.push({}),  # EMPTY_DICT
    ord(")"): lambda m: m.push(()),  # EMPTY_TUPLE
    0x85: lambda m: m.push((m.pop(),)),  # TUPLE1
    0x86: lambda m: m.push(tuple(reversed((m.pop(), m.pop())))),  # TUPLE2
    0x87: lambda m: m.push(tuple(reversed((m.pop(), m.pop(), m.pop())))),  # TUPLE3
    ord("t"): lambda m: m.push(tuple(m.after_mark())),  # TUPLE
    ord("a"): lambda m: m.extend([m.pop()]),  # APPEND
    ord("e"): lambda m: m.extend(m.after_mark()),  # APPENDS
    ord("s"): lambda m: m.fill(list(reversed((m.pop(), m.pop())))),  # SETITEM
    ord("u"): lambda m: m.fill(m.after_mark()),  # SETITEMS
    ord("q"): lambda m: m.keep(m.number("<B", 1)),  # BINPUT
    ord("r"): lambda m: m.keep(m.number("<I", 4)),  # LONG_BINPUT
    ord("h"): lambda m: m.push(m.memo[m.number("<B", 1)]),  # BINGET
    ord("j"): lambda m: m.push(m.memo[m.number("<I", 4)]),  # LONG_BINGET
    ord("c"): _Machine.imported,  # GLOBAL
    ord("R"): _Machine.called,  # REDUCE
    0x81: _Machine.called,  # NEWOBJ
    ord("b"): _Machine.built,  # BUILD
    ord("Q"): _Machine.stored,  # BINPERSID
}


def _tensors(root: Any) -> dict[str, _Tensor]:
    return leaves(root, lambda value: isinstance(value, _Tensor))


def leaves(root: Any, is_leaf: Callable[[Any], bool]) -> dict[str, Any]:
    """Everything of that sort in tables, lists and tuples, by its joined name; each of them is looked into once.

    Trainers put the table that holds the weights beside their own notes: it alone is looked into, if there is one.
    """
    found: dict[str, Any] = {}
    seen: set[int] = set()
    waiting: list[tuple[str, Any, int]] = [("", _unwrapped(root), 0)]
    while waiting:
        name, value, depth = waiting.pop()
        if is_leaf(value):
            found[name or "tensor"] = value
        elif _holds_more(value) and id(value) not in seen and depth < DEPTH:
            seen.add(id(value))
            items = cast(Any, value.items() if isinstance(value, Mapping) else enumerate(value))
            waiting += reversed([(f"{name}.{key}" if name else str(key), inner, depth + 1) for key, inner in items])
    return found


def _holds_more(value: Any) -> bool:
    """Whether it is a table, a list or a plain tuple; hypernetworks keep their pairs in these."""
    return isinstance(value, Mapping | list) or type(value) is tuple


def _unwrapped(root: Any) -> Any:
    while isinstance(root, Mapping):
        table = cast(Mapping[Any, Any], root)
        inner = next((table[name] for name in WRAPPERS if isinstance(table.get(name), Mapping) and table[name]), None)
        if inner is None:
            break
        root = inner
    return cast(Any, root)


def _texts(root: Any) -> dict[str, str]:
    """The plain values at the top, as a safetensors file would keep them."""
    table = cast(dict[Any, Any], root) if isinstance(root, dict) else {}
    return {str(key): str(value)[:10_000] for key, value in table.items() if isinstance(value, str | int | float)}


def _info(name: str, archive: _Archive, key: str, tensor: _Tensor) -> TensorInfo:
    bits = BITS[tensor.dtype]
    record = archive.zip.NameToInfo.get(f"{archive.folder}data/{tensor.storage.key}")
    last = tensor.offset + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride, strict=True)) + 1
    count = math.prod(tensor.shape)
    if record is None or (count and last * bits > 8 * record.file_size):
        raise HeaderError(f"{name} is damaged: the numbers of {shown(key)} are not all there")
    if record.compress_type != zipfile.ZIP_STORED or record.flag_bits & 1:
        raise HeaderError(f"{name} is packed in a way that PyTorch does not pack weights")
    start = tensor.offset * bits // 8
    return TensorInfo(tensor.dtype, tensor.shape, start, start + count * bits // 8)

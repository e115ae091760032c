"""The part of a file that is here already: hidden beside its place, with a note of what it is a part of."""

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

from studio.errors import StorageError
from studio.files import cannot_write, write_whole

BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the server says of the whole file.

    Fields:
        source: A digest of where it comes from; addresses themselves may hold passwords.
        etag, modified: The validators of its answer; "" for none. linked: the Hub's checksum.
        total: Bytes; None if the server does not say.
    """

    source: str
    etag: str = ""
    modified: str = ""
    linked: str = ""
    total: int | None = None

    @property
    def can_be_told(self) -> bool:
        """Whether another file in its place would be noticed."""
        return self.total is not None and bool(self.linked or self.etag or self.modified)

    def continues(self, other: "Facts") -> bool:
        """Whether parts of the two are parts of the same file, as far as the servers' words go."""
        if self.source != other.source or None in (self.total, other.total) or self.total != other.total:
            return False
        if self.linked or other.linked:
            return self.linked == other.linked
        if self.etag or other.etag:
            return self.etag.removeprefix("W/") == other.etag.removeprefix("W/")
        return bool(self.modified) and self.modified == other.modified


class Part:
    """`.NAME.part` beside `target`, and `.NAME.part.json`. Open it as a context before bytes are added."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.file = target.with_name(f".{target.name}.part")
        self.note = target.with_name(f".{target.name}.part.json")
        self.size = self.file.stat().st_size if self.file.is_file() else 0
        self.facts: Facts | None = _read_note(self.note)
        self._stream: IO[bytes] | None = None
        self._digest, self._digested = hashlib.sha256(), 0

    def __enter__(self) -> Self:
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self._stream = self.file.open("ab", buffering=0)
        except OSError as error:
            raise cannot_write(self.file, error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            with suppress(OSError):  # a full disk was told of already
                self._stream.close()
            self._stream = None
        if not self.size:
            self.discard()

    def begin(self, facts: Facts, size: int = 0) -> None:
        """Go on behind the first `size` bytes, of a file of which those facts are true. Raises: StorageError."""
        if facts != self.facts:
            write_whole(self.note, json.dumps(asdict(facts)).encode())
            self.facts = facts
        if size != self.size:
            assert self._stream is not None
            self._stream.truncate(size)
            self.size = size
        if self._digested > size:
            self._digest, self._digested = hashlib.sha256(), 0

    def add(self, chunk: bytes) -> None:
        """Append bytes. Raises: OSError; what fitted on the disk stays."""
        assert self._stream is not None
        view = memoryview(chunk)
        while view:
            written = self._stream.write(view)
            if self._digested == self.size:
                self._digest.update(view[:written])
                self._digested += written
            self.size += written
            view = view[written:]

    def start(self, count: int) -> bytes:
        """Its first bytes. Raises: StorageError."""
        try:
            with self.file.open("rb") as stream:
                return stream.read(count)
        except OSError as error:
            raise _cannot_read(self.file, error) from error

    def sha256(self) -> str:
        """The checksum of what is here; what an earlier run left is read again. Raises: StorageError."""
        try:
            with self.file.open("rb") as stream:
                stream.seek(self._digested)
                while block := stream.read(BLOCK):
                    self._digest.update(block)
                    self._digested += len(block)
        except OSError as error:
            raise _cannot_read(self.file, error) from error
        return self._digest.hexdigest()

    def place(self, target: Path) -> None:
        """Make it the file `target`, which must not exist, on the same disk. Raises: StorageError."""
        try:
            with self.file.open("rb+") as stream:
                os.fsync(stream.fileno())
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():
                raise FileExistsError(17, "File exists", str(target))
            os.rename(self.file, target)  # unlike replace, refused on Windows if it exists
        except OSError as error:
            raise cannot_write(target, error) from error
        self.note.unlink(missing_ok=True)

    def is_of(self, source: str) -> bool:
        """Whether there is something of that source."""
        return self.size > 0 and self.facts is not None and self.facts.source == source

    def move_to(self, target: Path) -> "Part":
        """The same part for another place on the same disk, if that has none yet. Raises: StorageError."""
        other = Part(target)
        if other.size:
            return other
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(self.file, other.file)
            os.replace(self.note, other.note)
        except OSError as error:
            raise cannot_write(other.file, error) from error
        return Part(target)

    def take_back(self) -> None:
        """Undo `place`: the file at the target is a whole part again. Raises: StorageError."""
        try:
            os.replace(self.target, self.file)
        except OSError as error:
            raise cannot_write(self.file, error) from error
        if self.facts is not None:
            write_whole(self.note, json.dumps(asdict(self.facts)).encode())

    def discard(self) -> None:
        """Remove it."""
        for file in (self.file, self.note):
            with suppress(OSError):
                file.unlink(missing_ok=True)
        self.size, self.facts = 0, None
        self._digest, self._digested = hashlib.sha256(), 0


def file_sha256(file: Path) -> str:
    """The checksum of a file. Raises: StorageError."""
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise _cannot_read(file, error) from error


def _cannot_read(file: Path, error: OSError) -> StorageError:
    return StorageError(f"{file.name} cannot be read: {error.strerror or error}.")


def _read_note(file: Path) -> Facts | None:
    """The note, or None if there is none that can be used."""
    try:
        data: Any = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    said = cast(dict[str, Any], data) if isinstance(data, dict) else {}
    texts = {name: said.get(name) for name in ("source", "etag", "modified", "linked")}
    total = said.get("total")
    if not all(isinstance(text, str) for text in texts.values()) or not isinstance(total, int | None):
        return None
    return Facts(**cast(dict[str, str], texts), total=total)

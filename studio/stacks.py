"""Stacks of adapters that a person keeps under names, one TOML file each."""

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from studio.access import User, require
from studio.errors import InvalidRequestError, MissingError, StorageError
from studio.files import write_whole
from studio.params import AdapterRef, GenerationRequest

LABEL = re.compile(r"[^\x00-\x1f<>:\"/\\|?*\x7f]{1,60}")
RESERVED = re.compile(r"(?i)\.|con|prn|aux|nul|com\d|lpt\d")
MAX_BYTES = 256_000


@dataclass(frozen=True)
class SavedStack:
    """Adapters in their order, under a name; without content ids, so that a newer file of a name counts."""

    name: str
    adapters: tuple[AdapterRef, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"name": self.name, "adapters": [values_of(ref) for ref in self.adapters]}


@dataclass(frozen=True)
class SavedStacks:
    """The stacks of a folder."""

    folder: Path

    def all(self) -> list[SavedStack]:
        """Every stack that can be read, by name."""
        found = [_read(path) for path in sorted(self.folder.glob("*.toml"), key=lambda path: path.stem.casefold())]
        return [stack for stack in found if stack is not None]

    def keep(self, name: str, adapters: object, user: User) -> SavedStack:
        """Write a stack. Raises: ForbiddenError; InvalidRequestError, naming the field; StorageError."""
        require(user, "settings")
        name = name.strip()
        if not LABEL.fullmatch(name) or RESERVED.fullmatch(name) or name.startswith("."):
            hint = "Use letters, digits, spaces and hyphens, at most 60."
            raise InvalidRequestError(f"{name[:60]!r} cannot be a stack's name.", field="name", hint=hint)
        refs = GenerationRequest.from_dict({"adapters": adapters}).adapters
        if not refs:
            raise InvalidRequestError("The stack is empty.", field="adapters", hint="Add an adapter first.")
        stack = SavedStack(name, tuple(replace(ref, id="") for ref in refs))
        tables = ["".join(_line(*pair) for pair in values_of(ref).items()) for ref in stack.adapters]
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.folder / f"{name}.toml", "\n".join(f"[[adapters]]\n{table}" for table in tables).encode())
        return stack

    def remove(self, name: str, user: User) -> None:
        """Forget a stack. Raises: ForbiddenError; MissingError; StorageError."""
        require(user, "settings")
        path = next((path for path in self.folder.glob("*.toml") if path.stem == name), None)
        if path is None:
            raise MissingError(f"There is no stack {name[:60]!r}.", hint="Look at the list again.")
        try:
            path.unlink()
        except OSError as error:
            raise StorageError(f"The stack {name} cannot be removed: {error.strerror or error}.") from error


def values_of(ref: AdapterRef) -> dict[str, Any]:
    """What is said of an adapter: its name and kind, and what is not as it begins."""
    plain = AdapterRef(name=ref.name)
    values = {name: value for name, value in vars(ref).items() if value != getattr(plain, name)}
    return {"name": ref.name, "kind": ref.kind, **values}


def _line(name: str, value: Any) -> str:
    """JSON's texts, numbers and lists are TOML's as well, except for the DEL character."""
    return f"{name} = {json.dumps(value, ensure_ascii=False)}\n".replace("\x7f", "\\u007f")


def _read(path: Path) -> SavedStack | None:
    try:
        with path.open("rb") as file:
            data: Mapping[str, Any] = tomllib.loads(file.read(MAX_BYTES).decode())
        refs = GenerationRequest.from_dict({"adapters": data.get("adapters")}).adapters
    except (OSError, ValueError, RecursionError, InvalidRequestError):
        return None
    return SavedStack(path.stem, refs)

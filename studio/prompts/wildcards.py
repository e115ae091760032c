"""Files of words to draw from: data/wildcards/animals.txt is __animals__."""

import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

Lookup = Callable[[str], Sequence[str] | None]


def no_wildcards(name: str) -> Sequence[str] | None:  # noqa: ARG001
    """A lookup that knows no file."""
    return None


def wildcard_files(folder: Path) -> Lookup:
    """A lookup of the files under a folder, each read once.

    A name is a path under the folder without its ending .txt, in any case, with / between folders; a star stands for
    any letters, and then all files that fit count together. Blank lines and lines that begin with # are passed over.
    The lookup gives None where there is no such file; it never leaves the folder.
    Source: adieyal/sd-dynamic-prompts, for the syntax.
    """

    @cache
    def files() -> dict[str, Path]:
        return {_name(path, folder): path for path in sorted(folder.rglob("*.txt"))}

    @cache
    def lookup(name: str) -> Sequence[str] | None:
        wanted = name.replace("\\", "/").lower()
        pattern = re.compile(".*".join(re.escape(part) for part in re.split(r"\*+", wanted)))
        found = [path for known, path in files().items() if pattern.fullmatch(known)]
        return [line for path in found for line in _lines(path)] if found else None

    return lookup


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix().lower()


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError:
        return []
    return [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]

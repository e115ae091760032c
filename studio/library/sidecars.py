"""What other programs wrote beside a model: A1111's user metadata, downloads' civitai.info, and previews."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

log = logging.getLogger("studio.library")
PREVIEWS = (
    ".preview.png",
    ".preview.jpg",
    ".preview.jpeg",
    ".preview.webp",
    ".png",
    ".jpg",
    ".jpeg",
    ".webp",
)
METADATA, CIVITAI = ".json", ".civitai.info"
SIDECARS = (METADATA, CIVITAI, *PREVIEWS)
LARGEST = 4 << 20  # bytes; civitai.info holds descriptions with pictures' settings
TEXT_MAX = 20_000
BASES = {  # how sidecars name base models, in small letters and without spaces -> our names
    "sd1": "sd1",
    "sd1.4": "sd1",
    "sd1.5": "sd1",
    "sd1.5lcm": "sd1",
    "sd1.5hyper": "sd1",
    "sd2": "sd2",
    "sd2.0": "sd2",
    "sd2.0768": "sd2",
    "sd2.1": "sd2",
    "sd2.1768": "sd2",
    "sdxl": "sdxl",
    "sdxl0.9": "sdxl",
    "sdxl1.0": "sdxl",
    "sdxl1.0lcm": "sdxl",
    "sdxlturbo": "sdxl",
    "sdxllightning": "sdxl",
    "sdxlhyper": "sdxl",
    "pony": "sdxl",
    "illustrious": "sdxl",
    "noobai": "sdxl",
}


@dataclass(frozen=True, kw_only=True)
class Said:
    """What sidecars say; "" and () where they say nothing. sha256: what the file's content should be."""

    title: str = ""
    description: str = ""
    notes: str = ""
    trigger_words: tuple[str, ...] = ()
    base: str = ""
    sha256: str = ""


def read_sidecars(files: Mapping[str, Path], name: str) -> Said:
    """Read the sidecars of the model whose file is called `name`; one that makes no sense says nothing.

    What the person typed into A1111 (name.json) wins over what was downloaded (name.civitai.info).
    """
    typed = _object(files.get(METADATA))
    loaded = _object(files.get(CIVITAI))
    model = _mapping(loaded.get("model"))
    return Said(
        title=_text(model.get("name")),
        description=_text(typed.get("description")) or _text(loaded.get("description")),
        notes=_text(typed.get("notes")),
        trigger_words=_words(typed.get("activation text")) or _words(loaded.get("trainedWords")),
        base=_base(typed.get("sd version")) or _base(loaded.get("baseModel")),
        sha256=_sha256(loaded, name),
    )


def preview_of(files: Mapping[str, Path]) -> Path | None:
    """The picture to show for the model."""
    return next((files[suffix] for suffix in PREVIEWS if suffix in files), None)


def _object(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        with file.open("rb") as stream:
            data = stream.read(LARGEST + 1)
        found: Any = json.loads(data) if len(data) <= LARGEST else None
    except (OSError, ValueError, RecursionError) as error:
        log.info("%s cannot be read: %s", file, error)
        return {}
    return _mapping(found)


def _mapping(value: Any) -> dict[str, Any]:
    return cast(dict[str, Any], value) if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    """Text that any database and any answer can hold."""
    return value[:TEXT_MAX].encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _words(value: Any) -> tuple[str, ...]:
    """Trigger words, from a list or from text with commas, each once."""
    parts: Any = value.split(",") if isinstance(value, str) else value
    parts = cast(list[Any], parts) if isinstance(parts, list) else []
    return tuple(dict.fromkeys(word for part in parts if (word := _text(part).strip(" ,"))))[:200]


def _base(value: Any) -> str:
    return BASES.get("".join(value.lower().split()), "") if isinstance(value, str) else ""


def _sha256(info: dict[str, Any], name: str) -> str:
    files: Any = info.get("files")
    for entry in map(_mapping, cast(list[Any], files) if isinstance(files, list) else []):
        found = _text(_mapping(entry.get("hashes")).get("SHA256")).lower()
        if entry.get("name") == name and len(found) == 64:
            return found
    return ""

"""Presets: named parts of a request, one TOML file each."""

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from studio.errors import InvalidRequestError, StorageError, StudioError
from studio.files import write_whole
from studio.params import GenerationRequest

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,59}")
PROMPT_SUFFIX = "prompt_suffix"
CONTROL_FIELDS = ("conditioning_scale", "control_guidance_start", "control_guidance_end", "mode")
NEVER = {"prompt", "seed", "controls", "adapters", "init_image", "mask_image"}
ALLOWED = ({field.name for field in fields(GenerationRequest)} - NEVER) | {PROMPT_SUFFIX, *CONTROL_FIELDS}
MAX_BYTES = 64_000
HINT = "Put it right, or remove the file."


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A part of a request under a name.

    fields: what the preset sets. Most are fields of a request; `prompt_suffix` is put after what was typed, and
    `conditioning_scale`, `control_guidance_start`, `control_guidance_end` and `mode` go to every control.
    """

    name: str
    label: str
    description: str
    fields: Mapping[str, Any]

    def apply(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The request (JSON fields) with the preset's fields put in; applying it twice changes nothing more."""
        plain = {name: value for name, value in self.fields.items() if name not in (PROMPT_SUFFIX, *CONTROL_FIELDS)}
        result = {**request, **plain}
        if suffix := self.fields.get(PROMPT_SUFFIX):
            result["prompt"] = _with_suffix(str(request.get("prompt", "")), suffix)
        if control := {name: self.fields[name] for name in CONTROL_FIELDS if name in self.fields}:
            result["controls"] = [{**unit, **control} for unit in request.get("controls", ())]
        return result


def load_presets(folders: Sequence[Path]) -> tuple[list[Preset], list[str]]:
    """Every preset of the folders by name, a later folder over an earlier one; a sentence for each that is left out."""
    found: dict[str, Preset] = {}
    warnings: list[str] = []
    for path in (path for folder in folders for path in sorted(folder.glob("*.toml"))):
        try:
            preset = read_preset(path)
            found[preset.name] = preset
        except StudioError as error:
            warnings.append(error.sentence())
    return list(found.values()), warnings


def read_preset(path: Path) -> Preset:
    """One preset; its name is the file's. Raises: StorageError, naming the file and, where it is known, the line."""
    text = _read_text(path)
    try:
        return make_preset(path.stem, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise StorageError(f"The preset {path.name} is left out: {error}.", hint=HINT) from error
    except RecursionError as error:
        raise StorageError(f"The preset {path.name} is left out: it is nested too deeply.", hint=HINT) from error
    except InvalidRequestError as error:
        where = next((n for n, line in enumerate(text.splitlines(), 1) if line.startswith(error.field)), None)
        line = f", line {where}," if where else ""
        raise StorageError(f"The preset {path.name}{line} is left out: {error}", hint=HINT) from error


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise StorageError(f"The preset {path.name} is too large.", hint=HINT)
        return data.decode()
    except UnicodeDecodeError as error:
        raise StorageError(f"The preset {path.name} is left out: it is no text ({error}).", hint=HINT) from error
    except OSError as error:
        raise StorageError(f"The preset {path.name} cannot be read: {error.strerror or error}.", hint=HINT) from error


def make_preset(name: str, data: Mapping[str, Any]) -> Preset:
    """A preset from plain values: label, description, and the fields it sets.

    Raises: InvalidRequestError, naming a field that is unknown, not allowed or of the wrong kind.
    """
    if not NAME.fullmatch(name):
        raise InvalidRequestError(
            f"{name[:60]!r} cannot be a preset's name.", field="name", hint="Use a to z, 0 to 9, - and _, at most 60."
        )
    texts = {key: data.get(key, default) for key, default in (("label", name), ("description", ""))}
    for key in (*texts, PROMPT_SUFFIX):
        if not isinstance(texts.get(key, data.get(key, "")), str):
            raise InvalidRequestError(f"{key} must be text.", field=key)
    chosen = {key: value for key, value in data.items() if key not in texts}
    if unknown := sorted(set(chosen) - ALLOWED):
        raise InvalidRequestError(f"A preset cannot set {unknown[0]!r}.", field=unknown[0])
    request = {key: value for key, value in chosen.items() if key not in (PROMPT_SUFFIX, *CONTROL_FIELDS)}
    control = {key: value for key, value in chosen.items() if key in CONTROL_FIELDS}
    GenerationRequest.from_dict({**request, "controls": [{"kind": "any", "map": "", **control}]})
    return Preset(name=name, label=texts["label"], description=texts["description"], fields=chosen)


def save_preset(folder: Path, preset: Preset) -> Path:
    """Write a person's own preset into their folder.

    Raises: InvalidRequestError, if it would not be read back; StorageError.
    """
    data = {"label": preset.label, "description": preset.description, **preset.fields}
    make_preset(preset.name, data)
    path = folder / f"{preset.name}.toml"
    lines = [f"{key} = {_toml(value)}\n" for key, value in data.items() if value is not None]
    write_whole(path, "".join(lines).encode("utf-8", "replace"))
    return path


def _toml(value: str | float | bool) -> str:
    """A plain value as TOML: JSON's texts, numbers and booleans are TOML's as well, except for the DEL character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _with_suffix(prompt: str, suffix: str) -> str:
    typed = prompt.rstrip().rstrip(",")
    if not typed:
        return suffix
    return prompt if typed.endswith(suffix) else f"{typed}, {suffix}"

"""A request for a tool -> what the process is told, or a refusal that names the field."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from studio.errors import DownloadError, InvalidRequestError, ModelNotFoundError
from studio.library.download.names import FOLDERS, safe_name
from studio.library.entry import ModelEntry
from studio.library.index import Library
from studio.library.names import PLANS
from studio.library.tools.table import BY_NAME, Field, Tool, usual_share

SUFFIX = ".safetensors"
FILES_MAX = 100
UNTOLD = ("", "unknown")


@dataclass(frozen=True)
class Chosen:
    """A model that goes in, with its weights for the UNet and the text encoders."""

    entry: ModelEntry
    weight: float = 1.0
    text_weight: float = 1.0


@dataclass(frozen=True)
class Plan:
    """What is to be made. values: the fields but for models and name; target: the checkpoint, if there is one."""

    tool: Tool
    files: tuple[Chosen, ...]
    values: Mapping[str, Any]
    out: Path
    target: ModelEntry | None = None

    def order(self) -> dict[str, Any]:
        """What `python -m studio.engine.tools` is told."""
        told: dict[str, Any] = {"tool": self.tool.name, "out": str(self.out)}
        told["files"] = [str(one.entry.path) for one in self.files]
        files = self.tool.field("files")
        if files is not None and files.weighted:
            told["weights"] = [(one.weight, one.text_weight) for one in self.files]
        return {**told, **self.values, "checkpoint": "" if self.target is None else str(self.target.path)}


def read_plan(body: Mapping[str, Any], library: Library, models: Path) -> Plan:
    """A request, {tool, files: [name or {name, weight, text_weight}], name, ...} with the fields of its tool.

    Args:
        models: The folder that has loras/ and checkpoints/ in it.
    Raises: InvalidRequestError, naming the field.
    """
    tool = BY_NAME.get(body["tool"]) if isinstance(body.get("tool"), str) else None
    if tool is None:
        raise InvalidRequestError("There is no such tool.", field="tool", hint=f"Choose one of: {', '.join(BY_NAME)}.")
    known = {"tool", *(field.name for field in tool.fields)}
    if odd := sorted(body.keys() - known):
        hint = f"Known: {', '.join(sorted(known))}."
        raise InvalidRequestError(f"{tool.label} has no field {odd[0][:40]!r}.", field=odd[0][:40], hint=hint)
    read = {f.name: _value(f, body.get(f.name)) for f in tool.fields if f.kind not in ("models", "model")}
    files, target = _models(tool, body, library)
    out = _out(read.pop("name"), FOLDERS[tool.makes], models, is_folder=_like(tool, files, target).is_folder)
    if read.get("share", 0.0) is None:
        read["share"] = usual_share(len(files))
    return Plan(tool, files, read, out, target)


def checkpoint_for(base: str, library: Library) -> ModelEntry | None:
    """What tells the layers of adapters for that base model: None for one that is well known, or if there is none.

    An adapter that does not say what it is for, and whose shapes do not tell, may be a starter's.
    """
    if base in PLANS:
        return None
    told = [entry for entry in library.entries("checkpoint") if entry.usable and entry.base not in PLANS]
    return next((entry for entry in told if base in (entry.base, *UNTOLD)), None)


def read_block(text: str) -> tuple[str, float]:
    """A part with its share, such as unet.mid_block=0.2. Raises: InvalidRequestError."""
    name, _, share = text.strip().rpartition("=")
    number = _number_in(share)
    if not name or number is None:
        raise InvalidRequestError(
            f"{text[:80]!r} is no block with a share.", field="blocks", hint="Write unet.mid_block=0.2"
        )
    return name.strip(), number


def _models(tool: Tool, body: Mapping[str, Any], library: Library) -> tuple[tuple[Chosen, ...], ModelEntry | None]:
    """The models that go in, and what adapters are for."""
    (field,) = (field for field in tool.fields if field.kind == "models")
    files = tuple(_chosen(field, said, library) for said in _listed(field, body.get("files")))
    place = tool.field("checkpoint")
    if place is None:
        _check_bases([one.entry for one in files], "files")
        return files, None
    name = body.get("checkpoint") or ""
    if place.least and not name:
        raise InvalidRequestError("No checkpoint is chosen.", field=place.name, hint="Choose one.")
    target = _find(place, name, library) if name else checkpoint_for(files[0].entry.base, library)
    _check_bases([*([target] if target else []), *(one.entry for one in files)], "files")
    return files, target


def _listed(field: Field, said: Any) -> Sequence[Any]:
    rows = cast(list[Any], said) if isinstance(said, list) else []
    most = FILES_MAX if field.many else len(field.slots)
    if not field.least <= len(rows) <= most:
        wanted = f"{field.least} to {most}" if field.least < most else str(most)
        word = {"lora": "LoRAs", "checkpoint": "checkpoints"}[field.of]
        raise InvalidRequestError(f"{len(rows)} {word} are given.", field=field.name, hint=f"Choose {wanted}.")
    return rows


def _chosen(field: Field, said: Any, library: Library) -> Chosen:
    row = cast(Mapping[str, Any], said) if isinstance(said, dict) else {"name": said}
    entry = _find(field, row.get("name"), library)
    if not field.weighted:
        return Chosen(entry)
    weight = _weight(field, entry, row.get("weight", 1.0))
    text = row.get("text_weight")
    return Chosen(entry, weight, weight if text is None else _weight(field, entry, text))


def _weight(field: Field, entry: ModelEntry, said: Any) -> float:
    if isinstance(said, bool) or not isinstance(said, int | float) or not math.isfinite(said):
        raise InvalidRequestError(
            f"The weight of {entry.name} is no number.", field=field.name, hint="Such as 0.8; 0 is off."
        )
    return float(said)


def _find(field: Field, name: Any, library: Library) -> ModelEntry:
    try:
        entry = library.find(name if isinstance(name, str) else "", field.of)
    except ModelNotFoundError as error:
        raise InvalidRequestError(str(error), field=field.name, hint=error.hint) from error
    if not entry.usable:
        raise InvalidRequestError(
            f"{entry.name} cannot be used: {entry.reason}", field=field.name, hint="Choose another one."
        )
    return entry


def _check_bases(entries: Sequence[ModelEntry], field: str) -> None:
    known = [entry for entry in entries if entry.base not in ("", "unknown")]
    for entry in known[1:]:
        if entry.base != known[0].base:
            raise InvalidRequestError(
                f"{entry.name} is for {entry.base}, and {known[0].name} for {known[0].base}.",
                field=field,
                hint="Choose models of one base model.",
            )


def _like(tool: Tool, files: Sequence[Chosen], target: ModelEntry | None) -> ModelEntry:
    """The model whose form the result has."""
    return target if tool.makes == "checkpoint" and target is not None else files[0].entry


def _out(name: str, kind: str, models: Path, *, is_folder: bool) -> Path:
    """Where the result goes. Raises: InvalidRequestError, for a name that is none, or is taken."""
    folder, title = models / kind, name.strip().removesuffix(SUFFIX)
    if not title:
        raise InvalidRequestError("The result has no name.", field="name", hint="Give it one.")
    file = title if is_folder and kind == FOLDERS["checkpoint"] else f"{title}{SUFFIX}"
    try:
        safe = safe_name(file, folder)
    except DownloadError:
        safe = ""
    if safe != file:
        hint = f"Such as {safe.removesuffix(SUFFIX)!r}." if safe.removesuffix(SUFFIX) else "Use letters and digits."
        raise InvalidRequestError(f"{title[:80]!r} is no name for a file.", field="name", hint=hint)
    if (folder / file).exists():
        raise InvalidRequestError(f"{file} is there already.", field="name", hint="Give another name, or move it away.")
    return folder / file


def _value(field: Field, said: Any) -> Any:
    """A field's value; its default where nothing is said."""
    if said is None or said == "":
        return () if field.kind == "blocks" else field.default
    if field.kind in ("whole", "number"):
        return _number(field, said)
    if field.kind == "choice" and said in dict(field.choices):
        return said
    if field.kind == "check" and isinstance(said, bool):
        return said
    if field.kind in ("text", "blocks") and isinstance(said, str):
        return said if field.kind == "text" else tuple(read_block(part) for part in said.split(",") if part.strip())
    hints = {
        "choice": f"Choose one of: {', '.join(word for word, _ in field.choices if word)}.",
        "check": "Use true or false.",
    }
    raise InvalidRequestError(
        f"{field.label} cannot be {str(said)[:40]!r}.", field=field.name, hint=hints.get(field.kind, "Use text.")
    )


def _number(field: Field, said: Any) -> float:
    assert field.low is not None
    assert field.high is not None
    kinds = int if field.kind == "whole" else int | float
    if isinstance(said, bool) or not isinstance(said, kinds) or not field.low <= said <= field.high:
        word = "whole number" if field.kind == "whole" else "number"
        raise InvalidRequestError(
            f"{field.label} cannot be {str(said)[:40]!r}.",
            field=field.name,
            hint=f"Choose a {word} from {field.low:g} to {field.high:g}.",
        )
    return said


def _number_in(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None

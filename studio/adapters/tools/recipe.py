"""What was made of what: kept in the header of every file that a tool writes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

RECIPE = "maquette.recipe"
MERGED_FROM = "modelspec.merged_from"  # Source: Stability-AI/ModelSpec, the field for merges
ORIGIN = "maquette.respelled"  # how a LoRA was spelled before
OF_OTHER_BYTES = ("modelspec.hash_sha256", "sshs_model_hash", "sshs_legacy_hash", RECIPE, ORIGIN)


@dataclass(frozen=True)
class Input:
    """A file that went in. id: its fingerprint; said: weights and such; metadata: of its header."""

    name: str
    id: str = ""
    said: Mapping[str, Any] = field(default_factory=dict[str, Any])
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Recipe:
    """A tool's name, what went in, and the options that decide what comes out, as plain values."""

    tool: str
    inputs: Sequence[Input]
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def header(self) -> dict[str, str]:
        """Texts for the header; the recipes of the files that went in are within it."""
        said = {"tool": self.tool, "inputs": [_row(one) for one in self.inputs], **_set(self.options)}
        merged = {MERGED_FROM: ", ".join(one.name for one in self.inputs)} if len(self.inputs) > 1 else {}
        return {RECIPE: json.dumps(said, sort_keys=True)} | merged

    def shared(self) -> dict[str, str]:
        """What the headers of all files say alike."""
        first, *others = (own_words(one.metadata) for one in self.inputs)
        return {name: text for name, text in first.items() if all(other.get(name) == text for other in others)}


def own_words(metadata: Mapping[str, str]) -> dict[str, str]:
    """What a header says that stays true of a file with other bytes."""
    return {name: text for name, text in metadata.items() if name not in OF_OTHER_BYTES}


def _row(one: Input) -> dict[str, Any]:
    row = {"name": one.name, **_set({"id": one.id}), **_set(one.said)}
    try:
        before = json.loads(one.metadata.get(RECIPE, "null"))
    except ValueError:
        before = None
    return row | ({"recipe": before} if before else {})


def _set(options: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is not set."""
    return {name: value for name, value in options.items() if value not in (None, "", (), [])}

"""A checkpoint's card: what the studio needs to know of it beside its weights."""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self, cast

KINDS: dict[Any, type | tuple[type, ...]] = {
    str: str,
    int: int,
    bool: bool,
    float: (int, float),
    tuple[str, ...]: tuple,
}


@dataclass(frozen=True, kw_only=True)
class Card:
    """Defaults for generating with a checkpoint; a request may override each.

    Fields:
        base: The base model, such as sd1 or starter-0ff5dfae.
        native_size: Side in pixels that it was trained on.
        prediction_type, timestep_spacing: As in diffusers' scheduler configurations.
        known_words: Every word that a small checkpoint was shown; empty for one that knows the language.
        demonstration: Whether it ships with the studio to try things out, and should say so.
    """

    name: str
    base: str = "unknown"
    native_size: int = 512
    prediction_type: str = "epsilon"
    timestep_spacing: str = "leading"
    clip_skip: int = 0
    guidance_scale: float = 7.0
    num_inference_steps: int = 30
    scheduler: str = "dpmpp_2m"
    known_words: tuple[str, ...] = ()
    example_prompts: tuple[str, ...] = ()
    demonstration: bool = False

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read card.json; entries that we do not know are left. Raises: ValueError, naming an entry of a wrong kind."""
        data: Any = json.loads(file.read_text("utf-8"))
        if not isinstance(data, dict) or not isinstance(cast(dict[str, Any], data).get("name"), str):
            raise ValueError("it is no object with a name")
        names = {field.name for field in fields(cls)}
        known: dict[str, Any] = {key: value for key, value in cast(dict[str, Any], data).items() if key in names}
        lists = {key: cast(list[str], value) for key, value in known.items() if isinstance(value, list)}
        known |= {key: tuple(value) for key, value in lists.items()}
        for entry in fields(cls):
            if entry.name in known and not isinstance(value := known[entry.name], KINDS[entry.type]):
                raise ValueError(f"{file.name}: {entry.name} is {value!r}")
        return cls(**known)

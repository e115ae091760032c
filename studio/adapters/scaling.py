"""How strong a change is whose file has no alpha beside it: what the header says in PEFT's words."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from studio.adapters.spelling import PARTS

FLAGS, NUMBERS = ("use_rslora", "coft", "use_cayley_neumann"), ("lora_alpha", "eps")
TERMS = "num_cayley_neumann_terms"
KEY = "lora_adapter_metadata"  # diffusers, loaders/lora_base.py
MODEL, CONFIG = "adapter_model", "adapter_config.json"


@dataclass(frozen=True)
class Scaling:
    """PEFT's settings, by part of the model: lora_alpha, use_rslora, alpha_pattern, and OFT's four.

    fault: why they cannot be read.
    """

    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    fault: str = ""

    def of(self, path: str, rank: int) -> float:
        """alpha / rank, with rsLoRA alpha / sqrt(rank) (Kalajdzievski, arXiv:2312.03732); 1 where nothing is said."""
        if not self.settings:
            return 1.0
        part, _, module = path.partition(".")
        settings = self.settings.get(part, {})
        alpha = settings.get("lora_alpha")
        for ending, other in settings.get("alpha_pattern", {}).items():
            if f".{module}".endswith(f".{ending}"):
                alpha = other
        if not alpha:
            return 1.0
        return alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)

    def said(self, path: str) -> Mapping[str, Any]:
        """All that is said of the part of the model in which that layer lies."""
        return self.settings.get(path.partition(".")[0], {})


def scaling_in(metadata: Mapping[str, str]) -> Scaling:
    """What the header says; where it cannot be read, `fault` says so."""
    if KEY not in metadata:
        return Scaling()
    try:
        found: Any = json.loads(metadata[KEY])
    except (ValueError, RecursionError):
        return Scaling(fault="is no JSON, so that the strength of its layers is taken as 1")
    if not isinstance(found, dict):
        return Scaling(fault="is no table, so that the strength of its layers is taken as 1")
    settings: dict[str, dict[str, Any]] = {}
    for name, value in found.items():
        part, _, word = name.rpartition(".")
        if word == "alpha_pattern" and isinstance(value, dict):
            settings.setdefault(part, {})[word] = _patterns(value)
        elif word in FLAGS or (word in NUMBERS and _is_number(value)) or (word == TERMS and isinstance(value, int)):
            settings.setdefault(part, {})[word] = value
    return Scaling(settings)


def beside(file: Path) -> dict[str, str]:
    """What PEFT wrote into the file beside its adapter_model, as a header would have it; nothing for other files.

    It does not say of which part of the model its layers are, so it counts for every part.
    Source: peft, utils/save_and_load.py and config.py: adapter_model.safetensors (or .bin) and adapter_config.json.
    """
    config = file.with_name(CONFIG)
    if file.stem != MODEL or not config.is_file():
        return {}
    try:
        found: Any = json.loads(config.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {KEY: f"{CONFIG} beside it"}
    settings = found if isinstance(found, dict) else {}
    return {KEY: json.dumps({f"{part}.{name}": value for part in PARTS for name, value in settings.items()})}


def _patterns(found: Mapping[str, Any]) -> dict[str, float]:
    """Endings of modules' paths as this program spells them, without text_model."""
    return {
        name.removeprefix("^").removeprefix("text_model."): alpha for name, alpha in found.items() if _is_number(alpha)
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

"""How strong a change is whose file has no alpha beside it: what the header says in PEFT's words."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

KEY = "lora_adapter_metadata"  # diffusers, loaders/lora_base.py


@dataclass(frozen=True)
class Scaling:
    """PEFT's settings, by part of the model: lora_alpha, use_rslora, alpha_pattern. fault: why they cannot be read."""

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
        elif word == "use_rslora" or (word == "lora_alpha" and _is_number(value)):
            settings.setdefault(part, {})[word] = value
    return Scaling(settings)


def _patterns(found: Mapping[str, Any]) -> dict[str, float]:
    """Endings of modules' paths as this program spells them, without text_model."""
    return {
        name.removeprefix("^").removeprefix("text_model."): alpha for name, alpha in found.items() if _is_number(alpha)
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

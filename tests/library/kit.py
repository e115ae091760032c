"""Small model files for the tests of the index."""

import json
import struct
from pathlib import Path

from studio.settings import load_settings


def write_model(path: Path, dtype: str = "F16", numbers: bytes = bytes(4), **metadata: str) -> Path:
    """A safetensors file of one tensor, which nothing knows what it is."""
    entry = {"dtype": dtype, "shape": [len(numbers) // 2], "data_offsets": [0, len(numbers)]}
    header = json.dumps({"weight": entry, **({"__metadata__": metadata} if metadata else {})}).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(header)) + header + numbers)
    return path


def settings_in(folder: Path, *models_from: Path):
    settings = load_settings(folder / "data", models_from=models_from)
    settings.paths.create()
    return settings

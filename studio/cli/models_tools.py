"""`models merge-loras`, `resize`, `respell`, `extract`, `bake` and `merge`: model files made of model files."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from studio.cli.models import open_library
from studio.errors import InvalidRequestError, ModelNotFoundError, StudioError
from studio.library.identify import identify
from studio.library.index import Library
from studio.library.tools.order import checkpoint_for, read_block
from studio.library.tools.process import run_tool
from studio.library.tools.table import RANK, usual_share
from studio.settings import Settings

OPTIONS = ("rank", "energy", "precision", "spelling", "rest")


def use_tool(flags: argparse.Namespace, settings: Settings) -> int:
    """The command; its exit status. Models are read in a child process, the only one here that loads torch.

    Raises: StudioError, saying what is wrong and that nothing was written.
    """
    order = order_of(flags, open_library(settings))
    said = run_tool(order, settings.device, lambda done, total: None if flags.json else _show(done, total))
    if not flags.json:
        print(file=sys.stderr)
    if "error" in said:
        if said["wrong_use"]:
            raise InvalidRequestError(said["error"], field="", hint=said["hint"])
        raise StudioError(said["error"], hint=said["hint"])
    for note in said["notes"]:
        print(note, file=sys.stderr)
    print(json.dumps(said) if flags.json else said["path"])
    return 0


def order_of(flags: argparse.Namespace, library: Library) -> dict[str, Any]:
    """What the child is told, as plain values. Raises: InvalidRequestError; ModelNotFoundError."""
    kind = "checkpoint" if flags.action in ("extract", "merge") else "lora"
    order: dict[str, Any] = {name: getattr(flags, name) for name in OPTIONS if hasattr(flags, name)}
    order |= {"tool": flags.action, "out": str(flags.out.absolute())}
    if flags.action in ("merge-loras", "bake"):
        weighed = [_weighed(word, library) for word in flags.files]
        order |= {"files": [path for path, _ in weighed], "weights": [weights for _, weights in weighed]}
    else:
        order["files"] = [_path(word, kind, library) for word in flags.files]
    if flags.action == "extract" and not flags.rank and flags.energy == 1:
        order["rank"] = RANK
    if flags.action == "merge":
        return order | _shares(flags)
    if kind == "lora":
        order["checkpoint"] = _checkpoint(flags.checkpoint, order["files"], library)
    return order


def _shares(flags: argparse.Namespace) -> dict[str, Any]:
    if len(flags.files) not in (2, 3):
        raise InvalidRequestError(
            f"{len(flags.files)} checkpoints are given.", field="files", hint="Name two to mix, or three: A + (B - C)."
        )
    share = flags.share if flags.share is not None else usual_share(len(flags.files))
    return {"share": share, "blocks": [read_block(text) for text in flags.block]}


def _weighed(word: str, library: Library) -> tuple[str, tuple[float, float]]:
    """A LoRA's path and its weights for the UNet and the text encoders; a path may have colons too."""
    parts, numbers = word, list[float]()
    while len(numbers) < 2 and not Path(parts).exists():
        rest, colon, last = parts.rpartition(":")
        number = _number(last) if colon else None
        if number is None:
            break
        parts, numbers = rest, [number, *numbers]
    weights = numbers or [1.0]
    return _path(parts, "lora", library), (weights[0], weights[-1])


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) < float("inf") else None


def _path(word: str, kind: str, library: Library) -> str:
    """Where a model lies: a path, or the name of one in the library."""
    if Path(word).exists():
        return str(Path(word).absolute())
    entry = next((entry for entry in library.entries() if entry.kind == kind and entry.name == word), None)
    if entry is None:
        raise ModelNotFoundError(
            f"There is no {kind} {word[:200]!r}, neither as a file nor as a model's name.",
            hint=f"See: python launch.py models list --kind {kind}",
        )
    return str(entry.path)


def _checkpoint(word: str, files: Sequence[str], library: Library) -> str:
    """What adapters are for: the checkpoint that is named, or one of their base model, if it is no well-known one."""
    if word:
        return _path(word, "checkpoint", library)
    found = checkpoint_for(identify(Path(files[0]), "lora").base, library)
    return "" if found is None else str(found.path)


def _show(done: int, total: int) -> None:
    print(f"\r{100 * done // max(total, 1)} %", end="", file=sys.stderr, flush=True)

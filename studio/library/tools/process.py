"""A tool at work, in a process of its own: the only one that loads torch for it."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from glob import escape
from pathlib import Path
from typing import Any

from studio.errors import StudioError
from studio.settings import BUILTIN

Told = Callable[[int, int], None]
Child = subprocess.Popen[str]


def run_tool(
    order: Mapping[str, Any],
    device: str,
    told: Told = lambda _done, _total: None,
    began: Callable[[Child], None] = lambda _child: None,
    module: str = "studio.engine.tools",
) -> dict[str, Any]:
    """Carry out an order; the child's last line, {path, notes} or {error, hint, field, wrong_use}.

    Args:
        device: As in the settings; "cpu" hides graphics cards from the child.
        told: Hears how far it is: done, of how much.
        began: Gets the process, which may be ended at any time.
        module: What is run; it takes the order as JSON.
    Raises: StudioError, if it ended without such a line. Nothing half-made stays then.
    """
    path = os.pathsep.join([str(BUILTIN), os.environ.get("PYTHONPATH", "")])
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {}
    command = [sys.executable, "-m", module, json.dumps(order)]
    environment = {**os.environ, "PYTHONPATH": path, **hidden}
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment) as child,
    ):
        began(child)
        said = _listen(child, told)
        child.wait()
        if "path" in said or "error" in said:
            return said
        sweep(Path(order["out"]))
        errors.seek(0)
        last = (errors.read().strip().splitlines() or ["it ended without a word"])[-1]
    raise StudioError(f"Nothing was written: {last}", hint="python launch.py doctor may say more.")


def _listen(child: Child, told: Told) -> dict[str, Any]:
    """The last line; those before it tell how far it is."""
    said: dict[str, Any] = {}
    for line in child.stdout or ():
        said = json.loads(line)
        if "done" in said:
            told(said["done"], said["total"])
    return said


def sweep(out: Path) -> None:
    """Remove what a process that was ended had written so far, beside the place of its result."""
    for part in out.parent.glob(f".{escape(out.name[:40])}.*.part"):
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            with suppress(OSError):
                part.unlink()

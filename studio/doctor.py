"""`doctor`: what is installed, what runs, what is wrong and what to do. Torch is imported in a child process only."""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from importlib import metadata
from typing import Any, cast

from studio import __version__
from studio.environment import has_nvidia
from studio.errors import StudioError
from studio.library.index import Library
from studio.library.words import kind_word
from studio.lock import running_studio
from studio.settings import BUILTIN, Settings

PACKAGES = (
    "torch",
    "diffusers",
    "transformers",
    "accelerate",
    "peft",
    "safetensors",
    "gradio",
    "pillow",
    "numpy",
    "torchvision",
    "xformers",
)
OPTIONAL = ("torchvision", "xformers")
PROBE_SECONDS = 180
LOW_DISK_GB = 2.0
DAMAGED = ("damaged", "web page", "is empty")


@dataclass(frozen=True)
class Problem:
    """Something wrong, and what to do about it. `stops` tells whether pictures can be made in spite of it."""

    what: str
    way_out: str
    stops: bool = True


def doctor(settings: Settings, *, as_json: bool) -> int:
    """Print the report. Exit status: 1 if something keeps the studio from making pictures, else 0."""
    facts, problems = examine(settings)
    stops = any(problem.stops for problem in problems)
    if as_json:
        found = [{"problem": p.what, "fix": p.way_out, "stops": p.stops} for p in problems]
        print(json.dumps({**facts, "ok": not stops, "problems": found}))
    else:
        print(report(facts, problems))
    return 1 if stops else 0


def examine(settings: Settings) -> tuple[dict[str, Any], list[Problem]]:
    """Every fact, in the order of the report, and the problems that follow from them."""
    problems: list[Problem] = []
    facts: dict[str, Any] = {
        "studio": __version__,
        "python": sys.executable,
        "python_version": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "packages": packages(problems),
        "torch": probe_torch(settings, problems),
        "data": data_folder(settings, problems),
    }
    if facts["data"]["writable"]:
        facts["models"] = models(settings, problems)
    return facts, problems


def packages(problems: list[Problem]) -> dict[str, str | None]:
    """Versions by name, read without importing anything; None for what is absent."""
    found = {name: installed(name) for name in PACKAGES}
    for name, version in found.items():
        if version is None and name not in OPTIONAL:
            problems.append(Problem(f"{name} is not installed.", "Start with `python launch.py`, which installs it."))
    return found


def installed(name: str) -> str | None:
    """The version of a package, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def probe_torch(settings: Settings, problems: list[Problem]) -> dict[str, Any]:
    """Device, precision, attention kernel and what turbo needs, found in a child process; empty if it ended badly.

    What was measured before is kept in the data folder, where the worker reads it too.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(BUILTIN), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "studio.engine.probe", settings.device, str(settings.paths.root / "cache")]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PROBE_SECONDS, env=environment, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        problems.append(Problem(f"torch could not be tried: {error}.", "Restart the machine, then try again."))
        return {}
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        problems.append(Problem(f"torch does not work: {last}", "Delete .venv, then start again."))
        return {}
    facts = cast(dict[str, Any], json.loads(done.stdout.splitlines()[-1]))
    problems += torch_problems(facts, nvidia=has_nvidia(), turbo=settings.preferences.turbo)
    return facts


def torch_problems(facts: dict[str, Any], *, nvidia: bool, turbo: bool = False) -> list[Problem]:
    """What the probe's facts say is wrong."""
    found: list[Problem] = []
    if "error" in facts:
        found.append(Problem(facts["error"], "Leave --device out, or choose one that is there."))
    elif nvidia and not facts["device"].startswith("cuda"):
        way_out = (
            "Update the NVIDIA driver, or leave --device out."
            if facts["cuda_build"]
            else "Start with a Python that has no torch of its own, so that launch.py installs the CUDA build."
        )
        found.append(Problem(f"An NVIDIA driver is here, but pictures are made on {facts['device']}.", way_out, False))
    if turbo and facts.get("turbo", "possible") != "possible":
        found.append(Problem(facts["turbo"], "Install it, or switch turbo off in Settings.", False))
    if facts["torchvision_mended"]:
        what = "torchvision is built for another torch; the studio works around its missing torchvision::nms."
        found.append(Problem(what, "Nothing has to be done. Install a matching torchvision to be rid of this.", False))
    return found


def data_folder(settings: Settings, problems: list[Problem]) -> dict[str, Any]:
    """Where the data lies, whether it can be written, how much space is left and who is at work there."""
    root = settings.paths.root
    try:
        settings.paths.create()
        writable = True
        running = running_studio(settings.paths.lock)
    except StudioError as error:
        problems.append(Problem(str(error), error.hint))
        writable, running = False, None
    there = next(folder for folder in (root, *root.parents) if folder.exists())
    free = shutil.disk_usage(there).free / 1e9
    if free < LOW_DISK_GB:
        problems.append(Problem(f"{root} has {free:.1f} GB left.", "Free some space, or use --data DIR.", False))
    port = running.port if running else 0
    return {"path": str(root), "writable": writable, "free_gb": round(free, 1), "serving_port": port or None}


def models(settings: Settings, problems: list[Problem]) -> dict[str, Any]:
    """How many models were found by kind, and those that cannot be used, with the reason."""
    try:
        entries = Library(settings).entries()
    except StudioError as error:
        problems.append(Problem(str(error), error.hint))
        return {}
    usable = [entry for entry in entries if entry.usable]
    damaged = [entry.name for entry in entries if any(word in entry.reason for word in DAMAGED)]
    if damaged:
        what = f"These models are damaged: {', '.join(damaged[:10])}{', ...' if len(damaged) > 10 else ''}."
        problems.append(Problem(what, "Get them again; `python launch.py models list` says what is wrong.", False))
    if not any(entry.kind == "checkpoint" for entry in usable):
        way_out = "Restore assets/starter, or put a checkpoint into data/models/checkpoints."
        problems.append(Problem("There is no checkpoint to make pictures with.", way_out))
    return {
        "found": dict(Counter(kind_word(entry.kind) for entry in entries).most_common()),
        "usable": [f"{entry.name} ({entry.kind}, {entry.base})" for entry in usable],
        "unusable": {entry.name: entry.reason for entry in entries if not entry.usable},
    }


def report(facts: dict[str, Any], problems: list[Problem]) -> str:
    """The facts and problems as text to read or to copy into a question."""
    lines: list[str] = []
    for name, value in facts.items():
        if isinstance(value, dict):
            lines.append(f"{name}:")
            lines += [f"  {key}: {_brief(key, item)}" for key, item in cast(dict[str, Any], value).items()]
        else:
            lines.append(f"{name}: {_shown(value)}")
    lines.append("")
    for problem in problems:
        lines += [f"{'wrong' if problem.stops else 'note'}: {problem.what}", f"  do: {problem.way_out}"]
    if "unusable" in facts.get("models", {}):
        lines.append("Why a model cannot be used: python launch.py models list")
    return "\n".join([*lines, *([] if problems else ["Nothing is wrong."])])


def _brief(key: str, value: Any) -> str:
    """A value for people, who have hundreds of models that cannot be used."""
    return str(len(value)) if key == "unusable" else _shown(value)


def _shown(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return ", ".join(map(str, cast(list[object], value))) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in cast(dict[str, object], value).items()) or "none"
    return str(value)

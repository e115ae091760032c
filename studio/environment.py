"""Set-up: `.venv` beside launch.py, with the locked set in it. Standard library only; launch.py alone calls it."""

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from studio.errors import StartError

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
CUDA_INDEX = "https://download.pytorch.org/whl/cu130"
SPACE_GB = {"cpu": 3, "cuda": 12}  # downloads and installed packages together, rounded up
FAILURES = {  # what pip says -> why, and the way out
    r"No space left|not enough space": (
        "the disk is full",
        "Free some space where the studio and {temp} lie, then start again.",
    ),
    r"Read-only file system|Permission denied|Access is denied": (
        "a folder cannot be written",
        "Move the studio to a folder of your own, see that {temp} can be written, then start again.",
    ),
    r"ConnectionError|failure in name|Name or service not known|timed out|ProxyError|SSLError|from versions: none": (
        "the package index did not answer",
        "Check the network, or pip's proxy and index settings, then start again: what was downloaded is kept.",
    ),
    r"No matching distribution|requires a different Python|ResolutionImpossible": (
        "a package has no version for Python {python} on this system",
        "Start with Python 3.11, 3.12 or 3.13 from https://www.python.org/downloads/.",
    ),
}


def set_up(venv: Path, python: Path, pins: Sequence[str], locks: Sequence[Path]) -> None:
    """Make or mend `venv`, whose interpreter is `python`, and install the locks. Raises: StartError."""
    nvidia = has_nvidia()
    check_folder(venv.parent, SPACE_GB["cuda" if nvidia else "cpu"])
    print("Setting up in .venv, once; this takes some minutes.", flush=True)
    if not (python.exists() and runs([str(python), "-m", "pip", "--version"])):
        make_venv(venv)
    torch = next(pin for pin in pins if pin.startswith("torch=="))
    index = torch_index(platform.system(), platform.machine(), nvidia=nvidia, answers=answers)
    log = venv / "setup.log"
    log.unlink(missing_ok=True)
    install([str(python), torch, *(["--extra-index-url", index] if index else [])], what="1/2 torch", total=0, log=log)
    install([str(python), *(word for lock in locks for word in ("-r", str(lock)))], "2/2 packages", len(pins), log)
    print("\nSet-up is done.", flush=True)


def check_folder(folder: Path, space_gb: float) -> None:
    """Raises: StartError, if the folder cannot be written or its disk is too full."""
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise StartError(
            f"{folder} cannot be written ({error.strerror}).", hint="Move the studio to a folder of your own."
        ) from error
    free = shutil.disk_usage(folder).free / 1e9
    if free < space_gb:
        raise StartError(
            f"Set-up needs {space_gb} GB of disk space and {folder} has {free:.1f} GB.",
            hint="Free some space, then start again.",
        )


def make_venv(venv: Path) -> None:
    """Make `venv` from nothing; a broken one goes first. Raises: StartError."""
    shutil.rmtree(venv, ignore_errors=True)
    done = subprocess.run([sys.executable, "-m", "venv", str(venv)], capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    if "ensurepip" in said:
        raise StartError("This Python cannot make virtual environments.", hint="Run: sudo apt install python3-venv")
    if done.returncode:
        raise explain(said, "Making .venv", hint=f"Try it by hand: {sys.executable} -m venv {venv}")


def runs(command: Sequence[str]) -> bool:
    """Whether a command starts and ends well; what it prints is dropped."""
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def has_nvidia() -> bool:
    """Whether an NVIDIA driver is installed."""
    return bool(shutil.which("nvidia-smi")) or Path("/proc/driver/nvidia/version").exists()


def torch_index(system: str, machine: str, *, nvidia: bool, answers: Callable[[str], bool]) -> str:
    """The index that has the right torch beside pip's own; "" where pip's own has it. `answers` tells if one is up.

    The registry's torch is a CUDA build for x86 Linux, a CPU build for Windows, and an MPS build for Macs.
    """
    if nvidia:
        return "" if (system, machine) == ("Linux", "x86_64") else CUDA_INDEX
    return CPU_INDEX if system == "Linux" and answers(CPU_INDEX) else ""


def answers(index: str, seconds: float = 3.0) -> bool:
    """Whether a package index answers in time; name look-up, which has no timeout of its own, counts too."""
    replies: list[bool] = []

    def ask() -> None:
        try:
            urllib.request.urlopen(f"{index}/torch/", timeout=seconds).close()
            replies.append(True)
        except OSError:
            replies.append(False)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(seconds)
    return replies == [True]


def install(words: Sequence[str], what: str, total: int, log: Path) -> None:
    """Run pip of the interpreter words[0] on the rest, showing how far it is; all it says goes to `log`.

    Raises: StartError.
    """
    command = [words[0], "-m", "pip", "install", "--progress-bar", "off", "--disable-pip-version-check", *words[1:]]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": ""}
    lines: list[str] = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=environment
    ) as pip:
        for line in pip.stdout or ():
            lines.append(line)
            show(progress(lines, what, total))
    with log.open("a", encoding="utf-8") as file:
        file.writelines(lines)
    if pip.returncode:
        raise explain("".join(lines), f"Installing ({what})", hint=f"{log} has the whole story.")


def progress(lines: Sequence[str], what: str, total: int) -> str:
    """What to show after the last of pip's lines; "" for nothing new."""
    line = lines[-1]
    if line.startswith("Installing collected packages"):
        return f"{what}: unpacking"
    if not line.startswith("Collecting ") and not line.lstrip().startswith("Downloading "):
        return ""
    seen = {name for text in lines if (name := _collected(text))}
    count = f"{len(seen)} of {total}, " if total else ""
    name = re.split("[-=<>!;]", line.split()[1].rpartition("/")[2])[0]
    size = re.search(r" \(\d[\d.]* [kMG]B\)", line)
    return f"{what}: {count}{name}{size[0] if size else ''}"


def _collected(line: str) -> str:
    found = re.match(r"(?:Collecting|Requirement already satisfied:) ([\w.-]+)", line)
    return found[1].lower() if found else ""


def show(text: str) -> None:
    """The last line of the terminal, rewritten; plain lines where the output is kept."""
    if text and sys.stdout.isatty():
        print(f"\r{text:<60.78}", end="", flush=True)
    elif text:
        print(text, flush=True)


def explain(output: str, doing: str, *, hint: str) -> StartError:
    """One sentence for what went wrong: the first failure that is known, else the last error in the output."""
    for pattern, (reason, way_out) in FAILURES.items():
        if re.search(pattern, output):
            found = {"temp": tempfile.gettempdir(), "python": platform.python_version()}
            return StartError(f"{doing} failed: {reason.format(**found)}.", hint=way_out.format(**found))
    errors = [line for line in output.splitlines() if "error" in line.lower()] or output.splitlines() or ["no output"]
    return StartError(f"{doing} failed: {errors[-1].strip()[:200]}", hint=hint)

"""Start the studio: set it up beside this file when that is needed, then run `python -m studio`.

Standard library only. The interpreter that runs this file is used when it has what pyproject.toml asks for; else
`.venv` gets the locked set, once. The stamp in `.venv` makes later starts look at some file names and nothing else.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
LOCKS = (ROOT / "studio" / "requirements.lock", ROOT / "tests" / "requirements.lock")
OLDEST_PYTHON = (3, 11)
TWO_AT_ONCE = ("-rfEs", "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")  # the whole suite, browsers last


def main(arguments: list[str]) -> int:
    """Set up if needed, then hand over. Exit status: the studio's own; 1 if set-up failed, 2 for a Python too old."""
    if sys.version_info < OLDEST_PYTHON:
        print(too_old(sys.version_info[:2], shutil.which), file=sys.stderr)
        return 2
    from studio.errors import StudioError  # needs the Python that was just checked

    tests = arguments[:1] == ["test"]
    try:
        python = sys.executable if arguments[:1] in (["-h"], ["--help"]) else find_python(tests)
        module = ["pytest", *(arguments[1:] or TWO_AT_ONCE)] if tests else ["studio", *arguments]
        return hand_over(python, module, tests)
    except StudioError as error:
        print(f"Set-up stopped: {error.sentence()}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nSet-up was interrupted; the next start goes on from here.", file=sys.stderr)
    return 1


def too_old(version: tuple[int, ...], which: Callable[[str], str | None]) -> str:
    """The sentence for a Python that cannot run the studio; names a newer one, if one is there."""
    newer = next((name for name in ("python3.13", "python3.12", "python3.11", "python3.14") if which(name)), "")
    way_out = f"Run: {newer} launch.py" if newer else "Install a newer one from https://www.python.org/downloads/"
    return f"The studio needs Python 3.11 or newer, and this is Python {'.'.join(map(str, version))}. {way_out}"


def find_python(tests: bool) -> str:
    """The interpreter to run with; set up first, if there is none. Raises: StartError."""
    if not missing(wanted(tests), installed_version):
        return sys.executable
    locks = LOCKS if tests else LOCKS[:1]
    if not is_ready(VENV, locks):
        from studio.environment import set_up  # nothing of it is needed at any later start

        set_up(VENV, python_of(VENV), pins(locks), locks)
        (VENV / "maquette-stamp").write_text(stamp_of(locks), encoding="utf-8")
    return str(python_of(VENV))


def wanted(tests: bool) -> list[str]:
    """The requirements that pyproject.toml names, such as "torch>=2.11,<2.14"."""
    import tomllib  # absent from the Pythons that must get as far as `too_old`

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["dependencies"] + (project["optional-dependencies"]["test"] if tests else [])


def installed_version(name: str) -> str | None:
    """The version of a package of the running interpreter; nothing of it is imported."""
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def missing(requirements: Sequence[str], version_of: Callable[[str], str | None]) -> list[str]:
    """Those of the requirements that are absent, or there in a version that does not fit."""
    return [text for text in requirements if not satisfies(version_of(re.split(r"[^\w.-]", text)[0]), text)]


def satisfies(version: str | None, requirement: str) -> bool:
    """Whether a version fits "name>=a,<b". Releases are compared number by number; labels such as +cpu do not count."""
    if version is None:
        return False
    fits: dict[str, Callable[[int], bool]] = {
        ">=": lambda sign: sign >= 0,
        "<=": lambda sign: sign <= 0,
        "==": lambda sign: sign == 0,
        "<": lambda sign: sign < 0,
        ">": lambda sign: sign > 0,
    }
    bounds = re.findall(r"(>=|<=|==|<|>)\s*([\d.]+)", requirement)
    return all(fits[how](order(version, bound)) for how, bound in bounds)


def order(a: str, b: str) -> int:
    """-1, 0 or 1, as version a is before, equal to or after b; 2.13 equals 2.13.0."""
    left, right = ([int(n) for n in re.findall(r"\d+", re.split(r"[^\d.]", v)[0])] for v in (a, b))
    width = max(len(left), len(right))
    left, right = (numbers + [0] * (width - len(numbers)) for numbers in (left, right))
    return (left > right) - (left < right)


def python_of(venv: Path, windows: bool = os.name == "nt") -> Path:
    """Where a virtual environment keeps its interpreter."""
    return venv / ("Scripts/python.exe" if windows else "bin/python")


def pins(locks: Sequence[Path]) -> list[str]:
    """The lines of the locks that pin a package: "name==version", perhaps with "; where"."""
    lines = [line.strip() for lock in locks for line in lock.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def stamp_of(locks: Sequence[Path]) -> str:
    """A line for each lock: where it lies and the hash of what it says."""
    return "".join(f"{lock.parent.name} {hashlib.sha256(lock.read_bytes()).hexdigest()}\n" for lock in locks)


def is_ready(venv: Path, locks: Sequence[Path]) -> bool:
    """Whether `venv` was set up from these locks (and perhaps more) and every package that they pin is still there."""
    stamp = venv / "maquette-stamp"
    if not (os.access(python_of(venv), os.X_OK) and stamp.is_file() and stamp.read_text().startswith(stamp_of(locks))):
        return False
    found = [path.stem for pattern in ("lib/*/", "Lib/") for path in venv.glob(f"{pattern}site-packages/*.dist-info")]
    lying = {_plain(name.partition("+")[0]) for name in found}
    return all(_plain(pin) in lying for pin in pins(locks) if ";" not in pin)


def _plain(name: str) -> str:
    return re.sub(r"[-_.=]+", "-", name).lower()


def hand_over(python: str, module: list[str], at_root: bool) -> int:
    """Become `python -m module`, with the studio importable from anywhere; on Windows, run it and wait."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    command, environment = [python, "-P", "-m", *module], {**os.environ, "PYTHONPATH": path}
    if os.name == "posix":
        os.chdir(ROOT if at_root else os.curdir)
        os.execve(python, command, environment)
    with subprocess.Popen(command, env=environment, cwd=ROOT if at_root else None) as studio:
        while True:
            try:
                return studio.wait()
            except KeyboardInterrupt:  # Ctrl+C reaches the studio too, which ends in order
                continue


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The process that trains: the only one that loads torch for it. Lines of JSON go both ways."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import psutil

from studio.settings import BUILTIN

COMMAND = (sys.executable, "-m", "studio.training.child")
WORDS = "child.log"
LAUNCHER = "torch.distributed.run"  # what `accelerate launch` starts several processes with
PLACES = ("RANK", "LOCAL_RANK", "WORLD_SIZE")  # what it tells each of them
REPORTED = "traceback : "  # how its report of a process that was killed ends
PATIENCE = 20.0  # seconds in which a process that was left writes its state


def launched(command: Sequence[str], processes: int) -> list[str]:
    """The command for so many processes that share a run; command: python's, and what it runs."""
    if processes == 1:
        return list(command)
    python, *rest = command
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    where = ["--nproc-per-node", str(processes), "--master-addr", "127.0.0.1", "--master-port", port]
    return [python, "-m", LAUNCHER, *where, *rest]


class Child:
    """One process, from its start to its end.

    Args:
        command: What is run; the folder of the run is its last argument.
        device: As in the settings; "cpu" hides graphics cards from it.
        processes: How many share the run; the first one talks, and all end when one does before its time.
    Raises: OSError, if the system gives none.
    """

    def __init__(self, folder: Path, *, device: str, command: Sequence[str] = COMMAND, processes: int = 1) -> None:
        path = os.pathsep.join([str(BUILTIN), os.environ.get("PYTHONPATH", "")])
        hidden = {"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {}
        if processes > 1:
            hidden["OMP_NUM_THREADS"] = "1"
        outer = {name: value for name, value in os.environ.items() if name not in PLACES}
        self._words = folder / WORDS
        with self._words.open("ab") as words:
            self._process = subprocess.Popen(
                [*launched(command, processes), str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=words,
                encoding="utf-8",
                env={**outer, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **hidden},
            )

    def events(self) -> Iterator[dict[str, Any]]:
        """What it says, until it has ended; other lines are passed over."""
        for line in self._process.stdout or ():
            with suppress(ValueError):
                event: Any = json.loads(line)
                if isinstance(event, dict) and "event" in event:
                    yield cast(dict[str, Any], event)
        self._process.wait()

    def tell(self, word: str) -> None:
        """Give it an order; one that has ended hears nothing."""
        if self._process.stdin is not None:
            with suppress(OSError, ValueError):
                self._process.stdin.write(json.dumps({"do": word}) + "\n")
                self._process.stdin.flush()

    def leave(self) -> None:
        """No more orders come: it keeps its state at the next step and ends."""
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()

    def end(self) -> None:
        """Leave it, and see to its end."""
        self.leave()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._kill()

    def _kill(self) -> None:
        with suppress(psutil.NoSuchProcess):
            for one in psutil.Process(self._process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    one.kill()
        self._process.kill()
        self._process.wait()

    def last_words(self) -> str:
        """The last line that it wrote to its log."""
        try:
            lines = [line for line in self._words.read_text("utf-8", "replace").splitlines() if _says_something(line)]
        except OSError:
            lines = []
        status = self._process.poll()
        return (
            lines[-1].strip().removeprefix(REPORTED)[:300]
            if lines
            else f"it ended with status {status} and without a word"
        )


def _says_something(line: str) -> bool:
    return any(map(str.isalpha, line))

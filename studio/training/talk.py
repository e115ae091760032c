"""What the process of a run says and hears: JSON, a line at a time, on its own standard output and input."""

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from studio.training import ranks

LOG = "log.jsonl"
STEP_PACE = 0.5  # seconds between two steps that are logged; all of them are said
WORDS = ("pause", "go", "stop", "sample", "save")


class Talk:
    """Both ways at once. Of several processes only the first one talks and hears; of its own error each tells.

    Whatever else is printed in this process goes to the standard error: the output is for events.

    Args:
        folder: Of the run, for its log. said, heard: where lines go and come from; the standard ones, if None.
    """

    def __init__(self, folder: Path, said: IO[str] | None = None, heard: IO[str] | None = None) -> None:
        self.silent = ranks.RANK > 0
        self.said = said or _own_output()
        self.left = False  # whether it was heard that the input has ended: nobody listens any more
        self.ended = threading.Event()  # that it has ended, whether or not an order was asked for since
        self._words: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._log, self._logged = folder / LOG, 0.0
        if not self.silent:
            source = heard or sys.stdin
            threading.Thread(target=self._listen, args=(source,), name="orders", daemon=True).start()

    def say(self, event: Mapping[str, Any]) -> None:
        """Tell it, and log it, but for steps that follow each other closely."""
        if self.silent and event.get("event") != "error":
            return
        line = json.dumps(event) + "\n"
        try:
            self.said.write(line)
            self.said.flush()
        except (OSError, ValueError):
            self.left = True
        now, step = time.monotonic(), event.get("event") == "step"
        if not step or now - self._logged > STEP_PACE or event["step"] == event["steps"]:
            self._write(line)
            self._logged = now if step else self._logged

    def phase(self, name: str, done: int = 0, total: int = 0) -> None:
        """What begins now, and how far it is."""
        self.say({"event": "phase", "name": name, "done": done, "total": total})

    def command(self, wait: bool) -> str | None:
        """The next order; None where nothing was said. With `wait` one is waited for, and None is the end of all.

        After the end of all it is "stop".
        """
        try:
            word = self._words.get(block=wait)
        except queue.Empty:
            return None
        if word is not None:
            return word
        self.left = True
        self._words.put(None)
        return None if wait else "stop"

    def _write(self, line: str) -> None:
        try:
            with self._log.open("a", encoding="utf-8") as log:
                log.write(line)
        except OSError:
            pass  # a full disk: the event was said, and saves say what that means

    def _listen(self, source: IO[str]) -> None:
        for line in source:
            try:
                word = json.loads(line)["do"]
            except (ValueError, KeyError, TypeError):
                continue
            if word in WORDS:
                self._words.put(word)
        self.ended.set()
        self._words.put(None)


def _own_output() -> IO[str]:
    """The standard output, for us alone: what libraries print goes to the standard error from now on."""
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return own

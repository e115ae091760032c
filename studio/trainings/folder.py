"""The folder of a run: what it is, how it stands, and what its process wrote."""

import json
import re
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from studio.errors import MissingError, StudioError
from studio.files import move_whole, write_whole
from studio.trainings.run import GOING, INTERRUPTED, Plain, Run

RUN, PARAMS, ORDER, LOG, HEADER = "run.json", "params.json", "order.json", "log.jsonl", "header.json"
LOG_BYTES = 8 * 2**20
TRASH_DAYS = 30
TOKEN = re.compile(r"\d{10,12}-(\d{8}-\d{6}-[0-9a-f]{6})")


class RunFolder:
    """One folder under data/training."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, run: Run) -> None:
        """Keep how it stands. Raises: StorageError."""
        write_whole(self.path / RUN, json.dumps(run.to_dict()).encode())

    def write_order(self, run: Run, order: Mapping[str, Any]) -> None:
        """What its process is told. Raises: StorageError."""
        write_whole(self.path / PARAMS, json.dumps(run.params.to_dict()).encode())
        write_whole(self.path / ORDER, json.dumps(order).encode())

    def log(self) -> list[Plain]:
        """What its process said, as one course: what was done again after going back is told once."""
        try:
            data = (self.path / LOG).read_bytes()[-LOG_BYTES:]
        except OSError:
            return []
        events = list[Plain]()
        for line in data.splitlines():
            try:
                event: Any = json.loads(line)
            except ValueError:
                continue  # half a line, of a process that was killed, or the first of a cut log
            if isinstance(event, dict):
                events.append(cast(Plain, event))
        return as_one(events)

    def header(self) -> Plain:
        """What its results will say of themselves. Raises: MissingError, while nobody knows."""
        try:
            return json.loads((self.path / HEADER).read_bytes())
        except (OSError, ValueError) as error:
            hint = "It is known once the run has begun."
            raise MissingError("What would be published is not known yet.", hint=hint) from error

    def file(self, name: str) -> Path:
        """A picture that its process made. Raises: MissingError, also for paths that lead elsewhere."""
        path = (self.path / name).resolve()
        inside = path.is_relative_to(self.path.resolve())
        if not inside or path.suffix != ".png" or not path.is_file():
            raise MissingError(f"There is no {name[:80]!r} in this run.")
        return path

    def has_state(self) -> bool:
        """Whether there is something to go on from."""
        return any((self.path / "state").glob("*"))

    def discard(self, trash: Path) -> str:
        """Move it all to the trash; a token that brings it back. Raises: StorageError."""
        token = f"{int(time.time())}-{self.path.name}"
        move_whole(self.path, trash / token)
        return token


def as_one(events: Iterable[Plain]) -> list[Plain]:
    """Events in order, without steps and measures that were taken again later."""
    kept = list[Plain]()
    for event in events:
        if event.get("event") == "step":
            kept = [e for e in kept if e.get("event") not in ("step", "measured") or e["step"] < event["step"]]
        kept.append(event)
    return kept


def read_runs(root: Path) -> list[Run]:
    """Every run that has a folder, the oldest first; one whose process went with the studio is interrupted."""
    found = list[Run]()
    for path in sorted(root.glob(f"*/{RUN}")):
        try:
            run = Run.from_dict(json.loads(path.read_bytes()))
        except (OSError, ValueError, KeyError, TypeError, StudioError):
            continue
        if run.id != path.parent.name:
            continue
        if run.state in GOING:
            run.state, run.phase, run.left = INTERRUPTED, "", None
        found.append(run)
    return sorted(found, key=lambda run: run.created)


def restore(trash: Path, token: object, root: Path) -> Run:
    """Bring back what that token stands for. Raises: MissingError, if it is not there any more; StorageError."""
    found = TOKEN.fullmatch(token) if isinstance(token, str) else None
    if found is None or not (trash / found[0]).is_dir():
        raise MissingError("That is not in the trash any more.", hint=f"What is deleted stays {TRASH_DAYS} days.")
    place = root / found[1]
    move_whole(trash / found[0], place)
    return next(run for run in read_runs(root) if run.id == place.name)


def purge(trash: Path) -> None:
    """Remove for good what was deleted TRASH_DAYS ago."""
    limit = time.time() - TRASH_DAYS * 86_400
    for one in trash.glob("*-*"):
        stamp = one.name.partition("-")[0]
        if stamp.isdecimal() and int(stamp) < limit:
            shutil.rmtree(one, ignore_errors=True)

"""What was deleted from datasets: whole folders, or pictures with what belongs to them, to be brought back."""

import json
import re
import secrets
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from studio.errors import InvalidRequestError, MissingError
from studio.files import cannot_write, move_whole, write_whole

TOKEN = re.compile(r"\d{10,12}-[0-9a-f]{12}")
TRASH_DAYS = 30
LIST = "what.json"


class Trash:
    """A folder of what was deleted. Args: root: it; datasets: where things come from and go back to."""

    def __init__(self, root: Path, datasets: Path) -> None:
        self.root, self.datasets = root, datasets

    def put(self, dataset: str, files: Sequence[str] = ()) -> str:
        """Move these files of a dataset here, or all of it; a token that brings them back. Raises: StorageError."""
        token = f"{int(time.time()):010d}-{secrets.token_hex(6)}"
        write_whole(self.root / token / LIST, json.dumps({"dataset": dataset, "files": list(files)}).encode())
        if files:
            for name in files:
                move_whole(self.datasets / dataset / name, self.root / token / "files" / name)
        else:
            move_whole(self.datasets / dataset, self.root / token / "files")
        return token

    def restore(self, token: str) -> tuple[str, tuple[str, ...]]:
        """Bring back what that token stands for: the dataset, and its files, none for all of it.

        Raises: MissingError, if it is not there any more; InvalidRequestError, if its place was taken; StorageError.
        """
        held = self.root / token
        try:
            what: Any = json.loads((held / LIST).read_bytes()) if TOKEN.fullmatch(token) else None
        except (OSError, ValueError):
            what = None
        if what is None:
            raise MissingError("That is not in the trash any more.", hint="Add the pictures again.")
        dataset, files = str(what["dataset"]), tuple(map(str, what["files"]))
        self._check_free(dataset, files)
        for name in files:
            if (held / "files" / name).exists():
                move_whole(held / "files" / name, self.datasets / dataset / name)
        if not files:
            move_whole(held / "files", self.datasets / dataset)
        with suppress(OSError):
            shutil.rmtree(held)
        return dataset, files

    def purge(self, deleted_before: float | None = None) -> int:
        """Remove for good what was deleted before that time (by default TRASH_DAYS ago); how many things."""
        limit = time.time() - TRASH_DAYS * 86_400 if deleted_before is None else deleted_before
        try:
            old = [one for one in self.root.iterdir() if TOKEN.fullmatch(one.name) and int(one.name[:10]) < limit]
            for one in old:
                shutil.rmtree(one)
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise cannot_write(self.root, error) from error
        return len(old)

    def _check_free(self, dataset: str, files: Sequence[str]) -> None:
        home = self.datasets / dataset
        taken = [name for name in files if (home / name).exists()] if files else [dataset] * home.exists()
        if taken:
            raise InvalidRequestError(
                f"There is {taken[0][:80]} again already.", field="undo", hint="Rename or delete that first."
            )

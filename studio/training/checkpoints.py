"""The state of a run on disk: whole or absent, the last two kept, plain tensors and JSON in one safetensors file."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from studio.engine.tensors import write_tensors
from studio.errors import InvalidRequestError, StorageError
from studio.training_params import TrainingParams

KEPT = 2
NAME = re.compile(r"step-(\d{7})\.safetensors")
# What may differ in a run that goes on: nothing of what was learned so far follows from it.
FREE = {"name", "steps", "save_every", "sample_every", "measure_every", "sample_prompts", "version"}
TENSOR, TUPLE, TABLE = "$tensor", "$tuple", "$table"


class Checkpoints:
    """The states of one run, in one folder."""

    def __init__(self, folder: Path, params: TrainingParams) -> None:
        self.folder, self.params = folder, params

    def write(self, step: int, state: Mapping[str, Any]) -> Path:
        """Keep a state: a tree of dicts, lists, tuples, plain values and tensors.

        Of the states before it one stays. Those of later steps, which a run went back from, go.

        Raises: StorageError, if the disk is full; the states before it are untouched then.
        """
        tensors: dict[str, Tensor] = {}
        tree = json.dumps(pack(dict(state), tensors))
        told = {"state": tree, "params": json.dumps(self.params.to_dict())}
        file = self.folder / f"step-{step:07d}.safetensors"
        write_tensors(file, {name: (tuple(value.shape), [value]) for name, value in tensors.items()}, told)
        files = self.files()
        place = files.index(file)
        for other in files[: max(0, place + 1 - KEPT)] + files[place + 1 :]:
            with suppress(OSError):
                other.unlink()
        return file

    def newest(self, *, but_one: bool = False) -> dict[str, Any] | None:
        """The last state that can be read, or None in a folder without one; but_one: rather the one before it.

        Raises: InvalidRequestError, if it was made with other settings; StorageError, if none can be read.
        """
        problems: list[str] = []
        files = self.files()
        for file in reversed(files[:-1] if but_one and len(files) > 1 else files):
            try:
                return self._read(file)
            except (SafetensorError, OSError, ValueError, KeyError) as error:
                problems.append(f"{file.name}: {error}")
        if problems:
            raise StorageError(
                f"No saved state of this run can be read ({problems[0]}).",
                hint="Start the run anew; what it had saved as results is still there.",
            )
        return None

    def files(self) -> list[Path]:
        """The states, the oldest first."""
        return sorted(file for file in self.folder.glob("step-*.safetensors") if NAME.fullmatch(file.name))

    def _read(self, file: Path) -> dict[str, Any]:
        with safe_open(file, "pt") as opened:
            told = opened.metadata()
            self._check(json.loads(told["params"]))
            tensors = {name: opened.get_tensor(name) for name in list(opened.keys())}
        return unpack(json.loads(told["state"]), tensors)

    def _check(self, made_with: Mapping[str, Any]) -> None:
        for name, value in self.params.to_dict().items():
            if name not in FREE and made_with.get(name, value) != value:
                raise InvalidRequestError(
                    f"The run was begun with {name} {made_with[name]!r}, and is to go on with {value!r}.",
                    field=name,
                    hint="Go on with the settings that it was begun with, or start a new run.",
                )


def pack(tree: Any, tensors: dict[str, Tensor]) -> Any:
    """The tree as JSON can hold it, its tensors moved into `tensors` under numbers."""
    if isinstance(tree, Tensor):
        name = str(len(tensors))
        tensors[name] = tree.detach()
        return {TENSOR: name}
    if isinstance(tree, dict):
        return {TABLE: [[key, pack(value, tensors)] for key, value in tree.items()]}
    if isinstance(tree, tuple):
        return {TUPLE: [pack(value, tensors) for value in tree]}
    return [pack(value, tensors) for value in tree] if isinstance(tree, list) else tree


def unpack(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    """What `pack` was given, each tensor a copy of its own."""
    if isinstance(tree, list):
        return [unpack(value, tensors) for value in tree]
    if not isinstance(tree, dict):
        return tree
    if TENSOR in tree:
        return tensors[tree[TENSOR]].clone()
    if TUPLE in tree:
        return tuple(unpack(value, tensors) for value in tree[TUPLE])
    return {key: unpack(value, tensors) for key, value in tree[TABLE]}

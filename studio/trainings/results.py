"""Results of a run: copied beside their place in the folders of models, then renamed."""

import os
import secrets
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from studio.errors import InvalidRequestError, MissingError
from studio.files import cannot_write
from studio.library.download.fetch import Arrived
from studio.library.download.names import FOLDERS
from studio.trainings.run import Plain, Run

KINDS = {  # what each method makes
    "lora": ("lora",),
    "dreambooth": ("checkpoint",),
    "inversion": ("embedding",),
    "pivotal": ("lora", "embedding"),
    "hypernetwork": ("hypernetwork",),
    "controlnet": ("controlnet",),
    "t2i_adapter": ("t2i_adapter",),
    "ip_adapter": ("ip_adapter",),
}
SUFFIXES = (".safetensors", ".pt", "")


def title(run_name: str, trigger: str, kind: str) -> str:
    """What a result is called: an embedding as the word that calls it."""
    return trigger if kind == "embedding" and trigger else run_name


def check_free(method: str, name: str, trigger: str, models: Path) -> None:
    """Raises: InvalidRequestError, if a model of that name is there already."""
    for kind in KINDS[method]:
        wanted, folder = title(name, trigger, kind), models / FOLDERS[kind]
        if _taken(folder, wanted):
            field = "trigger" if kind == "embedding" and trigger else "name"
            hint = f"Choose another name, such as {_free(folder, wanted)!r}."
            raise InvalidRequestError(f"There is a model {wanted} already.", field=field, hint=hint)


def place(run: Run, step: int, folder: Path, models: Path, arrived: Callable[[Arrived], Plain | None]) -> None:
    """Put what was saved at that step among the models, in the place of what the run had put there before.

    Raises: MissingError, if nothing was saved then; StorageError, and nothing is half-written.
    """
    save = next((one for one in run.saves if one["step"] == step), None)
    if save is None:
        steps = ", ".join(str(one["step"]) for one in run.saves) or "none"
        raise MissingError(f"Nothing was saved at step {step}.", hint=f"Saved steps: {steps}.")
    own = {str(one["path"]) for one in run.results}
    made = [_place(run, one, folder, models, own) for one in save["files"]]
    for result in made:
        row = arrived(Arrived(path=Path(result["path"]), kind=result["kind"], hashes={}))
        if row is None:
            run.warn(f"{Path(result['path']).name} was written, and the list of models does not know it.")
        result |= {"step": step, "key": (row or {}).get("key", ""), "name": (row or {}).get("name", result["name"])}
    for gone in own - {str(result["path"]) for result in made}:
        with suppress(OSError):
            Path(gone).unlink()
    run.results, run.kept = made, step


def _place(run: Run, file: Plain, folder: Path, models: Path, own: Iterable[str]) -> Plain:
    source, kind = folder / str(file["file"]), str(file["kind"])
    wanted, home = title(run.params.name, run.params.trigger, kind), models / FOLDERS[kind]
    target = home / f"{wanted}{source.suffix}"
    if str(target) not in own and _taken(home, wanted):
        target = home / f"{_free(home, wanted)}{source.suffix}"
        run.warn(f"There is a model {wanted} already, so the result is called {target.stem}.")
    copy_whole(source, target)
    return {
        "name": target.stem,
        "kind": kind,
        "layout": str(file.get("layout", "")),
        "path": str(target),
        "file": target.relative_to(models).as_posix(),
    }


def copy_whole(source: Path, target: Path) -> None:
    """A copy that is whole or absent, of a file or a folder. Raises: StorageError."""
    beside = target.with_name(f".{target.name[:40]}.{secrets.token_hex(6)}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, beside)
            shutil.rmtree(target, ignore_errors=True)
        else:
            shutil.copyfile(source, beside)
            with beside.open("rb+") as file:
                os.fsync(file.fileno())
        os.replace(beside, target)
    except OSError as error:
        raise cannot_write(target, error) from error
    finally:
        _remove(beside)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _taken(folder: Path, name: str) -> bool:
    return any((folder / f"{name}{suffix}").exists() for suffix in SUFFIXES)


def free_name(folder: Path, name: str) -> str:
    """That name, or with a number, if a model has it."""
    return _free(folder, name) if _taken(folder, name) else name


def _free(folder: Path, name: str) -> str:
    number = 2
    while _taken(folder, f"{name}-{number}"):
        number += 1
    return f"{name}-{number}"


def step_to_place(run: Run, event: dict[str, Any]) -> int | None:
    """The step whose save is the best one, or else the last; None if nothing was saved."""
    saved = [int(one["step"]) for one in run.saves]
    best = event.get("best_step")
    return best if best in saved else max(saved, default=None)

"""Name -> row tables, filled through the hooks by the built-ins and by extensions."""

import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import pluggy

from studio import annotators, builtin
from studio.errors import ExtensionError, InvalidRequestError
from studio.hookspecs import PROJECT, AnnotatorSpec, ControlKindSpec, Hooks, SchedulerSpec, TabSpec

PACKAGE = "maquette_extensions"


class Row(Protocol):
    """What every row has: the name that requests use."""

    @property
    def name(self) -> str: ...


@dataclass(frozen=True)
class Registry:
    """The tables by name. `extensions` are the names of those that loaded; `warnings` says why others did not."""

    schedulers: dict[str, SchedulerSpec] = field(default_factory=dict[str, SchedulerSpec])
    control_kinds: dict[str, ControlKindSpec] = field(default_factory=dict[str, ControlKindSpec])
    annotators: dict[str, AnnotatorSpec] = field(default_factory=dict[str, AnnotatorSpec])
    tabs: dict[str, TabSpec] = field(default_factory=dict[str, TabSpec])
    extensions: list[str] = field(default_factory=list[str])
    warnings: list[str] = field(default_factory=list[str])


def load_registry(extension_dirs: Sequence[Path] = ()) -> Registry:
    """Fill the tables from the built-ins, then from each extension in the folders, by name.

    An extension that fails is left out whole and named in `warnings`, so that one bad folder never stops the studio.
    """
    registry = Registry()
    for module in (builtin, annotators):
        register(registry, "built-ins", module)
    for folder in _extension_folders(extension_dirs):
        try:
            register(registry, folder.name, load_extension(folder))
            registry.extensions.append(folder.name)
        except ExtensionError as error:
            registry.warnings.append(error.sentence())
    return registry


def register(registry: Registry, name: str, module: ModuleType) -> None:
    """Add what a module's hooks return.

    Raises: ExtensionError, if a hook fails or a name is taken; nothing is added then.
    """
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(Hooks)
    manager.register(module, name)
    tables = {
        "scheduler": (registry.schedulers, SchedulerSpec, manager.hook.register_schedulers),
        "control kind": (registry.control_kinds, ControlKindSpec, manager.hook.register_control_kinds),
        "annotator": (registry.annotators, AnnotatorSpec, manager.hook.register_annotators),
        "tab": (registry.tabs, TabSpec, manager.hook.register_tabs),
    }
    found = {what: _rows(name, what, hook, row) for what, (_, row, hook) in tables.items()}
    for what, (table, _, _) in tables.items():
        _refuse_taken(name, what, table, found[what])
    for what, (table, _, _) in tables.items():
        table.update({row.name: row for row in found[what]})


def load_extension(folder: Path) -> ModuleType:
    """Import an extension's folder as `maquette_extensions.<folder>`. Raises: ExtensionError with the reason."""
    name = f"{PACKAGE}.{folder.name}"
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ExtensionError(f"The extension {folder.name} has no readable __init__.py.")
    sys.modules.setdefault(PACKAGE, ModuleType(PACKAGE))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with blamed(folder.name, "importing it"):
        spec.loader.exec_module(module)
    return module


def find_annotator(
    registry: Registry, name: str, ready: Callable[[AnnotatorSpec], bool] = lambda _row: True
) -> AnnotatorSpec:
    """The annotator of that name, or of the control kind of that name the first one that is ready, else the first.

    Raises: InvalidRequestError, saying which there are.
    """
    rows = registry.annotators
    alike = [row for row in rows.values() if row.kind == name]
    found = rows.get(name) or next(filter(ready, alike), next(iter(alike), None))
    if found is None:
        raise InvalidRequestError(
            f"There is no annotator {name[:40]!r}.", field="annotator", hint=f"Choose one of: {', '.join(rows)}."
        )
    return found


class blamed:  # noqa: N801  (a context manager, used like a function)
    """Turn whatever foreign code raises into an ExtensionError that names the extension."""

    def __init__(self, extension: str, doing: str) -> None:
        self.extension, self.doing = extension, doing

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, ExtensionError | KeyboardInterrupt | SystemExit):
            return
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise ExtensionError(
            f"The extension {self.extension} was left out: {self.doing} failed with {type(error).__name__}: {error} "
            f"({Path(last.filename).name}, line {last.lineno})."
        ) from error


def _extension_folders(dirs: Iterable[Path]) -> list[Path]:
    return [
        folder
        for root in dirs
        if root.is_dir()
        for folder in sorted(root.iterdir())
        if (folder / "__init__.py").is_file() and not folder.name.startswith((".", "_"))
    ]


def _rows(name: str, what: str, hook: Callable[[], list[list[Any]]], kind: type) -> list[Any]:
    with blamed(name, f"asking for its {what}s"):
        rows = [row for result in hook() for row in result]
    for row in rows:
        if not isinstance(row, kind):
            raise ExtensionError(f"The extension {name} was left out: its {what} {row!r:.60} is no {kind.__name__}.")
    return rows


def _refuse_taken(name: str, what: str, table: dict[str, Any], rows: Sequence[Row]) -> None:
    for row in rows:
        if row.name in table:
            raise ExtensionError(f"The extension {name} was left out: the {what} {row.name!r} exists already.")

"""Import gradio without its type stubs: a second faster, and no .pyi files beside the sources.

Gradio rewrites a stub for every component class on every import (gradio-app/gradio#7791); only editors use them.
"""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType

TARGET = "gradio.component_meta"


class _Loader(importlib.abc.Loader):
    """Loads the module as usual, then takes out the one function that writes stubs."""

    def __init__(self, usual: importlib.abc.Loader) -> None:
        self.usual = usual

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.usual.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.usual.exec_module(module)
        module.create_or_modify_pyi = _write_nothing


class _Finder(importlib.abc.MetaPathFinder):
    """Finds TARGET alone."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != TARGET:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


def install() -> None:
    """Call before gradio is imported for the first time; does nothing when it was imported already."""
    if TARGET not in sys.modules and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _write_nothing(*_args: object, **_options: object) -> None:
    return None

"""Modules that others import at their top and hardly ever use, loaded when something of them is used.

diffusers' schedulers import scipy.stats and scipy.integrate, for beta schedules and LMS alone, and transformers'
losses of object detectors take a function out of scipy.optimize: a second of every start on two cores.
importlib.util.LazyLoader does not do: the second `import` of a module asks for its spec, which loads it.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

MODULES: Mapping[str, Sequence[str]] = {
    "scipy.stats": (),
    "scipy.integrate": (),
    "scipy.optimize": ("linear_sum_assignment",),
}


class _Later(ModuleType):
    """Stands in a module's place until a name is taken out of it; names with two underscores load nothing.

    functions: Names that are taken out at an import, of functions: those load the module when they are called.
    """

    def __init__(self, name: str, functions: Sequence[str]) -> None:
        super().__init__(name)
        self.__dict__.update({function: _called_later(self, function) for function in functions})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_load(self), name)


def _called_later(module: ModuleType, name: str) -> Callable[..., Any]:
    return lambda *args, **kwargs: getattr(_load(module), name)(*args, **kwargs)


class _Loader(importlib.abc.Loader):
    def __init__(self, functions: Sequence[str]) -> None:
        self.functions = functions

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _Later(spec.name, self.functions)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing runs yet."""


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, modules: Mapping[str, Sequence[str]]) -> None:
        self.modules = dict(modules)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self.modules:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None:
            spec.loader = _Loader(self.modules[fullname])
        return spec


_lock = threading.Lock()


def install(modules: Mapping[str, Sequence[str]] = MODULES) -> None:
    """From now on, load these modules when something of them is used; those that are loaded stay as they are.

    modules: By name, the functions of each that are taken out of it at an import.
    """
    if wanted := {name: functions for name, functions in modules.items() if name not in sys.modules}:
        sys.meta_path.insert(0, _Finder(wanted))


def _load(module: ModuleType) -> ModuleType:
    """The real module, from now on in the other's place. Raises: ImportError, as its import does."""
    name = module.__name__
    with _lock:
        if sys.modules.get(name) is module:
            del sys.modules[name]
            for finder in sys.meta_path:
                if isinstance(finder, _Finder):
                    finder.modules.pop(name, None)
    return importlib.import_module(name)  # without the lock: another thread may import it by now, and need the lock

"""Every hook that an extension may implement, and the rows that hooks return.

An extension is a folder with an `__init__.py` under `extensions/` or `data/extensions/`. Its module-level functions
that carry `@hookimpl` are called once at start, in the web process and in the worker: keep torch and gradio out of
the module's top, and import them in the functions that need them. Built-ins use the same hooks (studio/builtin.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pluggy

PROJECT = "maquette"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

SIGMAS = ("default", "karras", "exponential", "beta")


@dataclass(frozen=True, kw_only=True)
class SchedulerSpec:
    """One scheduler.

    Fields:
        name: What requests call it, such as "dpmpp_2m".
        label: What the page and other programs call it, such as "DPM++ 2M".
        class_name: A scheduler class of diffusers, or "module:Class" for one that the extension brings.
        options: Keyword arguments beside those of the checkpoint's noise schedule.
        sigmas: Which spacings of the noise levels the class supports, of SIGMAS.
    """

    name: str
    label: str
    class_name: str
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    sigmas: tuple[str, ...] = ("default",)


@dataclass(frozen=True, kw_only=True)
class ControlKindSpec:
    """One kind of control image, such as "scribble": its name in requests, its label, what it means for a person."""

    name: str
    label: str
    description: str


@dataclass(frozen=True, kw_only=True)
class TabSpec:
    """A section of the page. `build(studio)` is called inside the page's layout, with gradio's Blocks open."""

    name: str
    label: str
    build: Callable[[Any], None]


class Hooks:
    """The hooks, by name."""

    @hookspec
    def register_schedulers(self) -> list[SchedulerSpec]:  # type: ignore[empty-body]
        """Schedulers to offer; a name that is taken already is refused."""

    @hookspec
    def register_control_kinds(self) -> list[ControlKindSpec]:  # type: ignore[empty-body]
        """Kinds of control images."""

    @hookspec
    def register_tabs(self) -> list[TabSpec]:  # type: ignore[empty-body]
        """Sections of the page, shown after ours in the order of registration."""

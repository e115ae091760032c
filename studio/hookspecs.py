"""Every hook that an extension may implement, and the rows that hooks return.

An extension is a folder with an `__init__.py` under `extensions/` or `data/extensions/`. Its module-level functions
that carry `@hookimpl` are called once at start, in the web process and in the worker: keep torch and gradio out of
the module's top, and import them in the functions that need them. Built-ins use the same hooks (studio/builtin.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pluggy

from studio.errors import InvalidRequestError
from studio.params import check_range

PROJECT = "maquette"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

SIGMAS = ("default", "karras", "exponential", "beta")
CAPTION = "caption"  # the kind of annotators that write words


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
class OptionSpec:
    """One slider of an annotator.

    Fields:
        name: A keyword argument of its `annotate`.
        label: What it means, in plain words.
        default, min, max, step: Of the slider; `annotate` refuses what is not from min to max.
        below: The option that this one must stay below, or "".
    """

    name: str
    label: str
    default: float
    min: float
    max: float
    step: float
    below: str = ""


@dataclass(frozen=True, kw_only=True)
class WeightsSpec:
    """A file of weights that an annotator opens, or a folder as transformers writes it.

    Fields:
        name: What it is called in a folder of annotators, such as "ControlNetHED.pth".
        repo: The repository of the Hugging Face Hub where it lies; "": it comes with the starter pack.
        file: Its path in there; "": the whole repository, which becomes a folder.
        megabytes: About how large it is, to be told before a download; 0 if unknown.
    """

    name: str
    repo: str = ""
    file: str = ""
    megabytes: float = 0


@dataclass(frozen=True, kw_only=True)
class AnnotatorSpec:
    """One way from a photo to a control map.

    Fields:
        name: What requests call it, such as "canny".
        label: What the page calls it.
        kind: The control kind that its maps are for; "caption" for one that says in words what a picture shows.
        module: Dotted path of a module with `annotate(image, **options)`, or "module:function". It makes of a PIL image
            of any mode and size an RGB one of the same size, always the same; one of the kind pose may return that
            and a list of people, each x, y, confidence of 18 joints in the picture's pixels (studio/skeleton.py); one
            of the kind caption returns a sentence. It raises ValueError for wrong options, StudioError for the rest.
            Only the worker imports it.
        options: Its sliders.
        needs: What has to be there first beside `weights`, in words; "" if it works at once.
        weights: What it opens: the function gets a keyword `weights` more, a studio.control.weights.Weights.
    """

    name: str
    label: str
    kind: str
    module: str
    options: tuple[OptionSpec, ...] = ()
    needs: str = ""
    weights: tuple[WeightsSpec, ...] = ()

    def complete(self, given: Mapping[str, Any]) -> dict[str, float]:
        """Every option, those that are not given at their defaults. Raises: InvalidRequestError, naming the option."""
        known = {option.name: option for option in self.options}
        for name, value in given.items():
            if name not in known:
                hint = f"It has: {', '.join(known)}." if known else "It has no options."
                raise InvalidRequestError(f"{self.label} has no option {name[:40]!r}.", field=name[:40], hint=hint)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InvalidRequestError(f"{name} must be a number, found {value!r:.60}.", field=name)
            check_range(name, value, known[name].min, known[name].max)
        chosen = {name: float(given.get(name, option.default)) for name, option in known.items()}
        for option in self.options:
            if option.below and chosen[option.name] >= chosen[option.below]:
                raise InvalidRequestError(
                    f"{option.name} is {chosen[option.name]:g}, which is not below {option.below}, "
                    f"{chosen[option.below]:g}.",
                    field=option.name,
                )
        return chosen


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
    def register_annotators(self) -> list[AnnotatorSpec]:  # type: ignore[empty-body]
        """Ways from a photo to a control map; the first one of a control kind is that kind's default."""

    @hookspec
    def register_tabs(self) -> list[TabSpec]:  # type: ignore[empty-body]
        """Sections of the page, shown after ours in the order of registration."""

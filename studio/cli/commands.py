"""From a parsed command line to its command and exit status: 0 done, 2 wrong use, 1 a job or a start that failed."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from studio.cli.parser import parse
from studio.cli.tools_parser import TOOLS
from studio.errors import (
    AssetError,
    BaseModelMismatchError,
    ForbiddenError,
    InvalidRequestError,
    ModelNotFoundError,
    StudioError,
)
from studio.settings import Settings, default_data_folder, load_settings

WRONG_USE = (InvalidRequestError, AssetError, ModelNotFoundError, BaseModelMismatchError, ForbiddenError)


@dataclass(frozen=True, kw_only=True)
class Programs:
    """What the wiring brings: each imports what it needs when it is called.

    Fields:
        serve: Settings and the flags of `serve` by name; the exit status.
        open_studio: A studio in this process, as a context manager; with worker=False it makes no pictures.
        bench: Settings and the flags of `bench` by name; the exit status.
        doctor: Settings, and whether to print JSON; the exit status.
    """

    serve: Callable[[Settings, Mapping[str, Any]], int]
    open_studio: Callable[..., Any]
    bench: Callable[[Settings, Mapping[str, Any]], int]
    doctor: Callable[[Settings, bool], int]


def run(arguments: Sequence[str], programs: Programs) -> int:
    """Run a command line. Whatever a person can put right is one line on stderr, never a traceback."""
    flags = parse(arguments)
    try:
        return dispatch(flags, programs)
    except StudioError as error:
        print(" ".join(error.sentence().split()), file=sys.stderr)
        return 2 if isinstance(error, WRONG_USE) else 1
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 1


def dispatch(flags: argparse.Namespace, programs: Programs) -> int:
    """Call the command."""
    if flags.command == "test":
        raise InvalidRequestError("The tests run through the launcher.", field="", hint="Use: python launch.py test")
    settings = settings_of(flags)
    match flags.command:
        case "serve":
            names = ("port", "listen", "share", "auth_file", "no_browser")
            options = {name: getattr(flags, name) for name in names} | {"auth": tuple(flags.auth)}
            return programs.serve(replace(settings, offline=flags.offline), options)
        case "generate" if flags.grid:
            from studio.cli.grid import generate_grid

            return generate_grid(flags, settings, programs.open_studio)
        case "generate":
            from studio.cli.generate import generate

            return generate(flags, settings, programs.open_studio)
        case "annotate":
            from studio.cli.annotate import annotate

            return annotate(flags, settings, programs.open_studio)
        case "train":
            from studio.cli.train import train

            return train(flags, settings, programs.open_studio)
        case "models" if flags.action == "add":
            from studio.cli.models_add import add_model

            return add_model(flags, settings)
        case "models" if flags.action == "convert":
            from studio.cli.models_convert import convert_model

            return convert_model(flags)
        case "models" if flags.action in TOOLS:
            from studio.cli.models_tools import use_tool

            return use_tool(flags, settings)
        case "models":
            from studio.cli.models import models

            return models(flags, settings)
        case "bench":
            names = ("suite", "json", "pack", "scenes", "pictures", "part")
            return programs.bench(settings, {name: getattr(flags, name) for name in names})
        case _:
            return programs.doctor(settings, flags.json)


def settings_of(flags: argparse.Namespace) -> Settings:
    """The settings that the common flags ask for."""
    for folder in flags.models_from:
        if not folder.is_dir():
            raise InvalidRequestError(f"--models-from {folder} is no folder.", field="models_from")
    data = flags.data or default_data_folder()
    return load_settings(data, device=flags.device, models_from=tuple(folder.resolve() for folder in flags.models_from))

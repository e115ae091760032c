"""`python -m studio`: the command line, wired to the studio. Each part is imported when its command runs."""

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from studio.cli.commands import Programs, run
from studio.settings import Settings

if TYPE_CHECKING:
    from studio.services import Studio


def serve(settings: Settings, options: Mapping[str, Any]) -> int:
    """Serve the page."""
    from studio.app import ServeOptions, serve

    return serve(settings, ServeOptions(**options))


def open_studio(settings: Settings, *, worker: bool = True) -> "AbstractContextManager[Studio]":
    """A studio in this process."""
    from studio.app import open_studio

    return open_studio(settings, worker=worker)


def bench(settings: Settings, flags: Mapping[str, Any]) -> int:
    """Measure."""
    from studio.bench.figures import Options
    from studio.bench.suites import run_suite

    told = {name: flags[name] for name in ("pack", "scenes", "pictures") if flags[name] is not None}
    return run_suite(settings, flags["suite"], flags["json"], Options(parts=tuple(flags["part"]), **told))


def doctor(settings: Settings, as_json: bool) -> int:
    """Look at the machine."""
    from studio.doctor import doctor

    return doctor(settings, as_json=as_json)


def main() -> int:
    """The exit status."""
    return run(sys.argv[1:], Programs(serve=serve, open_studio=open_studio, bench=bench, doctor=doctor))


if __name__ == "__main__":
    sys.exit(main())

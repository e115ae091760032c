"""The only wiring: settings -> stores -> jobs -> Studio -> page and routes. Torch is imported in the worker alone."""

import logging
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from logging.handlers import RotatingFileHandler
from multiprocessing.connection import Connection
from pathlib import Path

from studio.database import open_studio_database
from studio.errors import StudioError
from studio.gallery.assets import AssetStore
from studio.gallery.drafts import Drafts
from studio.gallery.index import Gallery
from studio.jobs.events import Events
from studio.jobs.queue import JobQueue
from studio.jobs.worker import Dispatcher
from studio.library.index import Library
from studio.messages import Hello
from studio.presets import load_presets
from studio.registry import load_registry
from studio.resolve import Resolver
from studio.services import Studio, result_saver
from studio.settings import BUILTIN, Settings

log = logging.getLogger("studio")


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """Flags of `serve`. port None: 7860, or the next free one; auth: "user:password" accounts."""

    port: int | None = None
    listen: bool = False
    share: bool = False
    auth_file: Path | None = None
    auth: tuple[str, ...] = ()
    no_browser: bool = False


def run_worker(connection: Connection) -> None:
    """The target of the worker process: import torch there, and nowhere else."""
    from studio.worker.process import main

    main(connection)


@contextmanager
def open_studio(settings: Settings) -> Generator[Studio]:
    """A studio whose worker runs until the block ends."""
    studio = build_studio(settings)
    studio.dispatcher.start()
    try:
        yield studio
    finally:
        studio.dispatcher.stop()


def build_studio(settings: Settings) -> Studio:
    """Open the stores and wire them; starts no process and no thread."""
    paths = settings.paths
    paths.create()
    write_log_files(paths.logs)
    database, warnings = open_studio_database(paths.studio_db)
    registry = load_registry(extension_dirs(settings))
    library, assets, events = Library(settings), AssetStore(paths.assets), Events()
    gallery = Gallery(paths, database)
    if warnings:
        count = gallery.rebuild()
        warnings.append(f"{count} pictures were listed again from their files.")
    presets, preset_warnings = load_presets([BUILTIN / "presets", paths.presets])
    jobs = JobQueue(database)
    dispatcher = Dispatcher(
        jobs,
        events,
        start_worker=run_worker,
        hello=Hello(
            assets=str(paths.assets),
            extensions=tuple(map(str, extension_dirs(settings))),
            device=settings.device,
            precision=settings.precision,
        ),
        locate=library.locate,
        on_result=result_saver(gallery, events.warn),
    )
    return Studio(
        settings=settings,
        registry=registry,
        library=library,
        gallery=gallery,
        assets=assets,
        drafts=Drafts(database),
        jobs=jobs,
        events=events,
        dispatcher=dispatcher,
        resolver=Resolver(library, registry, assets.exists),
        presets_found=presets,
        warnings=[*warnings, *preset_warnings],
    )


def extension_dirs(settings: Settings) -> list[Path]:
    """Our extensions, then the person's own."""
    return [BUILTIN / "extensions", settings.paths.extensions]


def write_log_files(folder: Path) -> None:
    """Everything that is logged goes to logs/studio.log, five files of at most 2 MB."""
    if any(isinstance(handler, RotatingFileHandler) for handler in log.handlers):
        return
    handler = RotatingFileHandler(
        folder / "studio.log", maxBytes=2_000_000, backupCount=4, encoding="utf-8", delay=True
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)


def serve(settings: Settings, options: ServeOptions) -> int:
    """Serve the page until Ctrl+C. Returns the exit status; a StudioError is one line on stderr."""
    try:
        _serve(settings, options)
    except StudioError as error:
        print(error.sentence(), file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _serve(settings: Settings, options: ServeOptions) -> None:
    raise NotImplementedError

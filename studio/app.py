"""The only wiring: settings -> stores -> jobs -> Studio -> page and routes. Torch is imported in the worker alone."""

import gc
import logging
import os
import shutil
import signal
import socket
import sys
import webbrowser
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from logging.handlers import RotatingFileHandler
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from studio.accounts import Accounts, read_account, read_accounts
from studio.database import open_studio_database
from studio.datasets.store import DatasetStore
from studio.errors import StartError, StudioError
from studio.gallery.assets import AssetStore
from studio.gallery.drafts import Drafts
from studio.gallery.index import Gallery
from studio.gallery.uploads import Uploads
from studio.importing import uncollected
from studio.jobs.events import Events
from studio.jobs.queue import JobQueue
from studio.jobs.worker import Dispatcher, Wiring
from studio.library.annotators import AnnotatorFiles
from studio.library.download.fetch import Places
from studio.library.download.ledger import Ledger
from studio.library.download.queue import Downloads
from studio.library.index import Library
from studio.library.notes import Notes
from studio.library.tools.runs import Tools
from studio.lock import StudioLock
from studio.messages import Hello
from studio.models import Models
from studio.outcome import job_view, result_saver
from studio.presets import load_presets
from studio.prompts.prepare import Sources
from studio.prompts.styles import Style, read_styles
from studio.prompts.wildcards import wildcard_files
from studio.registry import load_registry
from studio.resolve import Resolver
from studio.services import Studio
from studio.settings import BUILTIN, Settings
from studio.shelf import Shelf
from studio.stacks import SavedStacks
from studio.trainings.pictures import known_of, place_of
from studio.trainings.service import Places as TrainingPlaces
from studio.trainings.service import Trainings
from studio.warming import Warming

if TYPE_CHECKING:
    from fastapi import FastAPI

    from studio.api.guard import Policy

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
    """The target of the worker process: torch is imported there, and nowhere else."""
    from studio.worker.lines import last_words

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the web process, which ends the worker
    with last_words(connection):
        from studio.worker.process import main

        main(connection)


@contextmanager
def open_studio(settings: Settings, *, worker: bool = True) -> Generator[Studio]:
    """A studio that holds the data folder until the block ends, and meanwhile has a worker, unless it needs none."""
    settings.paths.create()
    with StudioLock(settings.paths.lock):
        studio = build_studio(settings)
        if worker:
            studio.dispatcher.start()
        try:
            yield studio
        finally:
            studio.trainings.close()
            studio.dispatcher.stop()


def build_studio(settings: Settings, *, look: bool = True) -> Studio:
    """Open the stores and wire them; starts no process and no thread.

    look: whether to look through the folders of models now; else the last scan's list is taken.
    """
    paths = settings.paths
    paths.create()
    write_log_files(paths.logs)
    database, warnings = open_studio_database(paths.studio_db)
    registry = load_registry(extension_dirs(settings))
    assets, events = AssetStore(paths.assets), Events()
    library = Library(settings, Notes(database), look=look, reading=tell_reading(events))
    gallery, models = Gallery(paths, database), Models(library, paths.thumbnails, events.publish)
    if warnings:
        warnings.append(f"{gallery.rebuild()} pictures were listed again from their files.")
    gallery.purge()
    presets, preset_warnings = load_presets([BUILTIN / "presets", paths.presets])
    jobs, datasets = JobQueue(database), build_datasets(settings)
    sources = partial(prompt_sources, paths.root)
    chosen = settings.preferences.checkpoint
    resolver = Resolver(library, registry, assets.exists, assets.open_image, chosen, sources)
    wiring = Wiring(
        start_worker=run_worker,
        hello=greeting(settings),
        locate=library.locate,
        save=result_saver(gallery),
        identified=models.identified,
        view=lambda job: job_view(job, gallery),
        preview_every=settings.preferences.preview_every,
        turbo=settings.preferences.turbo,
    )
    dispatcher = Dispatcher(jobs, events, wiring)
    studio = Studio(
        settings=settings,
        registry=registry,
        library=library,
        gallery=gallery,
        assets=assets,
        uploads=Uploads(database),
        drafts=Drafts(database),
        jobs=jobs,
        events=events,
        dispatcher=dispatcher,
        resolver=resolver,
        presets_found=presets,
        accounts=Accounts(database),
        models=models,
        shelf=Shelf(library),
        stacks=SavedStacks(paths.presets / "stacks"),
        downloads=build_downloads(settings, Ledger(database), events, models),
        tools=Tools(library, paths.models, device=settings.device, tell=events.publish, arrived=models.arrived),
        datasets=datasets,
        trainings=Trainings(training_places(settings, datasets, resolver, models, events), library, wiring.lease),
        warming=Warming(library=library, resolver=resolver, dispatcher=dispatcher, events=events),
        warnings=[*warnings, *preset_warnings],
    )
    models.ask = lambda path, mark: studio.dispatcher.identify(path, mark)
    return studio


def build_datasets(settings: Settings) -> DatasetStore:
    """The folders of pictures to train on, without what has lain in their trash for long."""
    root = settings.paths.root
    datasets = DatasetStore(settings.paths.datasets, settings.paths.trash / "datasets", root / "cache" / "datasets")
    datasets.trash.purge()
    return datasets


def build_downloads(settings: Settings, ledger: Ledger, events: Events, models: Models) -> Downloads:
    """What fetches models into the data folder, and lets the library know."""
    places = Places(models=settings.paths.models)
    return Downloads(places, offline=settings.offline, tell=events.publish, arrived=models.arrived, ledger=ledger)


def training_places(
    settings: Settings, datasets: DatasetStore, resolver: Resolver, models: Models, events: Events
) -> TrainingPlaces:
    """What trainings need of the studio around them."""
    paths = settings.paths
    return TrainingPlaces(
        runs=paths.training,
        models=paths.models,
        trash=paths.trash / "training",
        cache=paths.root / "cache",
        starter=BUILTIN / "assets" / "starter",
        device=settings.device,
        extensions=extension_dirs(settings),
        annotators=AnnotatorFiles.of(settings).folders,
        pictures=partial(known_of, datasets),
        dataset=partial(place_of, datasets),
        checkpoint=lambda name: resolver.checkpoint(name or None),
        arrived=models.arrived,
        tell=events.publish,
    )


def prompt_sources(data: Path) -> Sources:
    """What prompts draw from: wildcards/ and styles.csv of the data folder, as they are now."""

    def styles() -> dict[str, Style]:
        try:
            return read_styles((data / "styles.csv").read_text("utf-8", "replace"))
        except OSError:
            return {}

    return Sources(wildcard_files(data / "wildcards"), styles)


def greeting(settings: Settings) -> Hello:
    """What a worker is told before anything else."""
    return Hello(
        assets=str(settings.paths.assets),
        cache=str(settings.paths.root / "cache"),
        extensions=tuple(map(str, extension_dirs(settings))),
        annotators=tuple(map(str, AnnotatorFiles.of(settings).folders)),
        device=settings.device,
        precision=settings.preferences.precision,
    )


def tell_reading(events: Events) -> Callable[[str, int, int], None]:
    """Everybody hears how far a model is read for the first time: whoever asks for a picture waits for it."""

    def tell(name: str, done: int, total: int) -> None:
        events.publish({"type": "reading", "name": name, "done": done, "total": total})

    return tell


def extension_dirs(settings: Settings) -> list[Path]:
    """Our extensions, then the person's own."""
    return [BUILTIN / "extensions", settings.paths.extensions]


def write_log_files(folder: Path) -> None:
    """Everything that is logged goes to logs/studio.log, five files of at most 2 MB."""
    for handler in [h for h in log.handlers if isinstance(h, RotatingFileHandler)]:
        log.removeHandler(handler)
        handler.close()
    handler = RotatingFileHandler(
        folder / "studio.log", maxBytes=2_000_000, backupCount=4, encoding="utf-8", delay=True
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)


def serve(settings: Settings, options: ServeOptions) -> int:
    """Serve the page until Ctrl+C. Raises: StartError and StorageError, before anything is served."""
    from studio.server import listen_on

    if settings.offline and options.share:
        raise StartError("--share needs the network that --offline forbids.", hint="Leave one of the two out.")
    settings.paths.create()
    with StudioLock(settings.paths.lock) as lock:
        host = "0.0.0.0" if options.listen else "127.0.0.1"
        with listen_on(host, options.port) as listener:
            studio = build_studio(settings, look=False)
            studio.dispatcher.start()  # the worker imports torch while the page is built
            try:
                _serve(studio, options, listener, lock)
            finally:
                studio.events.close()
                studio.downloads.close()
                studio.tools.close()
                studio.trainings.close()
                studio.models.scanner.stop()
                studio.dispatcher.stop()
    gc.freeze()  # the process ends now: looking for garbage among gradio's objects would take seconds
    return 0


def _serve(studio: Studio, options: ServeOptions, listener: socket.socket, lock: StudioLock) -> None:
    from studio.api.guard import Policy, listening_hosts
    from studio.server import Server

    prepare_gradio(studio.settings)
    shared = options.listen or options.share or bool(options.auth or options.auth_file)
    accounts = studio.accounts if shared else None
    policy = Policy(accounts=accounts)
    if options.listen:
        policy.hosts, policy.any_address = listening_hosts(), True
    said = set_up_accounts(studio.accounts, options) if shared else []
    with suppress(StudioError):  # a courtesy: without a checkpoint the page says so itself
        studio.prefetch(controls=("scribble",))
    with uncollected():
        web = build_web(studio, policy)
    server = Server(web, listener)
    port = listener.getsockname()[1]
    address = f"http://127.0.0.1:{port}"

    def ready() -> None:
        lock.announce(port, studio.accounts.owner_key if shared else "")
        say(f"Studio ready at {address}")
        studio.models.scanner.start()
        studio.trainings.go_on()
        owner = f"{address}/?key={studio.accounts.owner_key}"
        for line in [*said, *([f"Open it as its owner: {owner}"] if shared else [])]:
            say(line)
        if not options.no_browser and not os.environ.get("CI"):
            webbrowser.open(owner if shared else address)
        if options.share:
            share(port, policy)

    try:
        server.serve(ready, studio.events.close)
    finally:
        if options.share:
            from studio.sharing import close_tunnels

            close_tunnels()


def build_web(studio: Studio, policy: "Policy") -> "FastAPI":
    """The whole web application: our routes, gradio's page at /, and the guard before both."""
    import gradio as gr

    from studio.api.guard import Guard
    from studio.api.routes import build_api
    from studio.ui import page

    api = build_api(studio)
    web = gr.mount_gradio_app(api, page.build(studio), path="/", **page.mount_options())
    web.add_middleware(Guard, policy=policy)
    return web


def prepare_gradio(settings: Settings) -> None:
    """What gradio must know before it is imported: no word to anybody, a cache folder of its own, emptied."""
    cache = settings.paths.page_cache
    shutil.rmtree(cache, ignore_errors=True)
    cache.mkdir(parents=True, exist_ok=True)
    os.environ.update(
        GRADIO_ANALYTICS_ENABLED="False",
        GRADIO_TEMP_DIR=str(cache),
        GRADIO_RUN_HISTORY="False",
        HF_HUB_OFFLINE="1",
        HF_HUB_DISABLE_TELEMETRY="1",
    )
    from studio.ui import fast_import

    fast_import.install()


def set_up_accounts(accounts: Accounts, options: ServeOptions) -> list[str]:
    """Store the accounts that were given; without any, make one. What to tell the person, once."""
    given = [read_account(text) for text in options.auth]
    if options.auth_file is not None:
        given += read_accounts(options.auth_file)
    if given:
        accounts.keep_only(given)
    made = accounts.ensure_one()
    if made is not None:
        return [f"Account made for guests: name {made.name}, password {made.password} (shown this once)."]
    return [f"Guests come in with their accounts: {', '.join(accounts.names())}."]


def share(port: int, policy: "Policy") -> None:
    """Open the share link and say it; without one the studio goes on."""
    from studio.sharing import open_tunnel

    try:
        url = open_tunnel(port, os.environ.get("STUDIO_SHARE_SERVER"))
    except StartError as error:
        say(error.sentence())
        return
    policy.hosts.add((urlsplit(url).hostname or "").lower())
    say(f"Shared at {url}")


def say(line: str) -> None:
    """A line for the person at the terminal."""
    print(line, file=sys.stdout, flush=True)  # noqa: T201

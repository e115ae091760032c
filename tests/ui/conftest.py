"""The page in a browser: the real application with a worker that only paints. STUDIO_URL points at another server."""

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from studio.ui import fast_import

fast_import.install()

from studio.access import LOCAL_USER  # noqa: E402
from studio.api.guard import Policy  # noqa: E402
from studio.app import build_studio, build_web  # noqa: E402
from studio.jobs.worker import Dispatcher  # noqa: E402
from studio.services import Studio  # noqa: E402
from studio.settings import BUILTIN, load_settings  # noqa: E402
from tests.ui import fake_worker  # noqa: E402

CHROMIUM = os.environ.get("STUDIO_CHROMIUM", "/usr/bin/chromium")
ARGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --process-per-site""".split()
READY = "#sketch-pad[data-ready]"
PATIENCE = 180_000  # ms: a machine that does other work, too, is no failure


@dataclass
class Served:
    """A running server; `studio` is None when it is somebody else's."""

    url: str
    studio: Studio | None


@dataclass
class Window:
    """A browser context that tests use in turn: what it fetched and compiled of the page stays, which saves half.

    Fields:
        context: Playwright's BrowserContext.
        anchor: A tab that shows next to nothing and keeps the window and its process (see ARGS) between the tests.
    """

    context: Any
    anchor: Any

    def forget(self) -> None:
        """Close what a test left open and delete what its pages stored, so that the next test cannot see it."""
        for page in self.context.pages:
            if page != self.anchor:
                page.close()
        self.context.clear_cookies()
        self.context.clear_permissions()
        self.anchor.evaluate("localStorage.clear()")  # in the process itself, which would hear of the next line late
        protocol = self.context.new_cdp_session(self.anchor)
        origin = self.anchor.evaluate("location.origin")
        protocol.send("Storage.clearDataForOrigin", {"origin": origin, "storageTypes": "all"})
        protocol.detach()


def fake_studio(folder) -> Studio:
    """The real stores and services with the painting worker."""
    studio = build_studio(load_settings(folder))
    wiring = replace(studio.dispatcher.wiring, start_worker=fake_worker.main)
    studio.dispatcher = Dispatcher(studio.jobs, studio.events, wiring)
    return studio


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[Served]:
    if url := os.environ.get("STUDIO_URL"):
        yield Served(url, None)
        return
    studio = fake_studio(tmp_path_factory.mktemp("studio"))
    studio.dispatcher.start()
    with serving(studio, Policy()) as url:
        yield Served(url, studio)
        studio.events.close()
    studio.dispatcher.stop()


@contextmanager
def serving(studio: Studio, policy: Policy) -> Iterator[str]:
    """The address of a server of that studio, which ends with the block."""
    import uvicorn

    config = uvicorn.Config(
        build_web(studio, policy), host="127.0.0.1", port=0, log_level="error", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    started = threading.Event()
    startup = server.startup

    async def note_start(sockets=None):
        await startup(sockets)
        started.set()

    server.startup = note_start
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert started.wait(PATIENCE / 1000)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(20)


@pytest.fixture
def stranger(served) -> Iterator[str]:
    """A checkpoint of a base model for which there is no control model at all."""
    if served.studio is None:
        pytest.skip("that is somebody else's server")
    folder = served.studio.settings.paths.models / "checkpoints" / "stranger"
    shutil.copytree(BUILTIN / "assets" / "starter" / "desk", folder)
    card = json.loads((folder / "card.json").read_text()) | {"name": "stranger", "base": "starter-00000000"}
    (folder / "card.json").write_text(json.dumps(card))
    served.studio.library.refresh()
    yield "stranger"
    shutil.rmtree(folder)
    served.studio.library.refresh()


@pytest.fixture(scope="session")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    if not os.path.exists(CHROMIUM):
        assert not os.environ.get("CI"), "browser tests need Chromium in CI"
        pytest.skip("there is no Chromium here; STUDIO_CHROMIUM names one")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def window(browser, served) -> Iterator[Window]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    anchor = context.new_page()
    anchor.goto(f"{served.url}/favicon.ico")
    yield Window(context, anchor)
    context.close()


@pytest.fixture
def visit(browser, served, window) -> Iterator[Callable]:
    """Open the page as a new visitor; afterwards: no page error, no request to anywhere else.

    The first visitor of a test has the module's window, others a context of their own. A test that changes a whole
    context (its permissions, routes or scripts) passes one.
    """
    contexts, errors, foreign = [], [], []

    def opened(context=None, *, width: int = 1280, height: int = 900, scheme: str = "light"):
        shape = {"width": width, "height": height}
        first = context is None and not contexts
        if context is None:
            context = window.context if first else browser.new_context(viewport=shape, color_scheme=scheme)
            contexts.append(context)
        page = context.new_page()
        if first:
            page.set_viewport_size(shape)
            page.emulate_media(color_scheme=scheme)
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on(
            "request", lambda r: None if r.url.startswith((served.url, "data:", "blob:")) else foreign.append(r.url)
        )
        page.goto(served.url)
        page.wait_for_selector(READY, state="attached")  # another tab may be in front
        return page

    yield opened
    for context in contexts[1:]:
        context.close()
    window.forget()
    if served.studio:  # what a failed test left running is in nobody's way
        for job in served.studio.list_jobs(LOCAL_USER, states=("queued", "running")):
            served.studio.cancel(job.id, LOCAL_USER)
    assert not errors
    assert not foreign


@pytest.fixture
def page(visit):
    return visit()

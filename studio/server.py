"""The web server: takes a port, says when the page answers, stops without a word on Ctrl+C."""

import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from studio.errors import StartError

FIRST_PORT, PORTS = 7860, 40
PATIENCE = 1  # seconds that open streams of gradio get when the studio stops


def listen_on(host: str, wanted: int | None) -> socket.socket:
    """A socket that is the studio's from now on: on the wanted port, or on the first free one from 7860 (0: any).

    Raises: StartError, naming the port and one that is free, if another program has it.
    """
    if wanted is not None:
        try:
            return _listen(host, wanted)
        except PermissionError as error:
            raise StartError(f"Port {wanted} needs an administrator's rights.", hint="Use one from 1024 on.") from error
        except OSError as error:
            raise StartError(f"Port {wanted} is taken by another program.", hint=_other_port(host)) from error
    for port in range(FIRST_PORT, FIRST_PORT + PORTS):
        try:
            return _listen(host, port)
        except OSError:
            continue
    raise StartError(f"The ports {FIRST_PORT} to {FIRST_PORT + PORTS - 1} are taken.", hint="Choose one with --port.")


class Server:
    """Serves an application on a socket until Ctrl+C, SIGTERM or `stop`."""

    def __init__(self, app: ASGIApp, listener: socket.socket) -> None:
        self._listener = listener
        self._config = uvicorn.Config(
            app,
            log_level="error",
            access_log=False,
            timeout_graceful_shutdown=PATIENCE,
            ws="none",
            lifespan="on",
            proxy_headers=False,  # the guard reads them, and trusts the share tunnel alone
        )
        self._server: _Uvicorn | None = None

    def serve(self, on_ready: Callable[[], None], on_stop: Callable[[], None]) -> None:
        """Serve. on_ready runs in a thread of its own once the page answers; on_stop before connections are closed."""
        self._server = _Uvicorn(self._config, on_ready, on_stop)
        said = logging.getLogger("uvicorn.error")
        level = said.level
        try:
            self._server.run(sockets=[self._listener])
        finally:
            said.setLevel(level)
            self._listener.close()

    def stop(self) -> None:
        """End `serve`, from any thread."""
        if self._server is not None:
            self._server.should_exit = True


class _Uvicorn(uvicorn.Server):
    """uvicorn that tells when it starts and stops, and does not send itself the signal that stopped it."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None], on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready, self._on_stop = on_ready, on_stop

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Stop; at the second Ctrl+C at once."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer, and say so."""
        await super().startup(sockets)
        threading.Thread(target=self._on_ready, name="ready", daemon=True).start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let go of the streams, then close what is left; streams that are cut off are no errors."""
        self._on_stop()
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        await super().shutdown(sockets)


def _listen(host: str, port: int) -> socket.socket:
    """Bound and listening: only then no other program can take the port. Raises: OSError."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        # Windows would let two programs share the port; elsewhere the option allows a restart at once.
        option = socket.SO_EXCLUSIVEADDRUSE if sys.platform == "win32" else socket.SO_REUSEADDR
        listener.setsockopt(socket.SOL_SOCKET, option, 1)
        listener.bind((host, port))
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


def _other_port(host: str) -> str:
    try:
        with listen_on(host, None) as free:
            return f"Leave --port out, or use --port {free.getsockname()[1]}."
    except StartError as error:
        return error.hint

"""The web server: finds a port, says when the page answers, stops without a word on Ctrl+C."""

import logging
import socket
import threading
import time
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from studio.errors import StartError

log = logging.getLogger("studio.server")
FIRST_PORT, PORTS = 7860, 40


def choose_port(host: str, wanted: int | None) -> int:
    """The port to serve on: the wanted one, or the first free one from 7860. Raises: StartError, if it is taken."""
    if wanted is not None:
        if not 0 <= wanted <= 65535:
            raise StartError(f"{wanted} is no port.", hint="Choose one from 1024 to 65535.")
        if wanted and not _free(host, wanted):
            raise StartError(
                f"Port {wanted} is taken by another program.",
                hint=f"Leave --port out, or use --port {choose_port(host, None)}.",
            )
        return wanted or _any_port(host)
    for port in range(FIRST_PORT, FIRST_PORT + PORTS):
        if _free(host, port):
            return port
    raise StartError(f"The ports {FIRST_PORT} to {FIRST_PORT + PORTS - 1} are taken.", hint="Choose one with --port.")


class Server:
    """uvicorn, told apart from its signals: `serve` runs until Ctrl+C or `stop`."""

    def __init__(self, app: FastAPI, host: str, port: int) -> None:
        self.host, self.port = host, port
        config = uvicorn.Config(
            app,
            host=host,
            port=port,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=3,
            ws="none",
            lifespan="on",
        )
        self._server = uvicorn.Server(config)

    def serve(self, on_ready: Callable[[], None], on_stop: Callable[[], None]) -> None:
        """Serve. on_ready runs in a thread of its own once the page answers; on_stop before connections are closed."""
        threading.Thread(target=self._when_ready, args=(on_ready,), daemon=True).start()
        handle_exit = self._server.handle_exit

        def stopping(signal: int, frame: object) -> None:
            on_stop()
            handle_exit(signal, frame)  # type: ignore[arg-type]

        self._server.handle_exit = stopping  # type: ignore[method-assign]
        try:
            self._server.run()
        except KeyboardInterrupt:
            log.info("stopped by Ctrl+C")

    def stop(self) -> None:
        """End `serve`, from any thread."""
        self._server.should_exit = True

    def _when_ready(self, on_ready: Callable[[], None]) -> None:
        while not self._server.started:
            if self._server.should_exit:
                return
            time.sleep(0.01)
        on_ready()


def _free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _any_port(host: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])

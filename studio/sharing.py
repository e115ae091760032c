"""The share link: gradio's tunnel to this machine. When it cannot be opened, the local page goes on."""

import logging
import secrets
from contextlib import redirect_stderr
from io import StringIO

import httpx

from studio.errors import StartError

log = logging.getLogger("studio.sharing")
HINT = "The page goes on locally; the link needs a network, and a program that gradio downloads once."


def open_tunnel(port: int, server_address: str | None = None) -> str:
    """The public address of the page on that port. Raises: StartError, saying why there is none.

    server_address: "host:port" of an frp server of your own; None for gradio's.
    """
    from gradio.exceptions import ChecksumMismatchError
    from gradio.networking import setup_tunnel

    said = StringIO()
    try:
        with redirect_stderr(said):  # the tunnel program's own words, for the log
            return setup_tunnel("127.0.0.1", port, secrets.token_urlsafe(32), server_address, None)
    except (OSError, RuntimeError, ValueError, httpx.HTTPError, ChecksumMismatchError) as error:
        log.warning("no share link: %r %s", error, said.getvalue())
        reason = str(error).partition("\n")[0].rstrip(".: ") or type(error).__name__
        raise StartError(f"A share link could not be opened: {reason}.", hint=HINT) from error


def close_tunnels() -> None:
    """End the tunnel programs of this process."""
    from gradio.tunneling import CURRENT_TUNNELS

    for tunnel in CURRENT_TUNNELS:
        if tunnel.proc is not None:
            tunnel.proc.terminate()
            tunnel.proc.wait()
            for stream in (tunnel.proc.stdout, tunnel.proc.stderr):
                if stream is not None:
                    stream.close()
            tunnel.proc = None
    CURRENT_TUNNELS.clear()

"""The share link: gradio's tunnel to this machine. When it cannot be opened, the local page goes on."""

import secrets

from studio.errors import StartError

HINT = "The page goes on locally; the link needs a network, and a program that gradio downloads once."


def open_tunnel(port: int, server_address: str | None = None) -> str:
    """The public address of the page on that port. Raises: StartError, saying why there is none.

    server_address: "host:port" of an frp server of your own; None for gradio's.
    """
    from gradio.networking import setup_tunnel

    try:
        return setup_tunnel("127.0.0.1", port, secrets.token_urlsafe(32), server_address, None)
    except (OSError, RuntimeError, ValueError, ConnectionError) as error:
        raise StartError(f"A share link could not be opened: {error}.", hint=HINT) from error

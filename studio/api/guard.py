"""The guard in front of every route, gradio's included: whose host, whose page, who asks, and what they may reach."""

import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from studio.access import LOCAL_USER, User
from studio.accounts import Accounts
from studio.api.entrance import Entrance

LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
NETWORK_SUFFIXES = ("", ".local", ".lan", ".home", ".home.arpa", ".internal", ".localdomain", ".fritz.box")
SELF = "'self' 'unsafe-inline' 'unsafe-eval' data: blob:"  # gradio builds its components with new Function
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "SAMEORIGIN",
    "Content-Security-Policy": (
        f"default-src {SELF}; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
    ),
}
KEPT = "private, max-age=31536000, immutable"  # gradio's assets: a file's name holds a hash of what is in it
# What a guest's page needs of gradio. The rest serves files, takes uploads, or shows what others did.
GUEST_PATHS = re.compile(
    r"/(api/v1/.*|config/?|(static|assets|svelte)/.*|favicon\.ico|theme\.css|robots\.txt|manifest\.json|pwa_icon(/.*)?"
    r"|gradio_api/(startup-events|app_id|login_check|user|info|theme\.css|queue/(join|data)|run/predict|heartbeat/[^/]+"
    r"|cancel|reset|component_server|custom_component/.*)/?)?"
)


@dataclass
class Policy:
    """What the guard goes by.

    Fields:
        accounts: None when only this machine can reach the studio: then every request is the owner's.
        hosts: Names under which the studio may be addressed; a share link adds its own.
        any_address: Whether bare IP addresses will do, as on a local network.
    """

    accounts: Accounts | None = None
    hosts: set[str] = field(default_factory=lambda: set(LOCAL_HOSTS))
    any_address: bool = False

    def knows(self, host: str) -> bool:
        """Whether a Host header names us. A page of some other name that resolves to us is not ours."""
        name = host_name(host)
        return name in self.hosts or (self.any_address and _is_address(name))


def user_of(request: Request) -> User:
    """Who asks, as the guard found out; without a guard there is no answer."""
    return request.state.user


def listening_hosts() -> set[str]:
    """The names of this machine on its network."""
    name = socket.gethostname().lower()
    return {*LOCAL_HOSTS, *(name + suffix for suffix in NETWORK_SUFFIXES)}


class Guard:
    """ASGI middleware; leaves the user in scope["state"]["user"]."""

    def __init__(self, app: ASGIApp, policy: Policy) -> None:
        self.app, self.policy = app, policy
        self.entrance = None if policy.accounts is None else Entrance(policy.accounts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, ask to log in, or pass on."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        user, answer = await self._judge(Request({**scope, "type": "http"}, receive))
        sending = _with_headers(send, scope["path"]) if scope["type"] == "http" else send
        if answer is None:
            scope.setdefault("state", {})["user"] = user
            await self.app(scope, receive, sending)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await answer(scope, receive, sending)

    async def _judge(self, request: Request) -> tuple[User | None, Response | None]:
        """The user, or why not as an answer."""
        if refused := self._foreign(request.headers, request.scope.get("method", "GET")):
            return None, refused
        if self.entrance is None:
            return LOCAL_USER, None
        user, answer = await self.entrance.who(request, address_of(request.scope, request.headers))
        if user is not None and user.role == "guest" and not GUEST_PATHS.fullmatch(request.scope["path"]):
            return None, _refusal("Guests cannot use this part of the studio.", "Ask the person who runs it.")
        return user, answer

    def _foreign(self, headers: Headers, method: str) -> Response | None:
        """A refusal, if the request does not come from a page of ours, from an address bar, or from a program."""
        host = headers.get("host", "")
        if not self.policy.knows(host):
            hint = "Use the address that it printed when it started."
            return _refusal(f"This studio does not answer to the name {host_name(host)[:100]!r}.", hint)
        origin = headers.get("origin")
        foreign = origin is not None and urlsplit(origin).netloc.lower() != host.lower()
        if foreign or (headers.get("sec-fetch-site") in ("cross-site", "same-site") and not _is_link(headers, method)):
            return _refusal("Another website tried to use this studio; that is refused.")
        return None


def host_name(host: str) -> str:
    """The name in a Host header, without its port, in lower case."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower().rstrip(".")
    except ValueError:
        return ""


def address_of(scope: Scope, headers: Headers) -> str:
    """Where a request comes from. Behind the share tunnel, which connects from here, the tunnel's header says."""
    client = scope.get("client")
    address = client[0] if client else "unknown"
    forwarded = headers.get("x-forwarded-for")
    if forwarded and address in LOCAL_HOSTS:
        return forwarded.rpartition(",")[2].strip()[:60]
    return address


def _is_link(headers: Headers, method: str) -> bool:
    """Whether a person followed a link of another website to a page of ours, as they may."""
    top = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return top and method in ("GET", "HEAD")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _refusal(detail: str, hint: str = "") -> Response:
    return JSONResponse({"detail": detail, "hint": hint}, 403)


def _with_headers(send: Send, path: str) -> Callable[[Message], Awaitable[None]]:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            if path.startswith("/api/"):
                headers.setdefault("Cache-Control", "no-store")
            elif path.startswith("/assets/") and message["status"] == 200:
                headers.setdefault("Cache-Control", KEPT)
        await send(message)

    return sending

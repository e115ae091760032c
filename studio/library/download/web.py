"""Requests to other machines. Every address is checked before it is connected to, on each redirect again."""

import ipaddress
import re
import socket
import ssl
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from urllib.request import getproxies, proxy_bypass

import httpx

from studio.errors import DownloadError, InvalidRequestError

Origin = tuple[str, str, int]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], list[str]]
URL_MAX, REDIRECTS = 4096, 8
TIMEOUT = httpx.Timeout(20.0, connect=15.0)
PORTS = {"http": 80, "https": 443}
NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address
COMPATIBLE = ipaddress.ip_network("::/96")  # RFC 4291: deprecated, and some systems still route it to IPv4
SHA256 = re.compile(r"[0-9a-f]{64}")
HEADERS = {"User-Agent": "maquette/1", "Accept": "*/*", "Accept-Encoding": "identity"}
PRIVATE_HINT = "Only the person at the studio's own machine may name such an address, and no other site may lead there."


class Interrupted(Exception):  # noqa: N818  it is no error yet: the request is made again
    """A connection that broke, or a server that asks for patience. wait: seconds that it asked for; 0 if it did not."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


@dataclass(frozen=True, kw_only=True)
class Route:
    """What holds for all requests of one download.

    Fields:
        trusted: Origins that the person named deliberately; their addresses may be private.
        token: Sent to `token_origin` alone, whatever redirects say.
    """

    trusted: frozenset[Origin] = frozenset()
    token: str = ""
    token_origin: Origin | None = None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The last of a chain of redirects, its body unread.

    Fields:
        linked: The Hub's checksum of the content (64 hex digits), told on the way; "" if it told none.
        linked_size: The Hub's size of it in bytes.
    """

    response: httpx.Response
    linked: str
    linked_size: int | None


class Web:
    """Streaming GETs. resolve: the addresses of a name; proxies: as urllib.request.getproxies gives them."""

    def __init__(
        self,
        resolve: Resolve | None = None,
        proxies: Mapping[str, str] | None = None,
        timeout: httpx.Timeout = TIMEOUT,
    ) -> None:
        self._client: httpx.Client | None = None
        self._transport = (resolve or resolve_name, getproxies() if proxies is None else proxies)
        self._timeout = timeout

    def close(self) -> None:
        """Close what is open."""
        if self._client is not None:
            self._client.close()
            self._client = None

    @contextmanager
    def get(self, url: str, route: Route, headers: Mapping[str, str] | None = None) -> Generator[Answer]:
        """The answer, after redirects; whatever its status is.

        Raises:
            DownloadError: an address that may not be reached, or redirects without end.
            Interrupted: nobody answers, or the connection broke; in the block, too.
        """
        linked, size = "", None
        try:
            for _ in range(REDIRECTS):
                response = self._send(checked_url(url), route, headers or {})
                try:
                    linked = linked or _checksum(response.headers.get("x-linked-etag", ""))
                    size = number(response.headers.get("x-linked-size")) if size is None else size
                    if (target := _redirect(response)) is None:
                        yield Answer(response=response, linked=linked, linked_size=size)
                        return
                    url = target
                finally:
                    response.close()
        except httpx.HTTPError as error:  # broken connections, timeouts, answers that are no HTTP
            raise Interrupted(f"{error}" or type(error).__name__) from error
        raise DownloadError(f"{host_of(url)} redirects without end.", hint="Copy the address of the file itself.")

    def _send(self, url: httpx.URL, route: Route, headers: Mapping[str, str]) -> httpx.Response:
        if self._client is None:  # made late: certificates take a moment to load
            self._client = httpx.Client(transport=Pinned(*self._transport), timeout=self._timeout, trust_env=False)
        sent = HEADERS | dict(headers)
        if route.token and origin_of(url) == route.token_origin:
            sent["Authorization"] = f"Bearer {route.token}"
        private = {"private": origin_of(url) in route.trusted}
        request = self._client.build_request("GET", url, headers=sent, extensions=private)
        return self._client.send(request, stream=True)


class Pinned(httpx.BaseTransport):
    """Connects to an address that was checked, not to what the name gives when it is looked up once more.

    Connections are not kept: one that was made for a name would serve another name of the same address.
    Through a proxy the proxy looks names up; those that this machine knows, too, are checked here.
    """

    def __init__(self, resolve: Resolve, proxies: Mapping[str, str]) -> None:
        self._resolve, self._proxies = resolve, proxies
        self._limits = httpx.Limits(max_keepalive_connections=0)
        self._direct = self._transport()
        self._through: dict[str, httpx.HTTPTransport] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Raises: DownloadError, for an address that is not public and was not named deliberately."""
        host = request.url.raw_host.decode("ascii")
        addresses = self._addresses(host, request)
        if proxy := self._proxy(request.url, addresses):
            if proxy not in self._through:
                self._through[proxy] = self._transport(proxy)
            return self._through[proxy].handle_request(request)
        if not addresses:
            raise httpx.ConnectError(f"there is no host {host}", request=request)
        return self._connect(host, addresses, request)

    def close(self) -> None:
        """Close what is open."""
        for transport in (self._direct, *self._through.values()):
            transport.close()

    def _transport(self, proxy: str | None = None) -> httpx.HTTPTransport:
        return httpx.HTTPTransport(verify=_certificates(), limits=self._limits, trust_env=False, proxy=proxy)

    def _addresses(self, host: str, request: httpx.Request) -> list[str]:
        try:
            found = self._resolve(host, request.url.port or PORTS[request.url.scheme])
        except (OSError, UnicodeError):  # UnicodeError: a label that is empty or too long
            return []
        if not request.extensions.get("private") and not all(is_public(address) for address in found):
            raise DownloadError(f"{host[:100]} is an address inside a private network.", hint=PRIVATE_HINT)
        return found

    def _proxy(self, url: httpx.URL, addresses: list[str]) -> str:
        proxy = self._proxies.get(url.scheme) or self._proxies.get("all") or ""
        local = any(ipaddress.ip_address(a.partition("%")[0]).is_loopback for a in addresses)
        if not proxy.startswith(("http://", "https://")) or local or proxy_bypass(url.host):
            return ""
        return proxy

    def _connect(self, host: str, addresses: list[str], request: httpx.Request) -> httpx.Response:
        """Try the addresses in turn; the certificate must still be that of the name."""
        failed: httpx.ConnectError | httpx.ConnectTimeout | None = None
        for address in addresses:
            pinned = httpx.Request(
                request.method,
                request.url.copy_with(host=address),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": host},
            )
            try:
                return self._direct.handle_request(pinned)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failed = error
        assert failed is not None
        raise failed


@cache
def _certificates() -> ssl.SSLContext:
    """Whom to believe; SSL_CERT_FILE and SSL_CERT_DIR are honoured. Loaded once: it takes a tenth of a second."""
    return httpx.create_ssl_context()


def resolve_name(host: str, port: int) -> list[str]:
    """The addresses of a name, in the system's order. Raises: OSError, if there are none."""
    rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(row[4][0]) for row in rows))


def is_public(text: str) -> bool:
    """Whether an address belongs to the whole internet: no loopback, private, link-local, multicast or reserved one.

    IPv4 addresses inside IPv6 ones (mapped, 6to4, NAT64) count as what they lead to.
    """
    address: Address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if address in COMPATIBLE or address.is_site_local or address.teredo:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def checked_url(text: str) -> httpx.URL:
    """The URL, without its fragment. Raises: InvalidRequestError, for anything but http and https without a login."""
    wrong = ""
    try:
        url = httpx.URL(text[: URL_MAX + 1])
        url.raw_host.decode("ascii")
    except (httpx.InvalidURL, ValueError) as error:  # ValueError: names that IDNA cannot write
        raise InvalidRequestError("That is no web address.", field="url", hint="Copy it from the browser.") from error
    if len(text) > URL_MAX:
        wrong = f"The address is longer than {URL_MAX} characters."
    elif url.scheme not in PORTS:
        wrong = f"An address begins with https:// or http://, not with {url.scheme[:20] or 'nothing'!r}."
    elif not url.host or (url.port is not None and not 0 < url.port < 65536):
        wrong = "The address names no host."
    elif url.userinfo:
        wrong = "The address holds a user name or password."
    if wrong:
        raise InvalidRequestError(wrong, field="url", hint="Give the address of a file, as a browser would open it.")
    return url.copy_with(fragment=None)


def origin_of(url: httpx.URL) -> Origin:
    """Scheme, host and port."""
    return url.scheme, url.raw_host.decode("ascii").lower(), url.port or PORTS.get(url.scheme, 0)


def host_of(url: str) -> str:
    """The host, for sentences."""
    return httpx.URL(url).host[:100]


def refuse_status(response: httpx.Response) -> None:
    """Pass on a success. Raises: Interrupted, for a status that may pass; DownloadError, for one that will not."""
    code, host = response.status_code, response.request.headers.get("host", "The server")[:100]
    if code in (200, 206):
        return
    said = f"{host} answered {code} {_phrase(code)}".rstrip() + "."
    if code in (408, 425, 429) or code >= 500:
        raise Interrupted(said, wait=float(number(response.headers.get("retry-after")) or 0))
    if code in (401, 403):
        hint = "It may need a login, or its terms accepted on its page; for the Hub, set HF_TOKEN and start again."
        raise DownloadError(f"{host} does not give that to strangers ({code} {_phrase(code)}).", hint=hint)
    raise DownloadError(said, hint="Check the name and the address; the file may have been moved or removed.")


def number(text: str | None) -> int | None:
    """A header's whole number, or None."""
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 19 else None


def _redirect(response: httpx.Response) -> str | None:
    """Where the answer leads, or None. Raises: DownloadError, for a step from https down to http."""
    place = response.headers.get("location")
    if response.status_code not in (301, 302, 303, 307, 308) or not place:
        return None
    try:
        url = response.request.url.join(place)
        checked_url(str(url))
    except (httpx.InvalidURL, ValueError, InvalidRequestError) as error:
        raise DownloadError("The server redirects to what is no web address.", hint="Try another source.") from error
    if response.request.url.scheme == "https" and url.scheme != "https":
        raise DownloadError(f"{host_of(str(url))} would be reached without encryption.", hint="Try another source.")
    return str(url)


def _checksum(text: str) -> str:
    """The sha256 in an ETag of the Hub; "" if it is something else."""
    found = text.removeprefix("W/").strip('"').lower()
    return found if SHA256.fullmatch(found) else ""


def _phrase(code: int) -> str:
    try:
        return HTTPStatus(code).phrase
    except ValueError:
        return ""

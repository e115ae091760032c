"""The entrance of a shared studio: sessions, the owner's key, passwords; the log-in page for who has none of them."""

import base64
import binascii
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from studio.access import LOCAL_USER, User
from studio.accounts import SESSION_SECONDS, Accounts
from studio.api.login import LOGIN_POLICY, login_page

COOKIE = "maquette_session"
LOGIN_MAX = 4096
WRONG = "The name or the password is wrong."
PRIVATE = {"Cache-Control": "no-store"}


class Entrance:
    """Finds out who asks. `address` is where the request comes from: guessing is slowed down for each."""

    def __init__(self, accounts: Accounts) -> None:
        self.accounts = accounts

    async def who(self, request: Request, address: str) -> tuple[User | None, Response | None]:
        """The user; or an answer: the log-in page, a way there, or a refusal."""
        path = request.scope["path"]
        if path == "/login":
            return None, await self._log_in(request, address)
        if path == "/logout":
            return None, await self._log_out(request)
        if path == "/" and (key := request.query_params.get("key")) is not None:
            return None, await self._enter_with_key(request, key)
        if token := request.cookies.get(COOKIE):
            user = await run_in_threadpool(self.accounts.session, token)
            if user is not None:
                return user, None
        return await self._program(request, address)

    async def _program(self, request: Request, address: str) -> tuple[User | None, Response | None]:
        """What programs send with each request: the owner's key as a bearer token, or a name and a password."""
        kind, _, value = request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self.accounts.owns(value.strip()):
            return LOCAL_USER, None
        if kind.lower() == "basic":
            user, wait = await run_in_threadpool(self.accounts.log_in_again, *_name_and_password(value), address)
            return (user, None) if user is not None else (None, _wrong(wait))
        return None, _ask(request)

    async def _log_in(self, request: Request, address: str) -> Response:
        if request.method != "POST":
            return _page("", 200)
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > LOGIN_MAX:
                return _page("That is too long.", 413)
        form = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
        name, password = (form.get(key, [""])[0] for key in ("name", "password"))
        user, wait = await run_in_threadpool(self.accounts.log_in, name, password, address)
        if user is not None:
            return await self._entered(request, user)
        if wait:
            return _page(f"{WRONG} Wait {_seconds(wait)} before the next try.", 429, {"Retry-After": _retry(wait)})
        return _page(WRONG, 401)

    async def _log_out(self, request: Request) -> Response:
        if token := request.cookies.get(COOKIE):
            await run_in_threadpool(self.accounts.close_session, token)
        response = RedirectResponse("/login", 303, PRIVATE)
        response.delete_cookie(COOKIE)
        return response

    async def _enter_with_key(self, request: Request, key: str) -> Response:
        if self.accounts.owns(key):
            return await self._entered(request, LOCAL_USER)
        return RedirectResponse("/login", 303, PRIVATE)

    async def _entered(self, request: Request, user: User) -> Response:
        token = await run_in_threadpool(self.accounts.open_session, user)
        response = RedirectResponse("/", 303, PRIVATE)
        secure = request.headers.get("x-forwarded-proto", request.url.scheme) == "https"
        secure = secure or request.headers.get("origin", "").startswith("https://")
        response.set_cookie(COOKIE, token, max_age=SESSION_SECONDS, httponly=True, samesite="lax", secure=secure)
        return response


def _name_and_password(credentials: str) -> tuple[str, str]:
    try:
        name, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return name, password


def _ask(request: Request) -> Response:
    """The log-in page for a person; for a program, which credentials it may send."""
    if request.scope.get("method") == "GET" and "text/html" in request.headers.get("accept", ""):
        return RedirectResponse("/login", 303, PRIVATE)
    hint = "Open the page in a browser, or send a name and a password by HTTP Basic."
    in_browser = "sec-fetch-mode" in request.headers  # the browser would show a box of its own
    headers = PRIVATE if in_browser else {**PRIVATE, "WWW-Authenticate": 'Basic realm="Maquette", charset="UTF-8"'}
    return JSONResponse({"detail": "Log in first.", "hint": hint}, 401, headers)


def _wrong(wait: float) -> Response:
    if wait <= 0:
        return JSONResponse({"detail": WRONG, "hint": "Try again."}, 401, PRIVATE)
    hint = f"Wait {_seconds(wait)} before the next try."
    return JSONResponse({"detail": WRONG, "hint": hint}, 429, {**PRIVATE, "Retry-After": _retry(wait)})


def _page(said: str, status: int, headers: dict[str, str] | None = None) -> Response:
    shared = {**PRIVATE, "Content-Security-Policy": LOGIN_POLICY}
    return HTMLResponse(login_page(said), status, {**shared, **(headers or {})})


def _retry(wait: float) -> str:
    return str(max(1, round(wait + 0.5)))


def _seconds(wait: float) -> str:
    whole = _retry(wait)
    return "a second" if whole == "1" else f"{whole} seconds"

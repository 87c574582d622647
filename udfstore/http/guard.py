"""The door of the HTTP front: which requests are let in, as whom, and what every answer carries.

Every request passes here before it is routed. What is refused here never reaches a route.
"""

from __future__ import annotations

import re
import secrets
import string
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any

import structlog
import trio
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response

from udfstore.admin import Can, MakeLink
from udfstore.errors import Corrupt, Denied, InternalError, NotFound, TimedOut, TooLarge, UdfstoreError, UsageError
from udfstore.http.house import House
from udfstore.http.problems import problem
from udfstore.model import Author, Caller, Claim
from udfstore.service.doors import WebSession
from udfstore.service.meters import CANCELLED, OK
from udfstore.service.rules import Right

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

COOKIE = "udfstore"
CSRF_HEADER = "x-csrf-token"
AUTHOR_HEADER = "udfstore-author"
REQUEST_HEADER = "x-request-id"

OPEN = ("/healthz", "/readyz", "/metrics")
"""Answered whatever the Host, and without a token: they tell no names to who has none."""

TELLING_NOTHING = ("/openapi.json", "/logout")
"""Of what is not below /v1/, what shows nothing of the store: all else is the page, for who may read everything."""

ASKING = ("/v1/blobs:missing",)
"""POST requests that change nothing; so do those that end in `:plan`."""

LEFT_BYTES = 1024 * 1024
LEFT_SECONDS = 2.0
"""What is read of a body that nobody wants, so that its sender sees the answer instead of a broken connection."""

SMALL_BYTES = 1024 * 1024
"""Of a request that is no content: 32 steps with notes and labels are well below."""

CONTENT = ("/v1/blobs", "/v1/uploads")
"""Where a body is content, of any size."""

_SAFE = {"GET", "HEAD", "OPTIONS"}
_METHODS = {"get", "head", "post", "put", "patch", "delete", "options"}
_THINGS = {
    *("blobs", "content", "info", "uploads", "tags", "history", "tasks", "sessions", "used", "status"),
    *("healthz", "readyz", "metrics", "openapi.json"),
    *("page", "login", "logout", "static", "find", "compare", "rollback", "udfs"),
}
_ID = set(string.ascii_letters + string.digits + "._-")
_ID_LENGTH = 64

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
"""On every answer that does not say otherwise (OWASP Secure Headers)."""


class Malformed(UsageError):
    """A request whose end others might see elsewhere: nothing behind it on its connection may be read."""


class NoToken(Denied):
    """Nobody said who asks, or with a token that is not known: to be answered with 401."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks. `can` None: nobody known. `web`: the session of a browser."""

    caller: Caller
    can: Can | None = None
    web: WebSession | None = None


class Guard:
    """Lets requests in. `hosts` are the names by which it may be asked, with port where one is needed; None: by any."""

    def __init__(
        self,
        app: App,
        house: House,
        hosts: Iterable[str] | None,
        progress_seconds: float,
        show: Callable[[UdfstoreError, Scope], Response | None] = lambda error, scope: None,
    ) -> None:
        """`show` makes the answer to an error for whoever does not read problem details; None: it leaves that."""
        self._app = app
        self._show = show
        self._house = house
        self._hosts = None if hosts is None else frozenset(host.lower() for host in hosts)
        self._seconds = progress_seconds
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["type"] != "http":
            return  # no web sockets here: the server answers 403 or 500 to who tries
        headers = Headers(scope=scope)
        request = _request_id(headers.get(REQUEST_HEADER, ""))
        conversation = _Conversation(scope, receive, send, request, self._seconds)
        with structlog.contextvars.bound_contextvars(request=request):
            began = time.perf_counter()
            call = self._house.service.meters.begin("http", _kind(scope))
            try:
                visitor = self._let_in(scope, headers)
                scope.setdefault("state", {}).update(visitor=visitor, caller=visitor.caller, request_id=request)
                await self._app(_routed(scope), conversation.receive, conversation.send)
            except Exception as error:  # noqa: BLE001 - the one place where every error becomes an answer
                await self._fail(error, scope, conversation)
            finally:
                self._house.service.meters.ended(call, conversation.outcome)
                tell = self._log.info if conversation.status >= 400 else self._log.debug
                tell(
                    "request",
                    method=scope["method"],
                    path=scope["path"],
                    status=conversation.status,
                    ms=round((time.perf_counter() - began) * 1000, 1),
                )

    async def _fail(self, error: Exception, scope: Scope, conversation: _Conversation) -> None:
        while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        if isinstance(error, Corrupt):
            self._log.error("stored content is damaged", reason=str(error))
        if not isinstance(error, UdfstoreError):
            self._log.error("a request failed unexpectedly", path=scope["path"], exc_info=error)
            error = InternalError(f"a bug in the server ({type(error).__name__}); its log has the details")
        conversation.outcome = error.code.value
        if conversation.status:
            raise Broken from error  # an answer that has begun can only be cut off
        answer = self._show(error, scope) or answer_of(error, scope)
        await answer(scope, conversation.receive, conversation.send)

    # --- who and what ---

    def _let_in(self, scope: Scope, headers: Headers) -> Visitor:
        """Refuse what must not go further; else who asks."""
        _check_target(scope, headers)
        path = scope["path"]
        if path in OPEN:
            try:
                return self._known(scope, headers)
            except NoToken:
                if path == "/metrics":  # who gives a token there wants names, and has to be told that there are none
                    raise
                return Visitor(Caller(Author("http"), listener="http"))
        self._check_host(headers)
        _check_origin(headers)
        if path == "/login" or path.startswith("/static/"):
            return self._known(scope, headers)
        visitor = self._known(scope, headers)
        needed = _needed(scope["method"], path)
        if visitor.can is None:
            raise NoToken("say who you are: a token in `Authorization: Bearer …`, or log in with `udfstore web`")
        if not visitor.can.covers(needed):
            right = Right.WRITE if needed is Can.WRITE else Right.READ
            self._house.service.gate.refuse(visitor.caller, right, path, "its token")
            raise Denied("this token may not do that", expected=needed.value, got=visitor.can.value)
        if not path.startswith("/v1/"):
            if path not in TELLING_NOTHING:
                self._house.service.gate.check(visitor.caller, MakeLink())
        elif visitor.web is not None and scope["method"] not in _SAFE:
            check_csrf(visitor.web, headers.get(CSRF_HEADER, ""))
        return visitor

    def _known(self, scope: Scope, headers: Headers) -> Visitor:
        service = self._house.service
        claim = _claim(headers.get(AUTHOR_HEADER, ""))
        given = headers.get("authorization", "")
        if given:
            scheme, _, secret = given.partition(" ")
            token = service.tokens.find(secret.strip()) if scheme.lower() == "bearer" else None
            if token is None:
                raise NoToken("this token is not known here, or was revoked")
            return Visitor(Caller(Author("http", token=token.name, claim=claim), listener="http"), token.can)
        web = service.doors.session(_cookie(headers))
        if web is not None:
            return Visitor(web.caller, Can.WRITE, web)
        return Visitor(Caller(Author("http"), listener="http"))

    def _check_host(self, headers: Headers) -> None:
        hosts = headers.getlist("host")
        if self._hosts is None:
            raise NotFound(f"nothing else is served here than {', '.join(OPEN)}")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            got = ", ".join(hosts) or "none"
            raise Denied(
                "this server does not answer by that name; add it with --http-hosts",
                expected=", ".join(sorted(self._hosts)),
                got=got,
            )


class Broken(Exception):
    """The answer cannot be finished: the connection has to end."""


class _Conversation:
    """The two ways of one request: a deadline on what comes, headers on what goes."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, request: str, seconds: float) -> None:
        self.status = 0
        self.outcome = CANCELLED
        """How the request ended, as the metrics have it."""
        self._receive = receive
        self._send = send
        self._request = request
        self._seconds = seconds
        self._over = scope["method"] in {"GET", "HEAD"} and not _has_body(scope)
        """Whether the body was read to its end."""
        self._left = None if _is_content(scope["path"]) else SMALL_BYTES
        """What may still come of a body that has to be small; None: it has not."""

    async def receive(self) -> Message:
        """The next of the request. A body that stands still is a `TimedOut`; what comes after it may take for ever."""
        if self._over:
            return await self._receive()
        with trio.move_on_after(self._seconds) as scope:
            message = await self._receive()
        if scope.cancelled_caught:
            self._over = True  # nobody waits for the rest
            raise TimedOut("the body of the request does not go on", expected=f"within {self._seconds:g} s")
        self._over = message["type"] != "http.request" or not message.get("more_body", False)
        if self._left is not None:
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                raise TooLarge("the body of this request is too large", expected=f"at most {SMALL_BYTES} bytes")
        return message

    async def send(self, message: Message) -> None:
        """The next of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers[REQUEST_HEADER] = self._request
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        elif not message.get("more_body", False):
            if not self._over:
                await self._send({**message, "more_body": True})
                message = {"type": message["type"], "body": b"", "more_body": False}
                await self._read_rest()
            if self.outcome == CANCELLED:
                self.outcome = OK if self.status < 400 else f"http-{self.status}"
        await self._send(message)

    async def _read_rest(self) -> None:
        left = LEFT_BYTES
        with trio.move_on_after(LEFT_SECONDS):
            while not self._over and left > 0:
                message = await self._receive()
                self._over = message["type"] != "http.request" or not message.get("more_body", False)
                left -= len(message.get("body", b""))


def answer_of(error: UdfstoreError, scope: Scope) -> Response:
    """What a browser or a program is told of an error."""
    if isinstance(error, NoToken):
        return problem(error, status=401, headers={"WWW-Authenticate": 'Bearer realm="udfstore"'})
    if isinstance(error, Malformed):
        return problem(error, headers={"Connection": "close"})
    return problem(error)


def check_csrf(web: WebSession, given: str) -> None:
    """Refuse a change that a page of ours did not ask for (`Denied`)."""
    if not secrets.compare_digest(web.csrf.encode(), given.encode(errors="replace")):
        raise Denied("this change was not asked for from a page of this server; reload the page")


async def end_with_reader(receive: Receive, scope: trio.CancelScope) -> None:
    """Cancel what is being sent when nobody reads it any more."""
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def _routed(scope: Scope) -> Scope:
    """The request as a route is found for it: HEAD asks as GET does, but where its answer is another or has no end.

    That its body is left out is the server's business.
    """
    path: str = scope["path"]
    own = _is_content(path) or path.startswith("/v1/content/") or path == "/v1/events"
    return scope if scope["method"] != "HEAD" or own else {**scope, "method": "GET"}


def _request_id(given: str) -> str:
    """The caller's name for the request if it is one that may stand in a log, else a new one."""
    fits = 0 < len(given) <= _ID_LENGTH and _ID.issuperset(given)
    return given if fits else secrets.token_hex(8)


def _kind(scope: Scope) -> str:
    """What the metrics call a request: its method and the kind of thing that it is about, of a fixed set of words."""
    first, _, rest = scope["path"].removeprefix("/").partition("/")
    thing = re.split(r"[/:]", rest, maxsplit=1)[0] if first == "v1" else first or "page"
    if thing == "events":
        return thing
    method = scope["method"].lower()
    return f"{method if method in _METHODS else 'other'}-{thing if thing in _THINGS else 'other'}"


def _is_content(path: str) -> bool:
    return any(path == place or path.startswith(f"{place}/") for place in CONTENT)


def _has_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return "content-length" in headers or "transfer-encoding" in headers


def _check_target(scope: Scope, headers: Headers) -> None:
    raw: bytes = scope.get("raw_path") or b""
    if not raw.startswith(b"/"):
        raise Malformed("a request names a path", expected="/…", got=raw[:80].decode("latin-1"))
    if "content-length" in headers and "transfer-encoding" in headers:
        raise Malformed("a request has either Content-Length or Transfer-Encoding")
    path: str = scope["path"]
    if "�" in path or any(ord(character) < 32 or ord(character) == 127 for character in path):
        raise UsageError("a path is UTF-8 without control characters", got=raw[:80].decode("latin-1"))


def _check_origin(headers: Headers) -> None:
    """A page of another site may not ask anything here, whoever is logged in."""
    host = headers.get("host", "").lower()
    for origin in headers.getlist("origin"):
        if origin.lower() not in (f"http://{host}", f"https://{host}"):  # https: behind a proxy
            raise Denied("requests from pages of other sites are refused", got=origin[:80])


def _needed(method: str, path: str) -> Can:
    if method in _SAFE or (method == "POST" and (path in ASKING or path.endswith(":plan"))):
        return Can.READ
    return Can.WRITE


def _claim(said: str) -> Claim:
    raw = said.encode("latin-1")  # what stands in a header has no coding; people send UTF-8
    try:
        person = raw.decode()
    except UnicodeDecodeError:
        person = said
    return Claim(person=person).check() if person else Claim()


def _cookie(headers: Headers) -> str:
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return cookie.value if cookie else ""

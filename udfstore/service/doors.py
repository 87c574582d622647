"""How browsers get in: links that work once, and the sessions that they begin. Plain data, for any thread.

Nothing of it outlives the server. Of codes and cookies only hashes are kept.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from udfstore.admin import Link
from udfstore.errors import Unsupported
from udfstore.model import Author, Caller

LINK_SECONDS = 5 * 60
SESSION_SECONDS = 12 * 60 * 60
"""After its last use."""

LINKS = 100
SESSIONS = 100
"""At most so many at once; the one that was used longest ago goes first."""

_SECOND = 1_000_000_000

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class WebSession:
    """A browser that is logged in: on whose behalf it asks, and the token that its forms send along.

    `cookie` is the secret that the browser holds.
    """

    caller: Caller
    cookie: str = field(repr=False)
    csrf: str = field(repr=False)


class Doors:
    """The open links and sessions of one server. `clock` gives nanoseconds that never go back.

    `url` is where the HTTP front answers, without a slash at its end; empty while there is none.
    """

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.url = ""
        self._clock = clock
        self._lock = threading.Lock()
        self._links = _Passing[Caller](LINKS, LINK_SECONDS)
        self._sessions = _Passing[WebSession](SESSIONS, SESSION_SECONDS)

    def link(self, caller: Caller) -> Link:
        """A link that logs a browser in once, on behalf of `caller`. Raises `Unsupported` while there is no HTTP."""
        if not self.url:
            raise Unsupported(
                "no browser finds this server: start it with --http HOST:PORT, or behind a proxy with --http-url too"
            )
        code = secrets.token_urlsafe(32)
        with self._lock:
            self._links.put(_hash(code), caller, self._clock())
        return Link(f"{self.url}/login?code={code}", LINK_SECONDS)

    def open(self, code: str) -> WebSession | None:
        """Begin a session with the code of a link, which is then worth nothing; None: it is worth nothing now."""
        key = _hash(code)
        with self._lock:
            now = self._clock()
            asked = self._links.get(key, now)
            if asked is None:
                return None
            self._links.drop(key)
            who = asked.author
            author = Author("http", who.uid, who.gids, -1, "web", claim=who.claim)
            cookie = secrets.token_urlsafe(32)
            session = WebSession(Caller(author, listener=asked.listener), "", secrets.token_urlsafe(32))
            self._sessions.put(_hash(cookie), session, now)
        return replace(session, cookie=cookie)

    def session(self, cookie: str) -> WebSession | None:
        """The session of a cookie, which is used by this; None: there is none, or not any more."""
        key = _hash(cookie)
        with self._lock:
            now = self._clock()
            session = self._sessions.get(key, now)
            if session is None:
                return None
            self._sessions.put(key, session, now)
        return replace(session, cookie=cookie)

    def lasts(self, cookie: str) -> bool:
        """Whether a cookie is still that of a session, which is not used by this."""
        with self._lock:
            return self._sessions.get(_hash(cookie), self._clock()) is not None

    def close(self, cookie: str) -> None:
        """End the session of a cookie, if there is one."""
        with self._lock:
            self._sessions.drop(_hash(cookie))


class _Passing(Generic[Value]):
    """Values by the hash of a secret, the one put longest ago first; each passes `seconds` after it was put."""

    def __init__(self, most: int, seconds: int) -> None:
        self._most = most
        self._life = seconds * _SECOND
        self._values: OrderedDict[bytes, tuple[Value, int]] = OrderedDict()

    def put(self, key: bytes, value: Value, now: int) -> None:
        self._values[key] = value, now + self._life
        self._values.move_to_end(key)
        while len(self._values) > self._most:
            self._values.popitem(last=False)

    def get(self, key: bytes, now: int) -> Value | None:
        while self._values and next(iter(self._values.values()))[1] <= now:
            self._values.popitem(last=False)
        found = self._values.get(key)
        return None if found is None else found[0]

    def drop(self, key: bytes) -> None:
        self._values.pop(key, None)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).digest()

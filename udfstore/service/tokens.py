"""Who may ask over HTTP: named tokens, of which only hashes are kept. See FORMAT.md, Tokens.

For any thread. This process is the only writer, so what was read once is kept in memory, and `find` never waits.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from udfstore.admin import TOKEN_NAME, Can, NewToken, Token, check_token_name
from udfstore.errors import Busy, Conflict, Corrupt, NotFound, Unsupported
from udfstore.store import osfs

VERSION = 1
FIRST = "http-token"
"""The name of the token that is made with HTTP, and whose secret lies in a file."""

PREFIX = "udfs_"
"""Of every secret, by which people and scanners of code know one."""

TOKENS = 1000
"""Each request is compared with all of them."""

_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
_KEYS = {"name", "can", "added", "hash"}


@dataclass(frozen=True, slots=True)
class _Kept:
    token: Token
    hash: bytes


class Tokens:
    """The tokens of one store. A damaged file is told (`Corrupt`) by whatever needs it, and not by the store's start.

    `path` is that of tokens.json, `first_path` that of the first token's secret; `clock` gives nanoseconds since 1970.
    """

    def __init__(self, path: Path, first_path: Path, clock: Callable[[], int] = time.time_ns) -> None:
        self._path = path
        self._first_path = first_path
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[str, _Kept] | None = None
        """By name; never changed, but replaced as a whole. None: not read yet."""

    def add(self, name: str, can: Can) -> NewToken:
        """Make a token. Raises `Conflict` when the name is taken, `Busy` when there are too many."""
        check_token_name(name)
        with self._lock:
            kept = self._read()
            if name == FIRST:
                raise Conflict(f"{FIRST} is the name of the first token, which a start with HTTP makes; choose another")
            if name in kept:
                raise Conflict(f"there is a token {name} already; remove it first, or choose another name")
            if len(kept) >= TOKENS:
                raise Busy("there are as many tokens as there can be", expected=f"at most {TOKENS}")
            return self._make(name, can)

    def remove(self, name: str) -> Token:
        """Revoke a token, at once. Raises `NotFound`."""
        with self._lock:
            kept = self._read()
            if name not in kept:
                raise NotFound(f"there is no token {name!r:.80}")
            self._write({other: one for other, one in kept.items() if other != name})
            return kept[name].token

    def list(self) -> list[Token]:
        """All tokens, by name."""
        return [one.token for _, one in sorted(self._now().items())]

    def named(self, name: str) -> Token | None:
        """The token of a name; None: there is none."""
        one = self._now().get(name)
        return one.token if one is not None else None

    def find(self, secret: str) -> Token | None:
        """The token of a secret; None: there is none. Takes the same time whichever it is."""
        hash, found = _hash(secret), None
        for one in self._now().values():
            if hmac.compare_digest(one.hash, hash):
                found = one.token
        return found

    def first(self) -> bool:
        """Make the first token, in its file, if there is no such file. False: the file's secret lets nobody in.

        That is so once the token was removed or the file changed; without the file the next start makes a new one.
        """
        path = self._first_path
        with self._lock:
            kept = self._read()
            if path.exists():
                with osfs.telling(f"reading {path}"):
                    secret = path.read_text(encoding="utf-8", errors="replace").strip()
                return FIRST in kept and hmac.compare_digest(kept[FIRST].hash, _hash(secret))
            secret = self._make(FIRST, Can.WRITE).secret
            with osfs.telling(f"writing {path}"):
                osfs.replace_file(path, f"{secret}\n".encode())
            return True

    def _now(self) -> dict[str, _Kept]:
        if self._kept is not None:
            return self._kept
        with self._lock:
            return self._read()

    def _read(self) -> dict[str, _Kept]:
        if self._kept is None:
            self._kept = _parse(self._path)
        return self._kept

    def _make(self, name: str, can: Can) -> NewToken:
        secret = PREFIX + base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")
        token = Token(name, can, self._clock())
        self._write({**self._read(), name: _Kept(token, _hash(secret))})
        return NewToken(token, secret)

    def _write(self, kept: dict[str, _Kept]) -> None:
        with osfs.telling(f"writing {self._path}"):
            osfs.replace_file(self._path, _render(kept))
        self._kept = kept


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).digest()


def _render(kept: dict[str, _Kept]) -> bytes:
    tokens = [
        {"name": name, "can": one.token.can.value, "added": one.token.added_ns, "hash": one.hash.hex()}
        for name, one in sorted(kept.items())
    ]
    return (json.dumps({"version": VERSION, "tokens": tokens}, indent=1) + "\n").encode()


def _parse(path: Path) -> dict[str, _Kept]:
    """What the file holds; nothing if it is not there. Raises `Corrupt`, or `Unsupported` for a newer version."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise Corrupt(f"{path} cannot be read, so nobody gets in by a token: {error.strerror}") from error
    try:
        value = json.loads(text)
        version = value["version"]
        tokens = [_one(token) for token in value["tokens"]] if version == VERSION else []
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(path) from error
    if isinstance(version, int) and version > VERSION:
        raise Unsupported(f"{path} is of a newer udfstore; use that", expected=f"version {VERSION}", got=version)
    kept = {one.token.name: one for one in tokens}
    if version != VERSION or len(kept) != len(tokens):
        raise _damaged(path)
    return kept


def _one(value: dict[str, Any]) -> _Kept:
    if set(value) != _KEYS:
        raise ValueError("a token with other keys")
    name, added, hash = value["name"], value["added"], value["hash"]
    if type(added) is not int or TOKEN_NAME.fullmatch(name) is None or _HASH.fullmatch(hash) is None:
        raise ValueError("a token that is none")
    return _Kept(Token(name, Can(value["can"]), added), bytes.fromhex(hash))


def _damaged(path: Path) -> Corrupt:
    return Corrupt(
        f"{path} is damaged, so nobody gets in by a token; restore it from a backup, or remove it and make new tokens"
    )

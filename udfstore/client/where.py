"""Where the server is: the one place of the client that reads the environment.

A socket that is named beats everything; then $UDFSTORE_SOCKET, the server of $UDFSTORE_ROOT, and the usual places.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from udfstore.errors import UsageError
from udfstore.model import Claim
from udfstore.refs import Ref

SERVICE_SOCKET = Path("/run/udfstore/udfstore.sock")

PINS = "UDFSTORE_PINS"
"""The variable that holds followers of tags at versions: the same hour under the old model, with nothing changed."""


def default_root(environ: Mapping[str, str] = os.environ) -> Path:
    """The root of a store that nobody named: $UDFSTORE_ROOT, else in the user's data folder (XDG base directories)."""
    named = environ.get("UDFSTORE_ROOT")
    if named:
        return Path(named)
    data = environ.get("XDG_DATA_HOME")
    if data:
        return Path(data) / "udfstore"
    try:
        return Path.home() / ".local" / "share" / "udfstore"
    except RuntimeError:
        raise UsageError("this user has no home folder: name the root with --root or $UDFSTORE_ROOT") from None


def socket_in(root: Path) -> Path:
    """The socket of a server that has no better place for it."""
    return root / "run" / "udfstore.sock"


def sockets(environ: Mapping[str, str] = os.environ) -> list[Path]:
    """Where a server's socket may be, the most likely place first."""
    named = environ.get("UDFSTORE_SOCKET")
    if named:
        return [Path(named)]
    if environ.get("UDFSTORE_ROOT"):
        return [socket_in(default_root(environ))]
    runtime = environ.get("XDG_RUNTIME_DIR")
    own = [Path(runtime) / "udfstore" / "udfstore.sock"] if runtime else []
    return [SERVICE_SOCKET, *own, socket_in(default_root(environ))]


def claim(environ: Mapping[str, str] = os.environ) -> Claim:
    """What $UDFSTORE_AUTHOR says: a person, or `person=…,host=…,job=…,commit=…`."""
    said = environ.get("UDFSTORE_AUTHOR", "")
    if "=" not in said:
        return Claim(person=said)
    parts = dict(part.strip().partition("=")[::2] for part in said.split(","))
    return Claim(**{name: parts.get(name, "") for name in ("person", "host", "job", "commit")})


def pins(text: str | None = None) -> dict[str, int]:
    """The versions that followers of tags are held at: `TAG@VERSION …` in $UDFSTORE_PINS, or in `text`.

    Raises `UsageError`.
    """
    held: dict[str, int] = {}
    for word in (os.environ.get(PINS, "") if text is None else text).split():
        ref = Ref.parse(word)
        if ref.tag is None or ref.version is None or ref.version < 1:
            raise UsageError("not a pin", expected="TAG@VERSION", got=repr(word[:80]))
        held[ref.tag.name] = ref.version
    return held


def environment_of(pins: Mapping[str, int]) -> dict[str, str]:
    """The variable that tells a child of its pins; empty without any."""
    return {PINS: " ".join(f"{tag}@{version}" for tag, version in pins.items())} if pins else {}

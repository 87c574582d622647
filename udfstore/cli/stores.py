"""Which store a command means."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from udfstore.client.remote import Store
    from udfstore.local import LocalStore


def opened(
    root: Path | None, socket: Path | None, *, create: bool = False, configured: bool = False
) -> Store | LocalStore:
    """The store that the flags name, else the environment, else the usual places. `create` makes a root's store.

    `configured`: a store without a server has the rules of retention that a server would read from its configuration.
    """
    if root is not None and socket is None:
        from udfstore.local import open_store

        if not configured:
            return open_store(root, create=create)
        from udfstore.server import config

        return open_store(root, create=create, retention=config.read({}, config.find()).retention)
    from udfstore.client.remote import connect

    return connect(socket)


def words(root: Path | None, socket: Path | None) -> str:
    """The flags that lead another command to the same store."""
    if socket is not None:
        return f" --socket {shlex.quote(str(socket))}"
    return f" --root {shlex.quote(str(root))}" if root is not None else ""

"""The way to a server that may be away, and notes of what was stored there.

A note is a small file that says that a task and node has a state: a start without a server then waits for it instead
of beginning fresh in silence. It lies in a folder of this user's and is of help, not of need.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import structlog
import trio

from udfstore.aio import AsyncStore, connect
from udfstore.client.retry import Retry
from udfstore.errors import Closing, NoServer, UdfstoreError
from udfstore.model import Claim
from udfstore.tasks import NOWHERE, Place

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Shelter:
    """The way to one server, shared by all hosts of this process; an async context manager that closes what it gave.

    `sockets` are where the server may be, as `client.where.sockets()` gives them; `notes` is the folder of the notes,
    None: none are kept.
    """

    def __init__(self, sockets: Sequence[Path], claim: Claim | None = None, notes: Path | None = None) -> None:
        self.sockets = tuple(sockets)
        self._claim = claim
        self._notes = notes
        self._stores: set[AsyncStore] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        while self._stores:
            await self._stores.pop().aclose()

    async def leave(self, store: AsyncStore) -> None:
        """Close a store that `reach` gave."""
        self._stores.discard(store)
        await store.aclose()

    async def reach(self, patience: float, place: Place = NOWHERE) -> AsyncStore:
        """A store of the caller's own, tried for so many seconds. Raises `NoServer`."""
        retry = Retry(trio.current_time, lambda: patience)
        while True:
            failure: UdfstoreError = NoServer("nobody said where a server may be")
            for path in self.sockets:
                try:
                    store = await connect(path, claim=self._claim, place=place)
                    self._stores.add(store)
                    return store
                except (NoServer, Closing) as error:
                    failure = error
            await trio.sleep(retry.delay(failure))

    # --- notes ---

    def has_note(self, task: str, node: str) -> bool:
        """Whether a state of that node was stored before."""
        path = self._note(task, node)
        return path is not None and path.exists()

    def note(self, task: str, node: str) -> None:
        """A state of that node was stored."""
        path = self._note(task, node)
        if path is None or path.exists():
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"task": task, "node": node}) + "\n")
        except OSError as error:
            _log.info("no note of the state could be made", path=str(path), error=str(error))

    def _note(self, task: str, node: str) -> Path | None:
        """Named by a digest: two names of 128 bytes, escaped, do not fit into one of a file."""
        digest = hashlib.sha256(f"{task}\0{node}".encode()).hexdigest()
        return None if self._notes is None else self._notes / f"{digest}.json"

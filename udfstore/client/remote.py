"""A store behind a server's socket, for ordinary threads."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from udfstore import calls
from udfstore.client import arguments, operations, where
from udfstore.client.base import BaseStore
from udfstore.client.blocking import BlockingLink, Stopped
from udfstore.client.conversation import ConnectionLost, Conversation
from udfstore.client.files import LazilySpooled, OpenBlob
from udfstore.client.link import connect as connect_socket
from udfstore.client.operations import Operation, Take
from udfstore.client.retry import PATIENCE_SECONDS, Retry
from udfstore.client.sources import Source
from udfstore.client.watching import Watching
from udfstore.digest import BlobId
from udfstore.errors import Closing, Conflict, NoServer, UsageError
from udfstore.model import BlobInfo, Claim, Event
from udfstore.refs import Ref, Tag


def connect(socket_path: str | os.PathLike[str] | None = None, *, claim: Claim | None = None) -> Store:
    """Connect to the server of this machine.

    Without a path: $UDFSTORE_SOCKET, the server of $UDFSTORE_ROOT, then the usual places. The first connect never
    waits: `NoServer` names every place tried. A connection that is lost later is tried again for 30 s. `claim` says who
    is asking, as shown beside entries; without it $UDFSTORE_AUTHOR does.
    """
    paths = where.sockets() if socket_path is None else [Path(socket_path)]
    return Store(paths, where.claim() if claim is None else claim)


class Store(BaseStore):
    """A store behind a server's socket; see `BaseStore` for what it can do."""

    def __init__(self, paths: Iterable[Path], claim: Claim) -> None:
        self._paths = list(paths)
        self._claim = claim
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._pid = os.getpid()
        self._store_id = b""
        self._link: BlockingLink | None = None
        self._link = self._connect()

    def close(self) -> None:
        self._closed.set()
        if self._link is not None and self._pid == os.getpid():
            self._link.close()

    @property
    def epoch(self) -> int:
        """The store's epoch, as the server told it when it was last connected to."""
        welcome = self._link.talk.welcome if self._link else None
        return welcome.epoch if welcome else 0

    @property
    def revision(self) -> int:
        """The newest revision when the server was last connected to."""
        welcome = self._link.talk.welcome if self._link else None
        return welcome.revision if welcome else 0

    def open(self, ref: Ref | BlobId | Tag | str) -> OpenBlob:
        return OpenBlob(_RemoteBlob(self, self.stat(ref)))

    # --- one connection after the other ---

    def _connect(self) -> BlockingLink:
        link = BlockingLink(connect_socket(self._paths), self._claim)
        welcome = link.talk.welcome
        assert welcome is not None
        if self._store_id and welcome.store_id != self._store_id:
            link.close()
            raise Conflict(
                "another store answers at the socket now; connect anew",
                expected=self._store_id.hex(),
                got=welcome.store_id.hex(),
            )
        self._store_id = welcome.store_id
        return link

    def _linked(self, retry: Retry, wait: Callable[[float], bool] | None = None) -> BlockingLink:
        """The connection, made anew if it was lost. Waits, outside of the lock, as long as `retry` allows."""
        while True:
            with self._lock:
                if self._closed.is_set():
                    raise UsageError("this store was closed")
                if self._link is not None and self._pid != os.getpid():
                    self._link.abandon()
                    self._link, self._pid = None, os.getpid()
                if self._link is not None and not self._link.lost:
                    return self._link
                if self._link is not None:
                    self._link.close()
                try:
                    self._link = self._connect()
                except (NoServer, ConnectionLost) as error:
                    failure = error
                else:
                    return self._link
            retry.failed(failure, wait or self._closed.wait)

    def _run(self, start: Callable[[Conversation], Operation], repeat: Callable[[], bool] = lambda: True) -> Any:
        retry = Retry(time.monotonic)
        while True:
            link = self._linked(retry)
            try:
                return link.run(partial(start, link.talk))
            except (ConnectionLost, Closing) as error:
                if self._closed.is_set() or not repeat():
                    raise
                retry.failed(error, self._closed.wait)

    # --- what the API asks for ---

    def _ask(self, call: calls.PlainCall) -> calls.Result:
        result: calls.Result = self._run(lambda talk: operations.ask(talk, call))
        return result

    def _save(self, source: Source, call: calls.Save, commit: calls.Commit) -> calls.Saved:
        result = self._run(lambda talk: operations.save(talk, call, source.read, commit), source.rewind)
        return arguments.answer(result, calls.Saved)

    def _load(self, call: calls.Load, begin: Callable[[calls.Loading], Take]) -> calls.Loading:
        head: calls.Loading = self._run(lambda talk: operations.load(talk, call, begin))
        return head

    def _items(self, call: calls.StreamCall) -> Iterator[calls.Item]:
        retry = Retry(time.monotonic)
        told = False
        while True:
            link = self._linked(retry)
            try:
                for items in link.iterate(partial(operations.pages, link.talk, call)):
                    told = True
                    yield from items  # type: ignore[misc]
                return
            except (ConnectionLost, Closing) as error:
                if told or self._closed.is_set():
                    raise  # the list may have changed: only the caller can begin anew
                retry.failed(error, self._closed.wait)

    def _watch(
        self, call: calls.Watch, stopped: Callable[[], bool] | None = None, patience: float = PATIENCE_SECONDS
    ) -> Iterator[Event]:
        def called_off() -> bool:
            return self._closed.is_set() or (stopped is not None and stopped())

        def wait(seconds: float) -> bool:
            return self._closed.wait(seconds) or called_off()

        watching = Watching(call)
        while not called_off():
            retry = Retry(time.monotonic, patience)
            try:
                link = self._linked(retry, wait)
                start = partial(operations.pages, link.talk, watching.call(self.epoch))
                for items in link.iterate(start, None, called_off):
                    yield from watching.new(items)
            except (ConnectionLost, Closing, NoServer) as error:
                if called_off():
                    return
                if isinstance(error, NoServer):
                    raise
                retry.failed(error, wait)
            except Stopped:
                return

    def _wake(self) -> None:
        if self._link is not None:
            self._link.wake()


class _RemoteBlob(LazilySpooled):
    """A blob that is loaded in ranges."""

    def __init__(self, store: Store, info: BlobInfo) -> None:
        super().__init__(info)
        self._store = store

    def fetch(self, offset: int, length: int, take: Callable[[memoryview], object]) -> None:
        taken = 0

        def begin(head: calls.Loading) -> Take:
            nonlocal taken
            passed, taken = taken, 0

            def go_on(data: memoryview) -> None:
                nonlocal passed, taken
                fresh = data[min(passed, len(data)) :]  # a repeat after a lost connection tells the same bytes again
                passed -= len(data) - len(fresh)
                taken += len(data)
                take(fresh)

            return go_on

        self._store._load(calls.Load(Ref.of(self.info.id), offset, length), begin)

    def verify(self) -> None:
        self._store.verify(self.info.id)

"""A store behind a server's socket, for ordinary threads."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from udfstore import calls
from udfstore.client import arguments, operations, where
from udfstore.client.base import BaseStore
from udfstore.client.blocking import BlockingLink
from udfstore.client.conversation import ConnectionLost, Conversation
from udfstore.client.files import FileBlob, LazilySpooled, OpenBlob
from udfstore.client.link import PASSES_DESCRIPTORS
from udfstore.client.link import connect as connect_socket
from udfstore.client.member import GiveState, Member, TakeState
from udfstore.client.operations import Operation, Take
from udfstore.client.retry import Retry, never, nothing, usual
from udfstore.client.sources import Source
from udfstore.client.watching import Watching
from udfstore.digest import BlobId
from udfstore.errors import Closing, Conflict, NoServer, UdfstoreError, UsageError
from udfstore.model import BlobInfo, Claim, Event
from udfstore.refs import Ref, Tag
from udfstore.tasks import NOWHERE, Node, Place


def connect(
    socket_path: str | os.PathLike[str] | None = None,
    *,
    claim: Claim | None = None,
    place: Place = NOWHERE,
    descriptors: bool = True,
) -> Store:
    """Connect to the server of this machine.

    Without a path: $UDFSTORE_SOCKET, the server of $UDFSTORE_ROOT, then the usual places. The first connect never
    waits: `NoServer` names every place tried. A connection that is lost later is tried again for 30 s. `claim` says who
    is asking, as shown beside entries; without it $UDFSTORE_AUTHOR does. `place` is the node of a task that the caller
    works for, said in the records of what it takes into use. With `descriptors` open files are passed instead of
    content, where that is possible.
    """
    paths = where.sockets() if socket_path is None else [Path(socket_path)]
    return Store(paths, where.claim() if claim is None else claim, place, descriptors=descriptors)


class Store(BaseStore):
    """A store behind a server's socket; see `BaseStore` for what it can do."""

    def __init__(
        self,
        paths: Iterable[Path],
        claim: Claim,
        place: Place = NOWHERE,
        *,
        now: bool = True,
        descriptors: bool = True,
    ) -> None:
        """`now`: connect at once; else when something is asked for."""
        super().__init__()
        self._paths = list(paths)
        self._claim = claim
        self._members: weakref.WeakSet[Member] = weakref.WeakSet()
        self._place = place
        self._descriptors = descriptors and PASSES_DESCRIPTORS
        self._closed = False
        self._store_id = b""
        self._link: BlockingLink | None = None
        self._begin()
        if now:
            self._link = self._connect()
        _stores.add(self)

    def _begin(self) -> None:
        self._link = None
        self._lock = threading.Lock()
        """Held while the connection is made anew."""
        self._idle = threading.Condition()
        """Where threads wait between two tries."""

    def close(self) -> None:
        self._closed = True
        for member in list(self._members):
            member.abandon()
        self._wake()
        if self._link is not None:
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

    def _open(self, ref: Ref | BlobId | Tag | str, called_off: Callable[[], bool] = never) -> OpenBlob:
        info, file = self._run(lambda talk: operations.find(talk, Ref.of(ref)), called_off)
        if file is None:
            return OpenBlob(_RemoteBlob(self, info, called_off))
        return OpenBlob(FileBlob(info, file, partial(report, self._paths, self._claim, info.id)))

    # --- one connection after the other ---

    def _connect(self, node: Node | None = None) -> BlockingLink:
        link = self._dial(node)
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

    def _dial(self, node: Node | None) -> BlockingLink:
        place = NOWHERE if node else self._place
        talk = Conversation(self._claim, node, place, descriptors=self._descriptors)
        return BlockingLink(connect_socket(self._paths), talk)

    def _forked(self) -> None:
        """In the child of a fork: the connection is the parent's, the next call makes one of its own."""
        link = self._link
        self._begin()
        if link is not None:
            link.abandon()
        for member in list(self._members):
            member._forked()

    def _linked(self, retry: Retry, called_off: Callable[[], bool] = never) -> BlockingLink:
        """The connection, made anew if it was lost. Waits, outside of the lock, as long as `retry` allows."""
        while True:
            with self._lock:
                if self._link is not None and not (self._link.lost or self._closed):
                    retry.linked()
                    return self._link
                if self._link is not None:
                    self._link.close()
                if self._closed:
                    raise UsageError("this store was closed")
                try:
                    self._link = self._connect()
                except NoServer as error:
                    failure = error
                else:
                    continue  # and look whether it was closed meanwhile
            self._pause(retry, failure, called_off)

    def _pause(self, retry: Retry, error: UdfstoreError, called_off: Callable[[], bool] = never) -> None:
        """Wait before another try. Raises `error` when there shall be none."""
        delay = retry.delay(error)
        with self._idle:
            if self._idle.wait_for(lambda: self._closed or called_off(), delay):
                raise error

    def _run(
        self,
        start: Callable[[Conversation], Operation],
        called_off: Callable[[], bool] = never,
        repeat: Callable[[], object] = lambda: None,
    ) -> Any:
        retry = Retry(time.monotonic)
        while True:
            link = self._linked(retry, called_off)
            try:
                return link.run(partial(start, link.talk), called_off)
            except (ConnectionLost, Closing) as error:
                if self._closed:
                    raise
                repeat()
                self._pause(retry, error, called_off)

    def _join(self, node: Node, snapshot: TakeState, restore: GiveState) -> Member:
        member = Member(self, node, snapshot, restore)
        self._members.add(member)
        if self._link is not None and any(follower.reported for follower in list(self._followers)):
            self._link.close()  # or the server would go on to show there what from now on is the node's
        return member

    # --- what the API asks for ---

    def _ask(self, call: calls.PlainCall, called_off: Callable[[], bool] = never) -> calls.Result:
        result: calls.Result = None
        if isinstance(call, calls.Used):  # by the nodes that this store joined as, if there are any
            for member in [member for member in list(self._members) if member.lives]:
                result = member.used(call)
        if result is None:
            result = self._run(lambda talk: operations.ask(talk, call), called_off)
        return result

    def _save(self, source: Source, call: calls.Save, commit: calls.Commit) -> calls.Saved:
        def save(talk: Conversation) -> Operation:
            return operations.save(talk, call, source.read, commit, source.handed)

        result = self._run(save, repeat=source.rewind)
        return arguments.answer(result, calls.Saved)

    def _load(
        self, call: calls.Load, begin: Callable[[calls.Loading], Take], called_off: Callable[[], bool] = never
    ) -> calls.Loading:
        head: calls.Loading = self._run(lambda talk: operations.load(talk, call, begin), called_off)
        return head

    def _items(self, call: calls.StreamCall) -> Generator[calls.Item]:
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
                if told or self._closed:
                    raise  # the list may have changed: only the caller can begin anew
                self._pause(retry, error)

    def _watch(
        self,
        call: calls.Watch,
        called_off: Callable[[], bool] = never,
        patience: Callable[[], float] = usual,
        anew: Callable[[], object] = nothing,
    ) -> Iterator[Event]:
        watching = Watching(call)
        retry = Retry(time.monotonic, patience)
        before: BlockingLink | None = None
        while True:
            try:
                link = self._linked(retry, called_off)
                if before not in (None, link):
                    anew()
                before = link
                start = partial(operations.pages, link.talk, watching.call(self.epoch))
                for items in link.iterate(start, None, called_off):
                    yield from watching.new(items)
            except UdfstoreError as error:
                if self._closed or called_off():
                    return
                if not isinstance(error, NoServer | Closing):
                    raise
                delay = retry.delay(error)
                with self._idle:
                    self._idle.wait_for(lambda: self._closed or called_off(), delay)

    def _wake(self) -> None:
        with self._idle:
            self._idle.notify_all()
        if self._link is not None:
            self._link.wake()


def report(paths: Iterable[Path], claim: Claim, id: BlobId) -> None:
    """Have the server look at a blob that was found damaged: `Corrupt`, or `NoServer`. From any thread."""
    with Store(paths, claim) as store:
        store.verify(id)


_stores: weakref.WeakSet[Store] = weakref.WeakSet()


def _forked() -> None:
    for store in list(_stores):
        store._forked()


os.register_at_fork(after_in_child=_forked)


class _RemoteBlob(LazilySpooled):
    """A blob that is loaded in ranges."""

    def __init__(self, store: Store, info: BlobInfo, called_off: Callable[[], bool]) -> None:
        super().__init__(info)
        self._store = store
        self._called_off = called_off

    def fetch(self, offset: int, length: int, take: Callable[[memoryview], object]) -> None:
        taken = 0

        def begin(head: calls.Loading) -> Take:
            came = 0

            def go_on(data: memoryview) -> None:
                nonlocal came, taken
                fresh = data[max(0, taken - came) :]  # a repeat after a lost connection tells the same bytes again
                came += len(data)
                taken += len(fresh)
                take(fresh)

            return go_on

        self._store._load(calls.Load(Ref.of(self.info.id), offset, length), begin, self._called_off)

    def verify(self) -> None:
        self._store.verify(self.info.id)

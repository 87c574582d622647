"""The same names with no server: `udfstore.open_store(root)` opens the store itself, and owns it until it is closed."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from udfstore import admin, calls
from udfstore.client.base import NEEDS_SERVER, BaseStore
from udfstore.client.files import OpenBlob, RawBlob
from udfstore.client.operations import Take
from udfstore.client.retry import never, nothing, usual
from udfstore.client.sources import Source
from udfstore.client.watching import Watching
from udfstore.client.where import claim as claim_of_environment
from udfstore.client.where import default_root
from udfstore.digest import BlobId
from udfstore.errors import Mismatch, UdfstoreError, Unsupported, UsageError
from udfstore.model import Author, BlobInfo, Caller, Claim, Event
from udfstore.refs import Ref, Tag
from udfstore.service import Register, Service
from udfstore.store import BlobFile, Rule, Store, StoreLimits

PIECE_BYTES = 1024 * 1024
"""Read and written at once: as a chunk over a socket."""


def open_store(
    root: str | os.PathLike[str] | None = None,
    *,
    create: bool = True,
    claim: Claim | None = None,
    say: Callable[[str], None] | None = None,
    retention: Sequence[Rule] = (),
) -> LocalStore:
    """Open a store on this machine without a server; without a path, the usual root.

    A store has one owner at a time: while a server runs on it this is a `Conflict` that names the server and its
    socket. `create`: make it if it is not there. `say` gets lines for people: what a crash had left to do.
    `retention` says which versions `collect` lets go: what a server is told by its configuration.
    """
    place = default_root() if root is None else Path(root)
    store = Store(place, create=create, limits=StoreLimits(retention=tuple(retention)), say=say or (lambda _: None))
    return LocalStore(store, claim_of_environment() if claim is None else claim)


class LocalStore(BaseStore):
    """A store opened in this process; see `BaseStore` for what it can do."""

    def __init__(self, store: Store, claim: Claim) -> None:
        super().__init__()
        self._store = store
        self._service = Service(store, Register())
        self._commits = threading.Condition()
        self._closed = False
        self._pid = os.getpid()
        groups = (os.getgid(), *(gid for gid in os.getgroups() if gid != os.getgid()))
        author = Author("local", os.getuid(), groups, os.getpid(), claim=claim.check())
        self._caller = Caller(author)
        store.on_commit.append(self._committed)

    def close(self) -> None:
        if self._closed or self._pid != os.getpid():
            return
        self._closed = True
        self._wake()
        self._store.close()

    @property
    def epoch(self) -> int:
        """The store's epoch."""
        return self._store.epoch

    @property
    def revision(self) -> int:
        """The newest revision."""
        return self._store.revision

    def _open(self, ref: Ref | BlobId | Tag | str, called_off: Callable[[], bool] = never) -> OpenBlob:
        head, file = self._ours.open(self._caller, calls.Load(Ref.of(ref)))
        return OpenBlob(_LocalBlob(self, head.info, file))

    @property
    def _ours(self) -> Service:
        """The service, for the process that opened the store."""
        if self._closed:
            raise UsageError("this store was closed")
        if self._pid != os.getpid():
            raise UsageError(
                "a store that was opened before a fork belongs to the parent; use a server, or open it there"
            )
        return self._service

    def _committed(self, revision: int) -> None:
        with self._commits:
            self._commits.notify_all()

    def _wake(self) -> None:
        with self._commits:
            self._commits.notify_all()

    def _ask(self, call: calls.PlainCall, called_off: Callable[[], bool] = never) -> calls.Result:
        service, kind = self._ours, type(call)
        if kind in service.change:
            future: Future[Any] = service.change[kind](self._caller, call)
            result: calls.Result = future.result()
            return result
        answer = service.quick.get(kind) or service.slow.get(kind)
        if answer is None:
            raise Unsupported(NEEDS_SERVER)
        return answer(self._caller, call)

    def _save(self, source: Source, call: calls.Save, commit: calls.Commit) -> calls.Saved:
        begun = self._ours.upload(self._caller, call)
        if isinstance(begun, calls.Saved):
            saved = begun
        else:
            try:
                while data := source.read(PIECE_BYTES):
                    begun.write(data)
                saved = self._ours.commit(self._caller, begun, None, commit.id)
            finally:
                begun.abort()
        if commit.target is None:
            return saved
        moved = self._ours.target(self._caller, saved, commit).result()
        return calls.Saved(saved.id, saved.size, saved.existed, moved.entries[0])

    def _load(self, call: calls.Load, begin: Callable[[calls.Loading], Take]) -> calls.Loading:
        head, file = self._ours.open(self._caller, call)
        with file:
            _read(file, head, begin(head))
        return head

    def _items(self, call: calls.StreamCall) -> Generator[calls.Item]:
        service, kind = self._ours, type(call)
        if isinstance(call, admin.Backup):
            with service.backup(self._caller) as batches:
                for batch in batches:
                    yield from batch
            return
        answer = service.stream.get(kind) or service.slow_stream.get(kind)
        if answer is None:
            raise Unsupported(NEEDS_SERVER)
        for batch in answer(self._caller, call):
            yield from batch

    def _watch(
        self,
        call: calls.Watch,
        called_off: Callable[[], bool] = never,
        patience: Callable[[], float] = usual,
        anew: Callable[[], object] = nothing,
    ) -> Iterator[Event]:
        def over() -> bool:
            return self._closed or called_off()

        watching = Watching(call)
        cursor, present = self._ours.begin_watch(self._caller, call)
        try:
            for batch in present:
                yield from watching.new(batch)
            while True:
                with self._commits:
                    while self._store.revision <= cursor and not over():
                        self._commits.wait()
                if over():
                    return
                events, cursor = self._ours.go_on_watching(self._caller, call, cursor)
                yield from watching.new(events)
        except UdfstoreError:
            if not over():
                raise


class _LocalBlob(RawBlob):
    """A blob whose file lies here."""

    def __init__(self, store: LocalStore, info: BlobInfo, file: BlobFile) -> None:
        super().__init__(info)
        self._store = store
        self._file = file

    def fetch(self, offset: int, length: int, take: Callable[[memoryview], object]) -> None:
        _read(self._file, calls.Loading(self.info, offset, length), take)

    def verify(self) -> None:
        self._store.verify(self.info.id)

    def local_path(self) -> Path:
        return self._file.path

    def fileno(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        self._file.close()
        super().close()


def _read(file: BlobFile, head: calls.Loading, take: Take) -> None:
    """Give the bytes of a load, and check those of a whole blob."""
    digest = hashlib.sha256()
    end = head.offset + head.length
    for start in range(head.offset, end, PIECE_BYTES):
        piece = file.pread(start, min(PIECE_BYTES, end - start))
        digest.update(piece)
        take(memoryview(piece))
    if head.length == head.info.size and (got := BlobId(digest.digest())) != head.info.id:
        raise Mismatch("the stored bytes are not those of the blob", expected=head.info.id, got=got)

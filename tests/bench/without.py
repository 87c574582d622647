"""`python -m tests.bench.without NAME... serve ...`: the command line with optimisations taken out.

Each is one function or constant of udfstore in whose place the plain one is put; what a setting switches off is not
here. Nothing of this is ever part of the program: it serves `tests.bench.gains` alone.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from udfstore import calls
from udfstore.cli import main
from udfstore.client import hashing, link, operations
from udfstore.model import Caller
from udfstore.server import connection, server
from udfstore.server.incoming import Pool
from udfstore.server.open_calls import OpenCalls
from udfstore.server.streams import Streams
from udfstore.server.transfers import Transfers
from udfstore.service import Service
from udfstore.session import host, outbox
from udfstore.session.events import Welcome
from udfstore.session.host import HostSession
from udfstore.session.udf import UdfSession
from udfstore.store import BlobFile, osfs, upload
from udfstore.store.catalog import Catalog
from udfstore.store.committer import Committer, Job

ONE_BUFFER_BYTES = 256 * 1024
"""Of each read, where all of it is copied once more: stays in a core's second-level cache."""


def _nowhere(_: object) -> memoryview:
    return memoryview(bytearray())


def _welcome(**plain: object) -> Callable[..., Welcome]:
    return lambda **told: Welcome(**(told | plain))


def _commit_in_a_task(self: OpenCalls, number: int, commit: calls.Commit) -> None:
    incoming = self.transfers.saves.get(number)
    if incoming is not None:
        incoming.commit = commit


async def _grant_first(
    self: Transfers, number: int, caller: Caller, call: calls.Save
) -> tuple[calls.Saved, calls.Commit | None]:
    if call.id is None:
        self._grant(number, self._limits.first_window_bytes)
    return await _save(self, number, caller, call)


def _content_behind_its_head(self: HostSession, number: int, head: calls.Loading, data: bytes) -> None:
    self.head(number, head)
    self.chunk(number, data)


async def _send_then_read(self: Transfers, number: int, head: calls.Loading, file: BlobFile) -> calls.Loaded:
    session, sent = self._session, 0
    with file:
        session.head(number, head)
        self._pump.flush()
        while sent < head.length:
            await self._room(number)
            await self.until(lambda: not session.outbox, "reading")
            most = min(self._limits.chunk_bytes, head.length - sent, session.credit(number) or sys.maxsize)
            session.chunk(number, await self._rooms.reading(file.pread, head.offset + sent, most))
            self._meters.sent("socket", most)
            self._pump.flush()
            sent += most
    return calls.Loaded(sent)


def _ask_in_a_thread(self: Service, *given: Any) -> None:
    _begin_service(self, *given)
    self.slow[calls.GetTag] = self.quick.pop(calls.GetTag)


def _page_for_each(self: Streams, caller: Caller, call: calls.Watch, cursor: int) -> tuple[Sequence[Any], int]:
    events, after = self._rooms.service.go_on_watching(caller, call, cursor)
    return list(self._session.pages(events)), after


def _one_at_a_time(self: Committer, jobs: deque[Job]) -> int:
    return _land(self, deque([jobs[0]]))


def _close_reader(self: Catalog, db: sqlite3.Connection) -> None:
    db.close()


def _allocate_zeros(path: Path, content: bytes) -> None:
    _write_file(path, content.rstrip(b"\0"))
    fd = osfs.open_update(path)
    try:
        os.posix_fallocate(fd, 0, len(content))
        osfs.fdatasync(fd)
    finally:
        osfs.close(fd)


_save, _land, _begin_service, _write_file = Transfers.save, Committer._land, Service.__init__, osfs.write_file

WITHOUT: Mapping[str, Sequence[tuple[object, str, object]]] = {
    "groups": [(Committer, "_land", _one_at_a_time)],
    "handing-over": [(OpenCalls, "committed", _commit_in_a_task)],
    "one-piece": [(connection, "Welcome", _welcome(save_credit=0)), (Transfers, "save", _grant_first)],
    "written-zeros": [(osfs, "write_file", _allocate_zeros)],
    "at-hand": [(Transfers, "load_at_once", lambda *_: False)],
    "content-with-its-head": [(HostSession, "content", _content_behind_its_head)],
    "frames-by-themselves": [(host, "FRAMES_AT_ONCE", outbox.TAKE_FRAMES)],
    "quick": [(Service, "__init__", _ask_in_a_thread)],
    "kept-readers": [(Catalog, "give_reader", _close_reader)],
    "shared-pages": [(Streams, "_news", _page_for_each)],
    "writeback": [(upload, "WRITEBACK_BYTES", sys.maxsize)],
    "reading-in-place": [(HostSession, "space", property(_nowhere)), (server, "RECEIVE_BYTES", ONE_BUFFER_BYTES)],
    "used-memory": [(Pool, "give", lambda *_: None)],
    "hashing-beside": [(upload, "BESIDE_BYTES", sys.maxsize)],
    "reading-ahead": [(Transfers, "load", _send_then_read)],
    "descriptors": [(connection, "Welcome", _welcome(descriptors=False))],
    "clone": [(upload.Upload, "clone", lambda *_: False)],
    "client-hashing-beside": [(hashing, "BESIDE_BYTES", sys.maxsize)],
    "client-reading-in-place": [
        (UdfSession, "space", property(_nowhere)),
        (link, "RECEIVE_BYTES", ONE_BUFFER_BYTES),
    ],
    "client-window": [(operations, "WINDOW_BYTES", 1024 * 1024)],
    "client-second-chunk": [(operations, "CHUNKS_WAITING", 1)],
}
"""What is taken out: whose attribute, its name, and what stands in its place."""


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Take these out of this process for a while."""
    with ExitStack() as stack:
        for name in names:
            for owner, attribute, plain in WITHOUT[name]:
                stack.enter_context(patch.object(owner, attribute, plain))
        yield


if __name__ == "__main__":
    at = sys.argv.index("serve")
    with without(*sys.argv[1:at]):
        sys.exit(main(sys.argv[at:]))

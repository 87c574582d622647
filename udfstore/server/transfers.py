"""The content of one connection's saves and loads, between the session's chunks and the store's files.

Waiting for the peer is done on the loop, waiting for the disk in threads. A thread call takes as much as there is to
do: a small blob is saved or loaded in one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing

import trio

from udfstore import calls
from udfstore.errors import TimedOut
from udfstore.model import Caller
from udfstore.server.handed import Piece as HandedPiece
from udfstore.server.incoming import Incoming, Piece
from udfstore.server.pump import Pump
from udfstore.server.rooms import Rooms
from udfstore.service import Service
from udfstore.session.host import HostSession
from udfstore.session.tokens import Token
from udfstore.store import BlobFile, Upload

DESCRIPTORS_WAITING = 16
"""Descriptors that wait to be sent to one peer, each of them a file that is open here; others get content."""

AT_HAND_BYTES = 64 * 1024
"""Content that is sent on the spot where that does not wait for the disk: to copy so much takes microseconds."""

CHUNKS_WAITING = 1
"""Chunks of a load that wait to be sent, beside the one on its way; the next is read meanwhile."""


class Transfers:
    """The saves and loads of one connection."""

    def __init__(self, session: HostSession, pump: Pump, rooms: Rooms, changed: trio.lowlevel.ParkingLot) -> None:
        self.saves: dict[int, Incoming] = {}
        self._session = session
        self._pump = pump
        self._rooms = rooms
        self._limits = rooms.limits
        self._changed = changed
        self._meters = rooms.service.meters

    def buffered(self) -> int:
        """Bytes that came and are not written yet, or wait to be sent. For any thread."""
        return self._session.outbox.bytes + sum(incoming.size for incoming in list(self.saves.values()))

    async def until(self, ready: Callable[[], bool], what: str) -> None:
        """Wait for the peer. Raises `TimedOut` when it makes no progress."""
        seconds = self._limits.progress_seconds
        with trio.move_on_after(seconds) as scope:
            while not ready():
                await self._changed.park()
        if scope.cancelled_caught:
            raise TimedOut(f"no {what} from the client", expected=f"within {seconds:g} s")

    # --- saves ---

    def take(self, number: int, data: memoryview) -> None:
        """Content of a save came."""
        if number in self.saves:
            self.saves[number].put(data)
            self._meters.received("socket", len(data))

    async def save(self, number: int, caller: Caller, call: calls.Save) -> tuple[calls.Saved, calls.Commit | None]:
        """Take a save's content; gives what became of it and its commit: None if the store had what was announced."""
        service, incoming = self._rooms.service, self.saves[number]
        if call.id is not None or (call.size or 0) > service.store.small_bytes:
            begun = await self._rooms.writing(service.upload, caller, call)
            if isinstance(begun, calls.Saved):
                return begun, None
            first = 0 if call.id is None else self._limits.first_window_bytes
            return await self._finish(number, caller, incoming, begun, first)
        await self.until(incoming.ready, "content")
        commit, pieces = incoming.commit, incoming.take()

        def begin() -> calls.Saved | Upload:
            upload = service.upload(caller, call)
            assert isinstance(upload, Upload)  # without an announced ID it is never there already
            return _write_some(service, caller, upload, pieces, commit)

        begun = await self._rooms.writing(begin)
        incoming.written(pieces)
        if isinstance(begun, calls.Saved):
            return begun, commit
        window = self._limits.window_bytes - self._limits.first_window_bytes + begun.size
        return await self._finish(number, caller, incoming, begun, window)

    async def _finish(
        self, number: int, caller: Caller, incoming: Incoming, upload: Upload, grant: int
    ) -> tuple[calls.Saved, calls.Commit]:
        """Write what comes and grant as much again, until all is there and durable."""
        try:
            while True:
                if grant:
                    self._grant(number, grant)
                await self.until(incoming.ready, "content")
                commit, pieces = incoming.commit, incoming.take()
                before = upload.size
                written = await self._rooms.writing(_write_some, self._rooms.service, caller, upload, pieces, commit)
                incoming.written(pieces)
                if isinstance(written, calls.Saved):
                    assert commit is not None
                    return written, commit
                grant = upload.size - before
                if before == 0:  # it runs: from here on it may have a whole window on its way
                    grant += self._limits.window_bytes - self._limits.first_window_bytes
        except BaseException:
            with trio.CancelScope(shield=True):
                await self._rooms.writing(upload.abort)
            raise

    async def copy(
        self, number: int, caller: Caller, call: calls.Save, file: Token, nursery: trio.Nursery
    ) -> tuple[calls.Saved, calls.Commit | None]:
        """As `save`, with the content of a file that came along: its blocks, or what a task in `nursery` reads."""
        assert call.size is not None, "the session takes no descriptor without a size"
        copies, incoming, scope = self._rooms.copies, self.saves[number], trio.CancelScope()
        with closing(file):
            copies.check()
            upload = await self._rooms.writing(self._rooms.service.upload, caller, call)
            if isinstance(upload, calls.Saved):
                return upload, None
            try:
                if call.offset or not await self._rooms.writing(upload.clone, file.fileno()):
                    put, pieces = trio.open_memory_channel[HandedPiece](0)
                    nursery.start_soon(copies.read, file, call.offset, call.size, scope, put)
                    async for piece in pieces:
                        if isinstance(piece, Exception):
                            raise piece
                        await self._rooms.writing(upload.write, piece)
                await self.until(lambda: incoming.commit is not None, "commit")
                written = await self._rooms.writing(
                    _write_some, self._rooms.service, caller, upload, (), incoming.commit
                )
                assert isinstance(written, calls.Saved)
                self._meters.received("socket", written.size)
                return written, incoming.commit
            except BaseException:
                with trio.CancelScope(shield=True):
                    await self._rooms.writing(upload.abort)
                raise
            finally:
                scope.cancel()

    def _grant(self, number: int, amount: int) -> None:
        self._session.grant(number, amount)
        self._pump.flush()
        self._changed.unpark_all()

    # --- loads ---

    def load_at_once(self, number: int, call: calls.Load, head: calls.Loading, file: BlobFile) -> bool:
        """Answer a load with a descriptor, or with content that is at hand; False: that takes a task of its own.

        A descriptor goes to a peer that takes one of such a blob, and does not let too many wait.
        """
        session, least, credit = self._session, call.descriptor_from, self._session.credit(number)
        if least is not None and head.length == head.info.size >= least and session.outbox.tokens < DESCRIPTORS_WAITING:
            session.give(number, head, file)
            self._meters.sent("socket", head.length)
            return True
        if head.length > AT_HAND_BYTES or (credit is not None and credit < head.length):
            return False
        if session.outbox.bytes > self._limits.waiting_bytes:  # a task is one of so many calls, and waits for room
            return False
        data = file.pread_nowait(head.offset, head.length)
        if data is None:
            return False
        file.close()
        if data:
            session.content(number, head, data)
        else:
            session.head(number, head)
        self._meters.sent("socket", len(data))
        return True

    async def load(self, number: int, head: calls.Loading, file: BlobFile) -> calls.Loaded:
        """Send a load's content, and close the file."""
        session, most = self._session, self._limits.chunk_bytes
        with file:
            session.head(number, head)
            data = await self._rooms.reading(file.pread, head.offset, min(head.length, most))
            sent = 0
            while True:
                view = memoryview(data)
                while view:
                    await self._room(number)
                    credit = session.credit(number)
                    piece = view if credit is None else view[:credit]
                    session.chunk(number, piece)
                    self._meters.sent("socket", len(piece))
                    self._pump.flush()
                    view = view[len(piece) :]
                sent += len(data)
                if sent == head.length:
                    await self._place(number)  # what waits is the client's as long as its call is open
                    return calls.Loaded(sent)
                data = await self._rooms.reading(file.pread, head.offset + sent, min(most, head.length - sent))

    async def _place(self, number: int) -> None:
        outbox = self._session.outbox
        if outbox.waiting(number) >= CHUNKS_WAITING:
            await self.until(lambda: outbox.waiting(number) < CHUNKS_WAITING, "reading")

    async def _room(self, number: int) -> None:
        session = self._session
        await self._place(number)
        if session.credit(number) == 0:
            self._pump.flush()  # the head, by which the peer judges what to grant
            await self.until(lambda: session.credit(number) != 0, "credit")


def _write_some(
    service: Service, caller: Caller, upload: Upload, pieces: Sequence[Piece], commit: calls.Commit | None
) -> calls.Saved | Upload:
    """Write what has come; when that was all, make it durable. Whatever goes wrong ends the upload."""
    try:
        for piece in pieces:
            upload.write(piece)
        if commit is None:
            return upload
        return service.commit(caller, upload, commit.size, commit.id)
    except BaseException:
        upload.abort()
        raise

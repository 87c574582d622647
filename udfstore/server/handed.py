"""Files that clients hand over, to be copied: theirs, and perhaps not what they seem.

One may lie on a file system of the client's own (FUSE) or of a server that is away (NFS), where every call on it, also
the last, may never return. So none is made on the loop, and a thread that hangs in one is left behind.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from functools import partial

import trio

from udfstore.descriptors import File
from udfstore.errors import Busy, Mismatch, TimedOut, Unsupported, UsageError

COPIES = 8
"""Threads that read such files, and those that are left behind in one: when all are taken, others send chunks."""

PIECE_BYTES = 1024 * 1024
"""Of one read: as the largest chunk."""

Piece = memoryview | Exception


class Copies:
    """The threads for all of a server's copies."""

    def __init__(self, progress_seconds: float) -> None:
        self._limiter = trio.CapacityLimiter(COPIES)
        self._closers = trio.CapacityLimiter(COPIES)
        self._seconds = progress_seconds

    def check(self) -> None:
        """Refuse one more copy (`Busy`) while every thread has its hands full."""
        if not self._limiter.available_tokens:
            raise Busy("too many files are being copied at present: send the content in chunks, or later")

    def close(self, number: int) -> None:
        """Close a file of a client's, some time."""
        trio.lowlevel.spawn_system_task(self._close, number)

    async def _close(self, number: int) -> None:
        with suppress(OSError):  # whatever its file system still had to say
            await trio.to_thread.run_sync(os.close, number, limiter=self._closers, abandon_on_cancel=True)

    async def read(
        self, file: File, offset: int, size: int, scope: trio.CancelScope, pieces: trio.MemorySendChannel[Piece]
    ) -> None:
        """Send `size` bytes of a file, piece by piece; what goes wrong is the last one.

        A piece stays as it is until the next one is taken.
        """
        with scope:
            async with pieces:
                try:
                    now, next = (memoryview(bytearray(min(size, PIECE_BYTES))) for _ in range(2))
                    while True:
                        piece = now[: await self._read(file.fileno(), now[:size], offset)]
                        if size and not piece:
                            raise Mismatch(
                                "the file that was handed over is shorter", expected=offset + size, got=offset
                            )
                        await pieces.send(piece)
                        offset, size = offset + len(piece), size - len(piece)
                        if not size:
                            return
                        now, next = next, now
                except Exception as error:  # noqa: BLE001 - whatever goes wrong belongs to this save alone
                    await pieces.send(error)

    async def _read(self, number: int, buffer: memoryview, offset: int) -> int:
        with trio.move_on_after(self._seconds) as scope:
            read = partial(_read, number, buffer, offset)
            done = await trio.to_thread.run_sync(read, limiter=self._limiter, abandon_on_cancel=True)
        if scope.cancelled_caught:
            raise TimedOut("nothing came out of the file that was handed over", expected=f"within {self._seconds:g} s")
        return done


def _read(number: int, buffer: memoryview, offset: int) -> int:
    try:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise UsageError("what was handed over is no file to read from", expected="a regular file or memfd")
        return os.preadv(number, [buffer], offset)
    except OSError as error:
        raise Unsupported(f"the server cannot read this file: {error.strerror}; send the content in chunks") from error

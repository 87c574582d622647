"""Descriptors over a Unix socket (SCM_RIGHTS, unix(7)): with bytes that are sent, and out of what was received."""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Callable, Sequence
from typing import Protocol

ROOM = 16
"""Descriptors that one read takes in; the kernel drops what is more, and says so."""

_INTS = "i"
_ANCILLARY_BYTES = socket.CMSG_SPACE(ROOM * array.array(_INTS).itemsize)
_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)  # not on macOS, where no server offers any


class File(Protocol):
    """Something open."""

    def fileno(self) -> int: ...


class Descriptor:
    """An open file that is closed once; `close` does it."""

    def __init__(self, number: int, close: Callable[[int], object] = os.close) -> None:
        self._number = number
        self._close = close

    def fileno(self) -> int:
        """Its number; -1 once closed."""
        return self._number

    def close(self) -> None:
        """Let go of it. May be called again."""
        number, self._number = self._number, -1
        if number >= 0:
            self._close(number)


def sender(connection: socket.socket) -> Callable[[Sequence[memoryview], File | None], int]:
    """Sends buffers, and a file with the first byte of them; tells how many bytes went. Raises `OSError`."""

    def send(buffers: Sequence[memoryview], file: File | None) -> int:
        if file is None:
            return connection.sendmsg(buffers)
        return socket.send_fds(connection, buffers, [file.fileno()])

    return send


def receive_into(
    connection: socket.socket, buffers: Sequence[memoryview], close: Callable[[int], object] = os.close
) -> tuple[int, list[Descriptor], bool]:
    """Read bytes, into one buffer after the other, and what came with them.

    Gives how many bytes, the files (which `close` closes), and whether some were dropped. Raises `OSError`.
    """
    size, ancillary, flags, _ = connection.recvmsg_into(buffers, _ANCILLARY_BYTES, _CLOEXEC)
    numbers = array.array(_INTS)
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
    return size, [Descriptor(number, close) for number in numbers], bool(flags & socket.MSG_CTRUNC)

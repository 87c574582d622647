"""The pump: bytes from a socket into a session, and out of its outbox. It knows no call.

It reads and writes without awaiting in between, so that one buffer serves all connections, and a frame that the socket
takes at once costs no change of task.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Callable

import trio

from udfstore.descriptors import ROOM, Descriptor, receive_into, sender
from udfstore.errors import ProtocolError, TimedOut
from udfstore.server.limits import ServerLimits
from udfstore.session.events import HostEvent
from udfstore.session.host import HostSession, State

RECEIVE_BYTES = 64 * 1024
"""Of one read, beside the rest of a long frame: what is read here is copied once more."""


class Broken(Exception):
    """The peer is gone, or does not read."""


class Pump:
    """A socket and the session on it."""

    def __init__(
        self,
        connection: socket.socket,
        session: HostSession,
        limits: ServerLimits,
        buffer: memoryview,
        changed: trio.lowlevel.ParkingLot,
        close: Callable[[int], object],
    ) -> None:
        """`close` closes a descriptor that the peer sent."""
        self._socket = connection
        self._send = sender(connection)
        self._close = close
        self._session = session
        self._limits = limits
        self._buffer = buffer
        self._changed = changed
        self._stuck = trio.lowlevel.ParkingLot()
        self._broken = False
        self._since = 0.0
        """When the peer last made progress; counts only while it owes something."""
        self._pauses = 0
        self.held_back = False
        """Nothing is read at present, for want of room here: the peer's silence says nothing."""

    @property
    def signs(self) -> int:
        """Signs of life so far: grows with each whole frame, and when the peer could not be heard for a while."""
        return self._session.frames + self._pauses

    async def read(
        self, take: Callable[[HostEvent], None], taken: Callable[[], None], room: Callable[[], bool]
    ) -> None:
        """Give `take` every event until the peer closes its side; `taken()` follows what came together.

        Reads only while there is `room()`.

        Raises `ProtocolError` when the conversation cannot go on, `TimedOut` when the peer stops in the middle of a
        frame or before its hello, and `Broken`.
        """
        self._since = trio.current_time()
        while True:
            if not room():
                self.held_back = True
                while not room():
                    await self._changed.park()
                self.held_back = False
                self._pauses += 1
                self._since = trio.current_time()  # the peer was not the one to wait for
            waits_for, seconds = self._owed()
            with trio.move_on_at(self._since + seconds) as scope:
                size, placed, tokens = await self._receive()
            if scope.cancelled_caught:
                raise TimedOut(f"no {waits_for} in time", expected=f"within {seconds:g} s")
            if size == 0:
                self._session.end()
                return
            half_read = self._session.half_read
            try:
                for event in self._session.receive(self._buffer[: size - placed], tokens, placed):
                    take(event)
            finally:
                taken()
            if self._session.half_read != half_read:
                self._since = trio.current_time()

    def _owed(self) -> tuple[str, float]:
        """What the peer has to send next, and within how many seconds since the last progress."""
        if self._session.state is State.GREETING:
            return "hello", self._limits.hello_seconds
        if self._session.half_read:
            return "rest of a frame", self._limits.progress_seconds
        return "", math.inf

    async def _receive(self) -> tuple[int, int, list[Descriptor]]:
        """How many bytes came, how many of them went to the session's `space`, and the descriptors that came along.

        Raises `ProtocolError` when more came than this side can take.
        """
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            try:
                space = self._session.space
                size, descriptors, dropped = receive_into(self._socket, (space, self._buffer), self._close)
            except BlockingIOError:
                continue
            except OSError as error:
                raise Broken(str(error)) from error
            break
        if dropped:
            self._session.tokens.put(descriptors)
            raise ProtocolError("more descriptors than this side can take", expected=f"at most {ROOM} at once")
        return size, min(size, len(space)), descriptors

    def flush(self) -> None:
        """Send what the socket takes now; `write` sees to the rest."""
        if self._broken:
            return
        try:
            if self._session.outbox.flush(self._send):
                self._changed.unpark_all()
        except BlockingIOError:
            self._changed.unpark_all()
            self._stuck.unpark_all()
        except OSError:
            self._broken = True
            self._stuck.unpark_all()

    async def write(self) -> None:
        """Send what the socket did not take at once, for ever. Raises `Broken` when the peer is gone or hangs."""
        while True:
            if not self._broken and not self._session.outbox:
                await self._stuck.park()
            if self._broken:
                raise Broken("the peer closed the connection")
            with trio.move_on_after(self._limits.progress_seconds) as scope:
                await trio.lowlevel.wait_writable(self._socket)
            if scope.cancelled_caught:
                raise Broken(f"the peer read nothing for {self._limits.progress_seconds:g} s")
            self.flush()

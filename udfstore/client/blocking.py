"""Operations driven by ordinary threads: whoever waits moves the bytes, for all others too.

There is no thread of our own. Of the threads that wait on one connection, one at a time leads: it polls the socket,
takes what comes for everybody and wakes the others. A thread whose answer is there leaves, and another takes the lead.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

from udfstore import calls
from udfstore.client.conversation import ConnectionLost, Conversation
from udfstore.client.link import Link, unable
from udfstore.client.operations import Give, Operation, Wait, Work
from udfstore.client.retry import never
from udfstore.errors import Cancelled
from udfstore.model import Event

WELCOME_SECONDS = 10.0
"""A server on this machine that has not said welcome by then is not one, or hangs."""


class BlockingLink:
    """A connection that threads share."""

    def __init__(self, connection: socket.socket, talk: Conversation) -> None:
        self._link = Link(connection, talk)
        self.talk = talk
        self._state = threading.Condition()
        self._leading = False
        self._polling = 0
        """Threads that poll the socket: the last one out closes it."""
        try:
            self._wake_out, self._wake_in = os.pipe()
        except OSError as error:
            connection.close()
            raise unable(error) from error
        os.set_blocking(self._wake_in, False)
        self._closed = False
        try:
            self._wait(lambda: self.talk.welcome is not None, timeout=WELCOME_SECONDS)
        except BaseException:
            self.close()
            raise

    @property
    def lost(self) -> bool:
        """Whether the connection is over."""
        return self.talk.lost is not None

    def run(self, start: Callable[[], Operation], called_off: Callable[[], bool] = never) -> Any:
        """Drive an operation to its result."""
        result: list[Any] = []
        for _ in self.iterate(start, result, called_off):
            raise AssertionError("an operation without items gave some")
        return result[0]

    def iterate(
        self,
        start: Callable[[], Operation],
        result: list[Any] | None = None,
        called_off: Callable[[], bool] = never,
    ) -> Iterator[tuple[calls.Item | Event, ...]]:
        """Drive an operation and hand out what it gives; its result goes into `result`.

        Raises `Cancelled` once `called_off()`; `wake` has it looked at.
        """
        with self._state:
            operation = start()
        value: Any = None
        try:
            while True:
                with self._state:
                    step = operation.send(value)
                value = None
                match step:
                    case Wait():
                        self._wait(step.ready, called_off)
                    case Work():
                        value = step.do()
                    case Give():
                        yield step.items
        except StopIteration as done:
            if result is not None:
                result.append(done.value)
        finally:
            with self._state:
                operation.close()
                self._link.flush()

    def put(self, put: Callable[[], object]) -> None:
        """Put something into the conversation and send it: now, or by whoever waits once there is room."""
        with self._state:
            if self.talk.lost is None:
                put()
                self._link.flush()
            if self._link.sending:
                self.wake()

    def wake(self) -> None:
        """Have every wait look again whether it was called off."""
        with self._state:
            self._state.notify_all()
            if not self._closed:
                try:
                    os.write(self._wake_in, b"\0")
                except BlockingIOError:
                    return  # enough wakes are waiting already

    def close(self) -> None:
        """End the connection; whoever waits on it gets `ConnectionLost`."""
        with self._state:
            if not self._closed:
                self._closed = True
                self._link.hang_up()
                self._let_go()
                self._state.notify_all()

    def abandon(self) -> None:
        """After a fork, in the child: close what it copied, without a word to the server. The parent has the rest."""
        self._state = threading.Condition()
        self._closed = True
        self.talk.end("the connection belongs to the process that was forked")
        self._polling = 0
        self._let_go()

    def _let_go(self) -> None:
        if not self._polling and self._link.socket.fileno() != -1:
            self._link.socket.close()
            os.close(self._wake_out)
            os.close(self._wake_in)

    def _wait(
        self, ready: Callable[[], bool], called_off: Callable[[], bool] = never, timeout: float | None = None
    ) -> None:
        while True:
            with self._state:
                self._link.flush()
                while not self._turn(ready, called_off):
                    self._state.wait()
                if ready():
                    self._state.notify_all()
                    return
                sending = self._link.sending
                lead = not self._leading
                self._leading = True
                self._polling += 1
            try:
                if lead:
                    heard = self._poll(select.POLLIN | (select.POLLOUT if sending else 0), timeout)
                    # Nobody else may lead before what came is taken: it may be the very thing that they would poll for.
                    with self._state:
                        if not heard:
                            self.talk.end(f"the server said nothing for {timeout:g} s")
                        elif self.talk.lost is None:
                            self._link.receive()
                else:  # somebody reads; what this thread wants to send waits for room
                    self._poll(select.POLLOUT, None)
            finally:
                with self._state:
                    self._polling -= 1
                    if lead:
                        self._leading = False
                        self._state.notify_all()
                    if self._closed:
                        self._let_go()

    def _turn(self, ready: Callable[[], bool], called_off: Callable[[], bool]) -> bool:
        """Whether this thread has something to do: leave, lead, or send."""
        if ready():
            return True
        if called_off():
            raise Cancelled("the call was called off")
        if self.talk.lost is not None:
            raise ConnectionLost(self.talk.lost.message) from self.talk.lost
        return not self._leading or self._link.sending

    def _poll(self, events: int, timeout: float | None) -> bool:
        poll = select.poll()
        poll.register(self._link.socket, events)
        poll.register(self._wake_out, select.POLLIN)
        ready = poll.poll(None if timeout is None else timeout * 1000)
        if any(fd == self._wake_out for fd, _ in ready) and events & select.POLLIN:
            os.read(self._wake_out, 4096)
        return bool(ready)

"""Many clients in one thread, on the client's own pure core, so that they leave as much of the machine to the server
as they can. A client does one operation after another; several may share a connection.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any, Self

from udfstore.client.conversation import Conversation
from udfstore.client.link import Link, connect
from udfstore.client.operations import Give, Operation, Wait, Work
from udfstore.model import Claim

Job = Callable[[Conversation], Iterator[Operation]]
"""What one client does: its operations, in their order."""


AT_THE_DOOR = 64
"""Connections that wait for their welcome at once: fewer than a socket lets wait to be accepted."""


def _at_once() -> bool:
    return True


def _usual() -> Conversation:
    return Conversation(Claim(person="bench"))


class _Client:
    """A client and the operation it is at."""

    def __init__(self, operations: Iterator[Operation], given: Callable[[tuple[Any, ...]], None]) -> None:
        self._operations = operations
        self._given = given
        self._operation: Operation | None = None
        self._ready: Callable[[], bool] = _at_once
        self.done = False

    def advance(self) -> None:
        """Go on until something has to come."""
        value: Any = None
        while not self.done and self._ready():
            self._ready = _at_once
            if self._operation is None:
                self._operation = next(self._operations, None)
                self.done = self._operation is None
                continue
            try:
                step = self._operation.send(value)
            except StopIteration:
                self._operation = None
                continue
            value = None
            match step:
                case Wait():
                    self._ready = step.ready
                case Work():
                    value = step.do()
                case Give():
                    self._given(step.items)


class Crowd:
    """Connections to one server, and clients on them. `converse` begins the conversation of one."""

    def __init__(self, path: Path, connections: int, converse: Callable[[], Conversation] = _usual) -> None:
        self._links: list[Link] = []
        self._clients: list[list[_Client]] = []
        self._numbers: dict[int, int] = {}
        self._poll = select.epoll()
        for number in range(connections):
            link = Link(connect([path]), converse())
            self._links.append(link)
            self._clients.append([])
            self._numbers[link.socket.fileno()] = number
            self._poll.register(link.socket, select.EPOLLIN)
            if number % AT_THE_DOOR == 0 or number == connections - 1:
                self.drive(lambda: all(link.talk.welcome is not None for link in self._links))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for link in self._links:
            link.close()
        self._poll.close()

    def run(self, job: Job, clients_each: int = 1) -> float:
        """Let so many clients on every connection do a job to its end; gives the seconds it took."""
        started = perf_counter()
        for number, link in enumerate(self._links):
            self._clients[number] = [_Client(job(link.talk), lambda items: None) for _ in range(clients_each)]
            self._advance(number)
        self.drive(lambda: all(client.done for clients in self._clients for client in clients))
        return perf_counter() - started

    def begin(self, number: int, job: Job, given: Callable[[tuple[Any, ...]], None] = lambda items: None) -> None:
        """Have one more client begin a job on that connection, and go on with it; `given` is handed what it gives."""
        others = [client for client in self._clients[number] if not client.done]
        self._clients[number] = [*others, _Client(job(self._links[number].talk), given)]
        self._advance(number)

    def arrivals(self, numbers: range) -> list[float]:
        """When the next bytes reached each of these connections: `perf_counter` times, the earliest first.

        What came is looked at only after the last, so that no connection waits while another's bytes are parsed.
        """
        came: dict[int, float] = {}
        held: list[tuple[int, bytes]] = []
        while not all(number in came for number in numbers):
            for fd, _ in self._poll.poll():
                number = self._numbers[fd]
                held.append((number, self._links[number].socket.recv(65536)))
                came.setdefault(number, perf_counter())
        for number, data in held:
            self._links[number].talk.receive(data)
            self._advance(number)
        return sorted(came[number] for number in numbers)

    def drive(self, until: Callable[[], bool]) -> None:
        """Go on until something is true."""
        for number in self._numbers.values():
            self._advance(number)
        while not until():
            for fd, events in self._poll.poll():
                number = self._numbers[fd]
                if events & (select.EPOLLIN | select.EPOLLHUP):
                    self._links[number].receive()
                self._advance(number)

    def _advance(self, number: int) -> None:
        link = self._links[number]
        if link.talk.lost is not None:
            raise link.talk.lost
        for client in self._clients[number]:
            client.advance()
        link.flush()
        self._poll.modify(link.socket, select.EPOLLIN | (select.EPOLLOUT if link.sending else 0))

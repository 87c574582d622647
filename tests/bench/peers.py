"""What peers have in common: programs that a user might pick instead, each asked by the leanest client there is.

The clients are of our own, a socket and the few bytes that a request takes, so that what a peer's usual client would
cost in Python never makes udfstore look better. Where a peer cannot promise durability, its rows say so.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Sequence
from typing import Protocol

from tests.bench.rows import per_second

READ_BYTES = 1 << 18


class Client(Protocol):
    """A connection to a peer."""

    socket: socket.socket

    def ask(self) -> None:
        """Send one request."""

    def answers(self, data: bytes) -> int:
        """How many answers are complete with what came."""


def in_turn(clients: Sequence[Client], each: int) -> float:
    """Answers a second when every client asks so often, each time when it has its answer."""
    by_fd = {client.socket.fileno(): client for client in clients}
    left = dict.fromkeys(by_fd, each)

    def drive() -> None:
        with select.epoll() as poll:
            for fd, client in by_fd.items():
                poll.register(fd, select.EPOLLIN)
                client.ask()
            while any(left.values()):
                for fd, _ in poll.poll():
                    client = by_fd[fd]
                    if client.answers(_received(client.socket)):
                        left[fd] -= 1
                        if left[fd]:
                            client.ask()

    return per_second(each * len(clients), drive)


def ahead(client: Client, count: int, most: int) -> float:
    """Answers a second when so many requests are on their way at once."""

    def drive() -> None:
        for _ in range(count // most):
            for _ in range(most):
                client.ask()
            left = most
            while left:
                left -= client.answers(_received(client.socket))

    return per_second(count // most * most, drive)


def _received(connection: socket.socket) -> bytes:
    data = connection.recv(READ_BYTES)
    if not data:
        raise ConnectionError("the peer hung up")
    return data

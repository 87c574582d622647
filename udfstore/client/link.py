"""A socket to the server that never blocks: the part of a connection that every shell shares.

Who waits for the socket is the shell's business; here bytes only move as far as they can at once. A send that stops
half-way is continued by the next `flush`, so cancelling a wait never leaves half a frame behind.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from udfstore.client.conversation import Conversation
from udfstore.descriptors import receive_into, sender
from udfstore.errors import Denied, NoServer, UsageError

RECEIVE_BYTES = 64 * 1024
"""Of one read, beside the rest of a long frame: what is read here is copied once more."""

PASSES_DESCRIPTORS = sys.platform == "linux"
"""Elsewhere a socket to a server leads through something that passes bytes alone."""

_PATH_BYTES = 107
"""The most that sun_path holds on Linux, less its final zero (unix(7))."""


def connect(paths: Iterable[Path]) -> socket.socket:
    """A connected, non-blocking socket to the first of `paths` where a server answers.

    It never waits, so it may be called on an event loop. Raises `NoServer` that names every place tried, `Denied` where
    a socket is there and may not be opened, and `UsageError` for a path that no socket can have.
    """
    tried = []
    for path in paths:
        check_path(path)
        try:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            raise unable(error) from error
        try:
            connection.connect(os.fspath(path))
        except BlockingIOError as error:  # a server is there: another place would be another server's
            connection.close()
            raise NoServer(f"the server at {path} takes no connection now: too many wait already") from error
        except OSError as error:
            connection.close()
            if error.errno in (errno.EACCES, errno.EPERM):
                raise Denied(f"no permission to open the socket {path}; is your user in its group?") from error
            tried.append(f"{path} ({(error.strerror or str(error)).lower()})")
            continue
        return connection
    raise NoServer(f"no server answers at {', '.join(tried)}; start one with: udfstore serve")


def unable(error: OSError) -> NoServer:
    """This process cannot connect at present, mostly for want of file descriptors. It may be tried again."""
    why = (error.strerror or str(error)).lower()
    return NoServer(f"no connection to a server can be made: {why}; if files are too many, see `ulimit -n`")


def check_path(path: Path) -> None:
    """Refuse a path that is too long for a socket (`UsageError`)."""
    size = len(os.fsencode(path))
    if size > _PATH_BYTES:
        raise UsageError(f"the path of a socket is too long: {path}", expected=f"at most {_PATH_BYTES} bytes", got=size)


class Link:
    """A connected socket and the conversation on it."""

    def __init__(self, connection: socket.socket, talk: Conversation) -> None:
        self.talk = talk
        self.socket = connection
        self._send = sender(connection)
        self._buffer = memoryview(bytearray(RECEIVE_BYTES))

    @property
    def sending(self) -> bool:
        """Whether bytes wait for the socket to take them."""
        return bool(self.talk.session.outbox)

    def flush(self) -> None:
        """Send what the socket takes now."""
        if self.talk.lost is None:
            try:
                self.talk.session.outbox.flush(self._send)
            except BlockingIOError:
                return
            except OSError as error:
                self._lose_sending(error)

    def receive(self) -> None:
        """Take what has come, one read."""
        try:
            space = self.talk.session.space
            size, descriptors, dropped = receive_into(self.socket, (space, self._buffer))
        except BlockingIOError:
            return
        except OSError as error:
            self.talk.end(f"the connection to the server broke: {error.strerror}")
            return
        if dropped:  # this process may open no more; which frame's it was is told by the one that misses it
            self.talk.session.tokens.lose()
        if size:
            placed = min(size, len(space))
            self.talk.receive(self._buffer[: size - placed], descriptors, placed)
        else:
            self.talk.closed()

    def hang_up(self) -> None:
        """End the connection: whoever waits for the socket wakes up.

        A client says goodbye if that is possible at once; from a node it would ask for a last snapshot.
        """
        if self.talk.lost is None and self.talk.welcome is not None and self.talk.node is None:
            self.talk.session.goodbye()
            self.flush()
        self.talk.end("the connection was closed here")
        with suppress(OSError):  # the server hung up before
            self.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Hang up, and let go of the socket."""
        self.hang_up()
        self.socket.close()

    def _lose_sending(self, error: OSError) -> None:
        """The server hung up on us; it may have said why, so read that first."""
        while self.talk.lost is None:
            try:
                data = self.socket.recv(RECEIVE_BYTES)
            except OSError:
                break
            if not data:
                break
            self.talk.receive(data)
        self.talk.end(f"the connection to the server broke: {error.strerror}")

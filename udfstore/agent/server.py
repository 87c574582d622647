"""UDFs that Kapacitor connects to: a Unix socket, one connection for each use."""

from __future__ import annotations

import errno
import os
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from udfstore.client.link import check_path
from udfstore.errors import Conflict


class Accepter(Protocol):
    """Makes an agent for a connection: `Agent(conn, conn)`, started and waited for."""

    def accept(self, conn: Any, addr: Any, /) -> object: ...


class Server:
    """A listening socket; each connection is given to `accepter.accept(conn, addr)` in a thread of its own.

    A socket file that a UDF left behind is taken over; `Conflict` where one still listens.
    """

    def __init__(self, socket_path: str | os.PathLike[str], accepter: Accepter) -> None:
        self._path = Path(socket_path)
        check_path(self._path)
        self._accepter = accepter
        self._stopped = False
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _bind(self._listener, self._path)
        except BaseException:
            self._listener.close()
            raise
        self._listener.listen(128)

    def serve(self) -> None:
        """Take connections until `stop`."""
        try:
            while True:
                try:
                    connection, address = self._listener.accept()
                except OSError:
                    if self._stopped:
                        return
                    raise
                threading.Thread(target=self._accept, args=(connection, address), name="udfstore agent").start()
        finally:
            self.stop()

    def stop(self) -> None:
        """Take no more connections. Those that were taken go on."""
        if not self._stopped:
            self._stopped = True
            with suppress(OSError):  # wakes up whoever is in `accept`
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._path.unlink(missing_ok=True)

    def _accept(self, connection: socket.socket, address: Any) -> None:
        with connection:
            stream = connection.makefile("rwb", buffering=0)  # it keeps the connection until it is closed itself
        try:
            self._accepter.accept(stream, address)
        except BaseException:
            stream.close()
            raise


def _bind(listener: socket.socket, path: Path) -> None:
    try:
        listener.bind(os.fspath(path))
    except OSError as error:
        if error.errno != errno.EADDRINUSE or not path.is_socket():
            raise
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(os.fspath(path))
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)
            else:
                raise Conflict(f"a UDF listens at {path} already") from error
        listener.bind(os.fspath(path))

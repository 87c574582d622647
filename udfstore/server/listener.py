"""The server's Unix socket: bound with care, never taken from a living server, removed at the end.

One that the service manager opened (`activation`) is the manager's: it stays as it is, also when the server ends.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import socket
import stat
from pathlib import Path

import trio

from udfstore.errors import Conflict, Denied, UsageError

PATH_BYTES = 107
"""The most that sun_path holds on Linux, less its final zero (unix(7))."""

BACKLOG = 512
"""Connections that the kernel holds while the loop is busy; more than a thousand at once is an attack or a test."""


class Listener:
    """A bound, listening socket at a path."""

    def __init__(
        self,
        path: Path,
        mode: int = 0o600,
        group: str | None = None,
        given: socket.socket | None = None,
        name: str = "",
    ) -> None:
        """Bind `path`, or take over `given`, which listens there already. `name` is what rules call it.

        Its folder is made (0700) if it is missing. A socket that nobody answers at is removed; one with a living server
        is a `Conflict`. `group`: the socket belongs to it; its folder must let the group in (`UsageError` otherwise).
        """
        self.name = name
        self.path = path.absolute()
        self._identity: tuple[int, int] | None = None
        if given is not None:
            self._socket = given
            return
        size = len(os.fsencode(self.path))
        if size > PATH_BYTES:
            raise UsageError(
                f"the path of the socket is too long: {self.path}; name a shorter one with --socket",
                expected=f"at most {PATH_BYTES} bytes",
                got=size,
            )
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise Denied(f"cannot make the folder {self.path.parent} for the socket: {error.strerror}") from error
        gid = -1 if group is None else _group_that_can_enter(group, self.path.parent)
        self._remove_dead()
        self._socket = _bind(self.path, mode, gid)
        self._identity = self._stat()

    def listening(self) -> socket.socket:
        """The socket, as one more descriptor that is the caller's to close."""
        return self._socket.dup()

    def trio_listener(self) -> trio.SocketListener:
        """The socket for `trio.serve_listeners`."""
        self._socket.setblocking(False)
        return trio.SocketListener(trio.socket.from_stdlib_socket(self._socket.dup()))

    def close(self) -> None:
        """Stop listening. A path that was bound here is removed, unless another socket lies there by now."""
        self._socket.close()
        if self._identity is not None and self._stat() == self._identity:
            self.path.unlink(missing_ok=True)

    def _stat(self) -> tuple[int, int] | None:
        try:
            status = self.path.lstat()
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino

    def _remove_dead(self) -> None:
        """Make way for a new socket. Raises `Conflict` for a living one, `UsageError` for anything else at the path."""
        try:
            mode = self.path.lstat().st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(mode):
            raise UsageError(f"{self.path} is there and is not a socket; name another path with --socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            try:
                with contextlib.suppress(BlockingIOError):  # so many wait for that server that one more had to wait
                    probe.connect(os.fspath(self.path))
            except OSError as error:
                if error.errno not in (errno.ECONNREFUSED, errno.ENOENT):
                    raise Denied(f"cannot tell whether {self.path} is in use: {error.strerror}") from error
            else:
                raise Conflict(f"a server answers at {self.path} already; see: udfstore status --socket {self.path}")
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise Denied(f"nobody answers at {self.path}, and it cannot be removed: {error.strerror}") from error


def _bind(path: Path, mode: int, gid: int) -> socket.socket:
    """Bind under a tight umask: until owner and mode are set, nobody else can connect."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(os.fspath(path))
    except OSError as error:
        listener.close()
        raise Denied(f"cannot bind the socket {path}: {error.strerror}") from error
    finally:
        os.umask(before)
    try:
        if gid != -1:
            os.chown(path, -1, gid)
        path.chmod(mode)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        path.unlink(missing_ok=True)
        raise Denied(f"cannot open the socket {path} to others: {error.strerror}") from error
    return listener


def _group_that_can_enter(name: str, folder: Path) -> int:
    try:
        gid = grp.getgrnam(name).gr_gid
    except KeyError:
        raise UsageError(f"no group {name} for the socket on this system") from None
    status = folder.stat()
    enters = (status.st_gid == gid and status.st_mode & stat.S_IXGRP) or status.st_mode & stat.S_IXOTH
    if not enters:
        raise UsageError(
            f"the group {name} cannot enter {folder}, the folder of the socket; "
            f"run: chgrp {name} {folder} && chmod 750 {folder}"
        )
    return gid

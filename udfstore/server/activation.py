"""Sockets that a service manager opened for this process (sd_listen_fds(3)).

The manager keeps them open while a server ends and the next one starts: who connects in between waits, and is served by
the next. An upgrade refuses nobody.
"""

from __future__ import annotations

import contextlib
import grp
import os
import socket
import stat
from collections.abc import Collection, MutableMapping
from pathlib import Path

from udfstore.errors import UsageError

FIRST = 3
"""The descriptor of the first socket; the others follow."""

UNIX = "udfstore"
"""Name of the socket for UDFs and the command line, where the settings name no others."""

OTHERS = ("http", "metrics")
"""Any other is named by what it serves."""

_FAMILIES = {socket.AF_UNIX, socket.AF_INET, socket.AF_INET6}
_VARIABLES = ("LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES")


def take(environ: MutableMapping[str, str] = os.environ, unix: Collection[str] = (UNIX,)) -> dict[str, socket.socket]:
    """The sockets meant for this process, by name; none where no manager opened any.

    They are closed in programs that this one starts, and the variables are taken away, so that none of those believes
    itself to be meant. `unix` are the names of those for UDFs and the command line. Raises `UsageError` for one that is
    no listening stream socket, or whose name nobody knows, or given twice. A single one may be without a name: it is
    the first of `unix`.
    """
    pid, _, count, names = (environ.pop(variable, "") for variable in _VARIABLES)
    if not pid or not count:
        return {}
    if not (pid.isdecimal() and count.isdecimal()):
        raise UsageError("LISTEN_PID and LISTEN_FDS are numbers", got=f"{pid!r} and {count!r}")
    if int(pid) != os.getpid():
        return {}
    descriptors = range(FIRST, FIRST + int(count))
    with contextlib.ExitStack() as undo:
        taken: dict[str, socket.socket] = {}
        for descriptor, name in zip(descriptors, _names(names, len(descriptors), [*unix]), strict=True):
            if name in taken:
                raise UsageError(f"two sockets named {name} were passed on; one is served")
            taken[name] = undo.enter_context(_listening(descriptor, name, unix=name in unix))
        undo.pop_all()
    return taken


def _names(text: str, count: int, unix: list[str]) -> list[str]:
    """A name for each socket."""
    names = text.split(":") if text else []
    if count == 1 and names in ([], ["unknown"]):  # what systemd says for none
        return unix[:1]
    if len(names) != count:
        raise UsageError("each socket that is passed on has a name", expected=f"{count} names", got=text or "none")
    for name in names:
        if name not in (*unix, *OTHERS):
            raise UsageError(
                f"nothing here serves a socket named {name}; set FileDescriptorName= in its socket unit",
                expected=" or ".join([*unix, *OTHERS]),
            )
    return names


def _listening(descriptor: int, name: str, *, unix: bool) -> socket.socket:
    """The descriptor as a listening socket of a kind that fits its name."""
    try:
        os.set_inheritable(descriptor, False)
        given = socket.socket(fileno=descriptor)
    except OSError as error:
        raise UsageError(f"descriptor {descriptor}, passed on as {name}, is no socket: {error.strerror}") from error
    try:
        listens = given.type == socket.SOCK_STREAM and given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        if given.family not in ({socket.AF_UNIX} if unix else _FAMILIES) or not listens:
            kind = "Unix" if unix else "Unix or TCP"
            raise UsageError(f"the socket passed on as {name} is not a listening {kind} socket")
        if given.family == socket.AF_UNIX and not str(given.getsockname()).startswith("/"):
            raise UsageError(
                f"the socket passed on as {name} lies at no absolute path, where a folder would guard it",
                got=repr(given.getsockname()),
            )
    except UsageError:
        given.close()
        raise
    return given


def place(given: socket.socket) -> str:
    """Where it listens, as the setting of that name says it: `unix:PATH` or `HOST:PORT`."""
    name = given.getsockname()
    if given.family == socket.AF_UNIX:
        return f"unix:{name}"
    host, port = name[:2]
    return f"[{host}]:{port}" if given.family == socket.AF_INET6 else f"{host}:{port}"


def check(given: socket.socket, text: str | None) -> None:
    """Refuse a setting that names another place than where `given` listens (`UsageError`); None names none."""
    if text is not None and text != place(given):
        raise UsageError(
            f"the service manager passed on {place(given)}, the settings name {text}; "
            "leave the setting out, or set ListenStream= in the socket unit"
        )


def path_of(given: socket.socket, path: Path | None, mode: int | None, group: str | None) -> Path:
    """The path of a Unix socket that was passed on.

    `path`, `mode` and `group` are what the settings ask for, None for nothing. They have no effect on such a socket, so
    they must agree with it: a socket that is open to more people than somebody wrote down is never served in silence.
    Raises `UsageError`.
    """
    there = Path(given.getsockname())
    check(given, None if path is None else f"unix:{path.absolute()}")
    try:
        status = there.stat()
    except OSError as error:
        raise UsageError(f"nobody can reach the socket that was passed on, {there}: {error.strerror}") from error
    if mode is not None and stat.S_IMODE(status.st_mode) != mode:
        raise UsageError(
            f"the permissions of {there} are not those of socket_mode; set SocketMode= in the socket unit",
            expected=f"{mode:04o}",
            got=f"{stat.S_IMODE(status.st_mode):04o}",
        )
    if group is not None and _group(status.st_gid) != group:
        raise UsageError(
            f"the group of {there} is not socket_group; set SocketGroup= in the socket unit",
            expected=group,
            got=_group(status.st_gid),
        )
    return there


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)

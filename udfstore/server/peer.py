"""Who is at the other end of a Unix socket, by the kernel's word (unix(7), SO_PEERCRED; Linux 4.13, SO_PEERGROUPS)."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path
from typing import Protocol

from udfstore.model import Author

_CREDENTIALS = struct.Struct("3i")
_SO_PEERGROUPS = 59
_GROUPS = 256
"""Supplementary groups that are asked for, as many as Python can; of a peer with more only the first group is known."""


class Peered(Protocol):
    """A connected Unix socket."""

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes: ...


def author_of(peer: Peered) -> Author:
    """The verified part of an author. Of a peer in another PID namespace the kernel tells pid 0, and no program."""
    pid, uid, gid = _CREDENTIALS.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return Author("socket", uid, _groups(peer, gid), pid, _program(pid))


def own_author(front: str) -> Author:
    """This very process as an author."""
    return Author(front, os.getuid(), (os.getgid(),), os.getpid(), _program(os.getpid()))


def _groups(peer: Peered, gid: int) -> tuple[int, ...]:
    try:
        raw = peer.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 4 * _GROUPS)
    except OSError:
        return (gid,)  # more groups than asked for, or a kernel without the option
    others = struct.unpack(f"{len(raw) // 4}I", raw)
    return (gid, *(other for other in others if other != gid))


def _program(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return ""

"""The process of the server, as the system sees it: its limits, its memory, and who started it."""

from __future__ import annotations

import ctypes
import os
import resource
import socket

import trio

_M_ARENA_MAX = -8
"""From glibc's malloc.h; see mallopt(3)."""

HEAPS = 2
"""glibc gives threads up to eight heaps a core, and each keeps what its fullest moment took: a server that lived for
half an hour under mixed load grew from 66 to 212 MiB by that. One thread runs Python at a time, so few do."""


def keep_few_heaps() -> None:
    """Keep the threads that will be started from having a heap each, where the C library is glibc.

    A number that the operator gave glibc stands.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and not _told_otherwise():
        mallopt(_M_ARENA_MAX, HEAPS)


def _told_otherwise() -> bool:
    return "MALLOC_ARENA_MAX" in os.environ or "glibc.malloc.arena_max=" in os.environ.get("GLIBC_TUNABLES", "")


def raise_descriptor_limit() -> None:
    """Take as many descriptors as the system allows: each connection and each open blob needs one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def notify(message: str) -> None:
    """Tell the service manager, if there is one (sd_notify(3): a datagram to $NOTIFY_SOCKET)."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier:
        await notifier.connect("\0" + address[1:] if address.startswith("@") else address)
        await notifier.send(message.encode())

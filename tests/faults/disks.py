"""Disks for tests that have something happen to them; see `logdisk` for where they are made, and by whom."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

from logdisk import DISKS, make_image, run

_GOINGDOWN = 0x8004587D
_WITHOUT_FLUSH = 2
"""Of the log of the file system itself: it is as if the power went."""


class Plain:
    """A file with a file system, under a loop device."""

    def __init__(self, filesystem: str) -> None:
        self._place = Path(tempfile.mkdtemp(dir=DISKS))
        self._image = self._place / "image"
        make_image(filesystem, self._image)

    @contextlib.contextmanager
    def mounted(self, *options: str) -> Iterator[Path]:
        """The root of its file system."""
        folder = self._place / "mounted"
        folder.mkdir(exist_ok=True)
        run("mount", "-o", ",".join(("loop", *options)), self._image, folder)
        try:
            yield folder
        finally:
            run("umount", folder)


@contextlib.contextmanager
def memory(*options: str) -> Iterator[Path]:
    """A file system in memory."""
    folder = Path(tempfile.mkdtemp(dir=DISKS))
    run("mount", "-t", "tmpfs", "-o", ",".join(options), "faults", folder)
    try:
        yield folder
    finally:
        run("umount", folder)


def cut_power(folder: Path) -> None:
    """Whatever a mounted file system has not on its disk by now is lost, and it answers nothing more (ext4, xfs)."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, _GOINGDOWN, struct.pack("I", _WITHOUT_FLUSH))
    finally:
        os.close(fd)


@contextlib.contextmanager
def frozen(folder: Path) -> Iterator[None]:
    """No write to a file system comes back."""
    run("fsfreeze", "--freeze", folder)
    try:
        yield
    finally:
        run("fsfreeze", "--unfreeze", folder)


def meet_an_error(folder: Path) -> None:
    """Let ext4 find itself damaged."""
    device = folder.stat().st_dev
    name = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve().name
    Path(f"/sys/fs/ext4/{name}/trigger_fs_error").write_text("1")

"""A disk that remembers what was written to it and when it was flushed, and what a power cut may leave of that.

It is a file behind FUSE (`logdisk.c`) under a loop device. A flush makes durable what was written before it; of what
was written since the last one a power cut keeps any part, as the volatile cache of a disk does.

All of this happens in a process that left the mounts of the others (`private_mounts`): it works below `PLACE`, in
memory, and what it mounted ends with it, however it ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import shutil
import signal
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

PLACE = Path("/mnt")
"""Where the work is done: a folder that every system has, behind which `private_mounts` puts memory."""

_PROGRAM, DISKS = PLACE / "logdisk", PLACE / "disks"

MIB = 1 << 20

PIECE_BYTES = 4096
"""What a disk writes as a whole or not at all: a sector, as disks have them today."""

KEPT = (0.0, 0.5, 0.9, 1.0)
"""Shares of the unflushed pieces that a power cut keeps: disks without any luck, with some, and with a capacitor."""

FILESYSTEMS = {
    "ext4": (64 * MIB, ("mkfs.ext4", "-q", "-E", "nodiscard")),
    "xfs": (320 * MIB, ("mkfs.xfs", "-q", "-K")),
    "btrfs": (128 * MIB, ("mkfs.btrfs", "-q", "-K")),
}
"""How to make each, and how large: xfs takes no less than 300 MiB, btrfs no less than 109. Images are sparse."""

_CLONE_NEWNS = 0x20000
_PR_SET_PDEATHSIG = 1

_Result = TypeVar("_Result")


def lacking(filesystem: str) -> str:
    """What this machine lacks for such a disk, for people; "" when it has all."""
    if os.geteuid() != 0:
        return "needs root, to mount a disk"
    for device in ("/dev/fuse", "/dev/loop-control"):
        if not Path(device).exists():
            return f"needs {device}"
    for program in ("gcc", "pkg-config", FILESYSTEMS[filesystem][1][0]):
        if shutil.which(program) is None:
            return f"needs {program}: make tools"
    if subprocess.run(["pkg-config", "--exists", "fuse3"], check=False).returncode:
        return "needs libfuse3-dev: make tools"
    probe = ["unshare", "--mount", "mount", "-t", "tmpfs", "power-loss", str(PLACE)]
    found = subprocess.run(probe, capture_output=True, text=True, check=False)
    if found.returncode:
        return f"needs to be allowed to mount: {found.stderr.strip()}"
    with contextlib.suppress(FileNotFoundError):
        subprocess.run(["modprobe", "--quiet", filesystem], check=False)
    if filesystem not in Path("/proc/filesystems").read_text().split():
        return f"needs a kernel with {filesystem}"
    return ""


def private_mounts() -> None:
    """Leave the mounts of other processes, for good, and make the program. This process ends with its parent."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if libc.unshare(_CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare failed")
    run("mount", "--make-rprivate", "/")
    run("mount", "-t", "tmpfs", "power-loss", PLACE)
    flags = ["pkg-config", "--cflags", "--libs", "fuse3"]
    fuse = subprocess.run(flags, check=True, capture_output=True, text=True).stdout.split()
    source = Path(__file__).with_suffix(".c")
    run("gcc", "-O1", "-Wall", "-Wextra", "-Werror", source, "-o", _PROGRAM, *fuse)
    DISKS.mkdir()


def with_disks(body: Callable[..., _Result], *arguments: object) -> _Result:
    """Call a body that makes disks; they are gone when it is done."""
    run("mount", "-t", "tmpfs", "power-loss", DISKS)
    try:
        return body(*arguments)
    finally:
        run("umount", "--lazy", DISKS)  # with whatever a body that failed left mounted below


class Record(NamedTuple):
    """A write, or a flush where there is no data; the log ends at `end` with it."""

    offset: int
    data: memoryview
    end: int


@dataclass(frozen=True, slots=True)
class Crash:
    """What a power cut left: a disk, and how much had been logged when the power went."""

    disk: Disk
    position: int
    story: str
    """How it came to be, for people."""


class Disk:
    """A disk in a folder: `image` is what it begins with."""

    def __init__(self, folder: Path) -> None:
        self.image = folder / "image"
        self._log = folder / "log"
        self._fuse = folder / "fuse"
        self._mounted = folder / "mounted"
        self._fuse.mkdir()
        self._mounted.mkdir()

    @contextlib.contextmanager
    def mounted(self) -> Iterator[Path]:
        """The root of its file system, which recovers from a crash here. The log begins anew."""
        with contextlib.ExitStack() as stack:
            words = [_PROGRAM, self.image, self._log, self._fuse]
            # A session of its own: a Ctrl-C must not end the disk before what lies on it.
            server = stack.enter_context(subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True))
            stack.callback(server.kill)  # after the unmount below all is written
            assert server.stdout is not None
            if server.stdout.readline() != b"ready\n":
                raise RuntimeError("logdisk did not start")
            stack.callback(run, "umount", "--lazy", self._fuse)  # the loop device may hold it a little longer
            run("mount", "-o", "loop", self._fuse / "disk", self._mounted)
            stack.callback(run, "umount", self._mounted)
            yield self._mounted

    def position(self) -> int:
        """Bytes in the log now: whatever was flushed before this call lies before it."""
        return self._log.stat().st_size

    def log(self) -> list[Record]:
        """All that was written and flushed since it was mounted."""
        return list(_records(self._log.read_bytes()))

    def crashes(self, count: int, chance: random.Random) -> Iterator[Crash]:
        """What `count` power cuts leave, each at a moment since it was mounted, in the order of the moments.

        The moments, and which unflushed pieces are kept, are up to `chance`. Each disk is good until the next is asked
        for.
        """
        log = self.log()
        with tempfile.TemporaryDirectory(dir=DISKS) as folder:
            durable, disk = Path(folder, "durable"), Disk(Path(folder))
            _copy(self.image, durable)
            done = 0
            for cut in sorted(chance.choices(range(1, len(log) + 1), k=count)):
                flushed = max((number for number in range(done, cut) if not log[number].data), default=done)
                _apply(durable, _pieces(log[done:flushed]))
                done = flushed
                pieces = list(_pieces(log[flushed:cut]))
                share = chance.choice(KEPT)
                kept = [piece for piece in pieces if chance.random() < share]
                _copy(durable, disk.image)
                _apply(disk.image, kept)
                story = (
                    f"power cut after {cut} of {len(log)} records, {len(kept)} of {len(pieces)} unflushed pieces kept"
                )
                yield Crash(disk, log[cut - 1].end, story)


def new_disk(filesystem: str) -> Disk:
    """An empty disk with that file system."""
    disk = Disk(Path(tempfile.mkdtemp(dir=DISKS)))
    make_image(filesystem, disk.image)
    return disk


def make_image(filesystem: str, path: Path) -> None:
    """A file with an empty file system of that kind."""
    size, make = FILESYSTEMS[filesystem]
    with path.open("wb") as image:
        image.truncate(size)
    run(*make, path)


def _records(log: bytes) -> Iterator[Record]:
    head = struct.Struct("=QQ")
    view, end = memoryview(log), 0
    while end < len(log):
        offset, length = head.unpack_from(log, end)
        start, end = end + head.size, end + head.size + length
        yield Record(offset, view[start:end], end)


def _pieces(records: Iterable[Record]) -> Iterator[tuple[int, memoryview]]:
    for offset, data, _ in records:
        while data:
            length = PIECE_BYTES - offset % PIECE_BYTES
            yield offset, data[:length]
            offset, data = offset + length, data[length:]


def _apply(image: Path, pieces: Iterable[tuple[int, memoryview]]) -> None:
    with image.open("r+b", buffering=0) as file:
        for offset, data in pieces:
            os.pwrite(file.fileno(), data, offset)


def _copy(source: Path, target: Path) -> None:
    run("cp", "--sparse=always", source, target)


def run(*words: str | Path) -> None:
    """Run a program that says nothing when it is done; raises what it says otherwise."""
    done = subprocess.run([*map(str, words)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, words))}: {done.stderr.strip()}")

"""Every system call that changes the store's files, in one place: the seam at which tests inject faults.

All of these raise `OSError`; `told` turns one into the error a caller is given.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from udfstore.errors import Busy, Denied, InternalError, NoSpace, ReadOnly, TooLarge, UdfstoreError

_LIBC = ctypes.CDLL(None, use_errno=True)
_WRITE_OUT = 2
"""SYNC_FILE_RANGE_WRITE: begin to write, and do not wait."""

_CREATE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW

_FICLONE = 0x40049409

_KINDS: dict[int, type[UdfstoreError]] = {
    errno.ENOSPC: NoSpace,
    errno.EDQUOT: NoSpace,
    errno.EFBIG: TooLarge,
    errno.EMFILE: Busy,
    errno.ENFILE: Busy,
    errno.EROFS: ReadOnly,
    errno.EACCES: Denied,
    errno.EPERM: Denied,
}


def told(error: OSError, doing: str) -> UdfstoreError:
    """The error to raise for a failed system call; `doing` says what it was for."""
    kind = _KINDS.get(error.errno or 0, InternalError)
    return kind(f"{doing} failed: {error.strerror or error}")


@contextlib.contextmanager
def telling(doing: str) -> Iterator[None]:
    """Turn any `OSError` of the body into the error a caller is given."""
    try:
        yield
    except OSError as error:
        raise told(error, doing) from error


def full(error: OSError) -> bool:
    """Whether a call failed only because the disk or a quota is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def scarce(error: OSError) -> bool:
    """Whether a call failed only for want of descriptors."""
    return error.errno in (errno.EMFILE, errno.ENFILE)


def refused(error: OSError) -> bool:
    """Whether a call was refused for a reason that passes or that people mend (space, limits, rights).

    Anything else, above all EIO, means that the disk may have lost what it was given; and so does any error of a sync
    of content: what a full disk did not take is gone from memory, too, and the next sync says that all is well.
    """
    return error.errno in _KINDS


def create(path: Path, mode: int = 0o600) -> int:
    """A descriptor to write a file that did not exist (`FileExistsError` if it did)."""
    fd = os.open(path, _CREATE, mode)
    try:
        os.fchmod(fd, mode)  # the umask may have taken bits away
    except OSError:
        os.close(fd)
        raise
    return fd


def open_update(path: Path) -> int:
    """A descriptor to write into a file that exists."""
    return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)


def open_read(path: Path) -> int:
    """A descriptor to read a file that exists."""
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)


def write(fd: int, data: memoryview) -> None:
    """Write all of `data` at the descriptor's position."""
    while data:
        data = data[os.write(fd, data) :]


def pwrite(fd: int, data: memoryview, offset: int) -> None:
    """Write all of `data` at an offset."""
    while data:
        done = os.pwrite(fd, data, offset)
        data, offset = data[done:], offset + done


def pread(fd: int, offset: int, length: int) -> bytes:
    """Bytes at an offset, fewer only where the file ends."""
    parts: list[bytes] = []
    while length and (part := os.pread(fd, length, offset)):
        parts.append(part)
        offset, length = offset + len(part), length - len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def allocate(fd: int, size: int) -> None:
    """Reserve blocks for a file of `size` bytes."""
    os.posix_fallocate(fd, 0, size)


def clone(fd: int, source: int) -> None:
    """Give a file all content of another at once, by sharing its blocks (ioctl_ficlone(2): btrfs, xfs, and a few)."""
    fcntl.ioctl(fd, _FICLONE, source)


def truncate(fd: int, size: int) -> None:
    """Cut a file off behind `size` bytes."""
    os.ftruncate(fd, size)


def chmod(fd: int, mode: int) -> None:
    """Set the rights of a file."""
    os.fchmod(fd, mode)


def stamp(fd: int, time_ns: int) -> None:
    """Set the time a file was last written, nanoseconds since 1970."""
    os.utime(fd, ns=(time_ns, time_ns))


def begin_writeback(fd: int, offset: int, length: int) -> None:
    """Have the disk begin with what was written there (sync_file_range(2), Linux): nothing is durable by it.

    A later `fdatasync` has less to wait for, and still tells of every error.
    """
    call = getattr(_LIBC, "sync_file_range", None)
    if call is not None:
        call(ctypes.c_int(fd), ctypes.c_int64(offset), ctypes.c_int64(length), ctypes.c_uint(_WRITE_OUT))


def fdatasync(fd: int) -> None:
    """Make a file's content and length durable."""
    os.fdatasync(fd)


def sync_file(path: Path) -> None:
    """Make the content and length of a file durable that somebody else wrote."""
    fd = open_read(path)
    try:
        fdatasync(fd)
    finally:
        os.close(fd)


def close(fd: int) -> None:
    """Close; an error here means that written bytes may be lost."""
    os.close(fd)


def fsync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def link(source: Path, target: Path) -> None:
    """Give a file a second name; never overwrites (`FileExistsError`)."""
    os.link(source, target, follow_symlinks=False)


def rename(source: Path, target: Path) -> None:
    """Rename within the store, replacing the target."""
    source.rename(target)


def unlink(path: Path) -> None:
    """Remove a name; one that is not there is no error."""
    path.unlink(missing_ok=True)


def syncfs(path: Path) -> None:
    """Make everything durable that the file system of a folder holds (Linux; elsewhere all file systems)."""
    fd = open_folder(path)
    try:
        syncfs_at(fd)
    finally:
        os.close(fd)


def open_folder(path: Path) -> int:
    """A descriptor of a folder."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def syncfs_at(fd: int) -> None:
    """The same for the file system of an open folder.

    Errors are kept for each descriptor: one that stays open hears also of those that another process met meanwhile.
    """
    call = getattr(_LIBC, "syncfs", None)
    if call is None:
        os.sync()
    elif call(fd) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def free_bytes(path: Path) -> int:
    """Bytes that the file system of a folder would still take from us."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def check_floor(path: Path, coming: int, floor: int) -> None:
    """Refuse bytes that would leave the file system of a folder less than `floor` (`NoSpace`)."""
    with telling("looking at the free space"):
        free = free_bytes(path)
    if free - coming < floor:
        raise NoSpace(
            "the disk has no room for this save above the floor that tags and removals need; make room:"
            " udfstore gc --dry-run shows what would go",
            expected=f"{coming + floor} bytes free",
            got=free,
        )


def replace_file(path: Path, content: bytes) -> None:
    """Give a name this content, durably: after a failure or a power cut it has the old or the new one, whole."""
    fresh = path.with_name(f"{path.name}.new")
    write_file(fresh, content)
    rename(fresh, path)
    fsync_folder(path.parent)


def write_file(path: Path, content: bytes) -> None:
    """Write a file of this content, durable but for its name; one that is there is overwritten."""
    fd = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            write(fd, memoryview(content))
            fdatasync(fd)
        finally:
            close(fd)
    except OSError:
        with contextlib.suppress(OSError):  # the next try shall begin with another file
            unlink(path)
        raise

"""The root of a store: making one, finding out whether a folder is one that may be opened, and owning it."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from dataclasses import replace
from pathlib import Path

from udfstore.errors import Conflict, Corrupt, Denied, NotFound, ReadOnly, UsageError
from udfstore.store import osfs
from udfstore.store.format import STORE_ID_BYTES, Format, parse, render
from udfstore.store.layout import KNOWN, RESTORING, Layout

_LOCK_BYTES = 512


def find_root(root: Path, create: bool) -> Layout:
    """The layout of a root that may be opened, made as an empty folder when `create` and it is missing.

    Raises `NotFound`, `UsageError` for what is no folder, `Denied` for one that is another user's, that others may
    write to or that we may not, `ReadOnly` on a read-only file system.
    """
    root = root.absolute()
    if create and not root.exists():
        with osfs.telling(f"making {root}"):
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            osfs.fsync_folder(root.parent)
    try:
        root = root.resolve(strict=True)
        found = root.stat()
    except FileNotFoundError as error:
        raise NotFound(f"there is no store at {root}") from error
    except OSError as error:
        raise osfs.told(error, f"looking at {root}") from error
    if not stat.S_ISDIR(found.st_mode):
        raise UsageError(f"the root of a store is a folder; {root} is none")
    if found.st_uid != os.geteuid():
        raise Denied(
            f"{root} belongs to another user; run as its owner", expected=f"uid {os.geteuid()}", got=found.st_uid
        )
    if found.st_mode & 0o022:
        raise Denied(f"others may write to {root}; `chmod 700 {root}` first", got=oct(stat.S_IMODE(found.st_mode)))
    _check_writable(root)
    return Layout(root)


def _check_writable(root: Path) -> None:
    if os.access(root, os.W_OK | os.X_OK | os.R_OK):
        return
    if os.statvfs(root).f_flag & os.ST_RDONLY:
        raise ReadOnly(f"{root} is on a file system that is mounted read-only")
    raise Denied(f"{root} is not writable", expected="a folder that its owner may read, write and enter")


class Lock:
    """Ownership of a root for as long as this is open: an flock, so that it ends with the process whatever happens.

    Line one of LOCK is the owner's pid, line two says where it listens (may be empty).
    """

    def __init__(self, layout: Layout, owner: str) -> None:
        """Take the root. Raises `Conflict` naming the process that has it."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        with osfs.telling(f"opening {layout.lock}"):
            self._fd = os.open(layout.lock, flags, 0o600)
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                text = os.pread(self._fd, _LOCK_BYTES, 0).decode(errors="replace")
                os.close(self._fd)
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    raise
                raise Conflict(f"{layout.root} is in use by {_owner(text)}") from error
            self._write(f"{os.getpid()}\n{owner}\n")

    def release(self) -> None:
        """Let go of the root. May be called again."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _write(self, text: str) -> None:
        # Always over the same bytes, so that a full disk has room for it; and the lock holds without a text, too.
        try:
            os.pwrite(self._fd, text.encode()[:_LOCK_BYTES].ljust(_LOCK_BYTES), 0)
        except OSError as error:
            if not osfs.full(error):
                raise


def _owner(text: str) -> str:
    pid, _, owner = text.strip().partition("\n")
    process = f"process {pid}" if pid else "another process"
    return f"{process}, which listens at {owner}" if owner else process


def is_fresh(layout: Layout) -> bool:
    """Whether the root is empty, or holds only a making that was broken off before it was done.

    Raises `UsageError` for a folder with anything else in it and no FORMAT.
    """
    if layout.format.exists():
        return False
    names = {path.name for path in layout.root.iterdir()} - {"LOCK", "lost+found"}
    if RESTORING in names:
        raise UsageError(
            f"{layout.root} is not a store: a restore into it was broken off; run it again, or remove the folder"
        )
    if names and not ("FORMAT.new" in names and names <= KNOWN):
        shown = ", ".join(sorted(names)[:4])
        raise UsageError(f"{layout.root} is not a store: it has no FORMAT, but holds {shown}")
    return True


def begin(layout: Layout) -> Format:
    """Begin to make a store: its folders, and a FORMAT that `finish` puts in place when all the rest is there."""
    format = Format(os.urandom(STORE_ID_BYTES))
    fresh = layout.format.with_name("FORMAT.new")
    with osfs.telling(f"making a store at {layout.root}"):
        layout.root.chmod(0o700)
        osfs.write_file(fresh, render(format).encode())
        osfs.fsync_folder(layout.root)  # the sign by which a making that is broken off is known comes first
        for folder in layout.folders:
            folder.mkdir(mode=0o700, exist_ok=True)
    return format


def finish(layout: Layout) -> None:
    """The last step of making a store: from here on the folder is one."""
    with osfs.telling(f"making a store at {layout.root}"):
        osfs.syncfs(layout.root)
        osfs.rename(layout.format.with_name("FORMAT.new"), layout.format)
        osfs.fsync_folder(layout.root)


def read_format(layout: Layout) -> Format:
    """What FORMAT says; missing folders are made again, but for log and blobs.

    Raises as `format.parse`, and `Corrupt` when log or blobs are missing.
    """
    with osfs.telling(f"reading {layout.format}"):
        text = layout.format.read_text(errors="replace")
    format = parse(text)
    for folder in (layout.log, layout.blobs):
        if not folder.is_dir():
            raise Corrupt(f"the folder {folder} is missing from the store; restore it from a backup")
    with osfs.telling(f"making the folders of {layout.root}"):
        for folder in layout.folders:
            folder.mkdir(mode=0o700, exist_ok=True)
    return format


def require(layout: Layout, format: Format, feature: str) -> Format:
    """Make FORMAT say, durably, that a release must know this feature; gives what it says then. Raises `OSError`."""
    if feature in format.features:
        return format
    format = replace(format, features=(*format.features, feature))
    osfs.replace_file(layout.format, render(format).encode())
    return format


class Reserve:
    """A file that holds space which is given back when the catalog has to grow on a full disk."""

    def __init__(self, layout: Layout, size: int) -> None:
        self._path, self._size = layout.reserve, size

    def release(self) -> bool:
        """Give the space back; False when that was done before."""
        if not self._path.exists():
            return False
        osfs.unlink(self._path)
        return True

    def restore(self, floor: int) -> None:
        """Take the space again if the disk has it above the floor."""
        if self._path.exists() or osfs.free_bytes(self._path.parent) < self._size + floor:
            return
        try:
            fd = osfs.create(self._path)
            try:
                osfs.allocate(fd, self._size)
            finally:
                osfs.close(fd)
        except OSError as error:
            osfs.unlink(self._path)
            if not osfs.refused(error):
                raise

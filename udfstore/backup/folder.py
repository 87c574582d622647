"""A backup in a folder, which the next one of the same store brings up to date.

    DIR/FORMAT  log/00000001…  blobs/ab/abcdef…  SHA256SUMS  BACKUP.json      the backup
    DIR/new/                                                                  the next one, but for its blobs

Blobs of the next backup are added beside those of the last, each under its name once it is whole and on disk. All else
is made in `new/`, BACKUP.json last: with that the next backup is the one that counts, and a reader looks into `new/`
first. Then its files move up, BACKUP.json last again, and blobs that it does not name are removed. So whatever breaks
this off, either the last backup or the next one is there and whole.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import IO

from udfstore.admin import BackupBlob, BackupHead
from udfstore.backup.form import FORMAT, SUMMARY, SUMS, File, Summary, blob_name, blob_of, name_in
from udfstore.backup.take import Write
from udfstore.errors import Conflict, Corrupt, NotFound
from udfstore.store import osfs
from udfstore.store.blobs import HASH_BUFFER
from udfstore.store.layout import FAN

NEW = "new"

_FRESH = re.compile(rf"log|{FORMAT}|{SUMS}|{re.escape(SUMMARY)}\.new|[0-9a-f]{{64}}", re.ASCII)
_FAN = re.compile("|".join(FAN))
"""What lies in `new/`, and in `blobs/`."""

BATCH, BATCH_BYTES = 256, 64 << 20
"""Blobs that are made durable at once: a sync for each would take longer than all else."""


class Folder:
    """A backup that is being written to a folder. A context manager: one at a time.

    `verify`: blobs that are there are hashed, not only looked at, and fetched again where they are damaged.
    """

    def __init__(self, path: Path, *, verify: bool = False) -> None:
        """Take the folder, made if it is not there. Raises `Conflict` for one that holds something else."""
        self.path = path
        self._verify = verify
        self._written: list[tuple[Path, Path]] = []
        self._written_bytes = 0
        store = next((above for above in path.absolute().parents if (above / "LOCK").is_file()), None)
        if store is not None and (store / "FORMAT").is_file():
            raise Conflict(f"{path} lies inside the store at {store}; take a folder elsewhere, on another disk at best")
        if not path.exists():
            path.mkdir(mode=0o700, parents=True)
            osfs.fsync_folder(path.parent)
        self._lock = _lock(path, fcntl.LOCK_EX)
        try:
            self._last = self._examine()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, kind: object, error: BaseException | None, at: object) -> None:
        self.close()
        if isinstance(error, OSError):
            raise osfs.told(error, f"writing to {self.path}") from error

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self._lock)

    def begin(self, head: BackupHead) -> Summary | None:
        """Begin the next backup. Raises `Conflict` where it would take the place of another store's, or a newer one."""
        last = self._last
        if last is not None:
            if last.store_id != head.store_id:
                raise Conflict(
                    f"{self.path} holds a backup of another store; take another folder",
                    expected=f"store {head.store_id.hex()}",
                    got=last.store_id.hex(),
                )
            if last.epoch > head.epoch or last.revision > head.revision:
                raise Conflict(
                    f"{self.path} holds a backup of what this store does not know; take another folder",
                    expected=f"at most epoch {head.epoch}, revision {head.revision}",
                    got=f"epoch {last.epoch}, revision {last.revision}",
                )
            _move_up(self.path)
        fresh = self.path / NEW
        if fresh.exists():
            shutil.rmtree(fresh)
        (fresh / "log").mkdir(mode=0o700, parents=True)
        (self.path / "blobs").mkdir(mode=0o700, exist_ok=True)
        osfs.fsync_folder(self.path)
        return last

    def file(self, name: str, content: IO[bytes], size: int) -> None:
        """Write a file that is no blob."""
        fd = osfs.create(self.path / NEW / name)
        with _closing(fd):
            while data := content.read(HASH_BUFFER):
                osfs.write(fd, memoryview(data))

    def has(self, blob: BackupBlob) -> bool:
        """Whether a blob is there, and is what it should be as far as was asked for."""
        path = self.path / blob_name(blob.id)
        try:
            found = path.lstat()
        except FileNotFoundError:
            return False
        whole = stat.S_ISREG(found.st_mode) and found.st_size == blob.size
        return whole and (not self._verify or _hash(path) == blob.id.raw)

    def open(self, blob: BackupBlob) -> _Writing:
        """Write a blob."""
        beside = self.path / NEW / blob.id.hex

        def kept() -> None:
            self._written.append((beside, self.path / blob_name(blob.id)))
            self._written_bytes += blob.size
            if len(self._written) >= BATCH or self._written_bytes >= BATCH_BYTES:
                self._name_blobs()

        return _Writing(beside, blob.saved_ns, kept)

    def _name_blobs(self) -> None:
        """Give what was written its names, once it is on disk: what has a name is relied on by the next backup."""
        osfs.syncfs(self.path)
        for beside, path in self._written:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            osfs.rename(beside, path)
        self._written.clear()
        self._written_bytes = 0

    def finish(self, summary: Summary) -> int:
        """Everything is written: make it the backup, durably, and remove blobs that it does not name."""
        self._name_blobs()
        osfs.syncfs(self.path)
        osfs.replace_file(self.path / NEW / SUMMARY, summary.encode())
        _move_up(self.path)
        return self._remove_others()

    def _examine(self) -> Summary | None:
        names = {path.name for path in self.path.iterdir()} - {"lost+found"}
        if SUMMARY in names or (self.path / NEW / SUMMARY).exists():
            return summary_of(self.path)
        if not (names <= {NEW, "blobs"} and _is_ours(self.path)):  # else one was broken off that was the first
            shown = ", ".join(sorted(names)[:4])
            raise Conflict(f"{self.path} is no backup, and not empty: it holds {shown}; take another folder")
        return None

    def _remove_others(self) -> int:
        removed = 0
        with (self.path / SUMS).open("rb") as sums:
            ids = (id for line in sums if (id := blob_of(name_in(line))) is not None)
            named = groupby(ids, lambda id: id.hex[:2])
            following = next(named, None)
            for folder in sorted(path for path in (self.path / "blobs").iterdir() if path.name in FAN):
                while following is not None and following[0] < folder.name:
                    following = next(named, None)
                here: set[str] = set()
                if following is not None and following[0] == folder.name:
                    here = {id.hex for id in following[1]}
                for path in folder.iterdir():
                    if path.name not in here and blob_of(f"blobs/{folder.name}/{path.name}") is not None:
                        path.unlink()
                        removed += 1
        return removed


class _Writing:
    """A blob in a file beside."""

    def __init__(self, beside: Path, saved_ns: int, kept: Callable[[], object]) -> None:
        self._beside, self._saved_ns, self._kept = beside, saved_ns, kept
        self._fd = osfs.create(beside, 0o444)

    def begin(self) -> Write:
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        return lambda data: osfs.write(self._fd, data)

    def keep(self) -> None:
        with _closing(self._fd):
            osfs.stamp(self._fd, self._saved_ns)
        self._kept()

    def drop(self) -> None:
        osfs.close(self._fd)
        osfs.unlink(self._beside)

    leave = drop


def read_folder(path: Path) -> Iterator[File]:
    """The files of a backup in a folder, in their order. Raises `NotFound`, `Conflict` (it is in use), `Corrupt`."""
    summary_of(path)
    lock = _lock(path, fcntl.LOCK_SH)
    with _closing(lock):
        with _opened(path, SUMS) as sums:
            for line in sums:
                with _opened(path, name_in(line)) as file:
                    yield _file(name_in(line), file)
        for name in (SUMS, SUMMARY):
            with _opened(path, name) as file:
                yield _file(name, file)


def summary_of(path: Path) -> Summary:
    """What the folder holds. Raises `NotFound` where it holds no backup."""
    try:
        return Summary.decode(_place(path, SUMMARY).read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(f"{path} is no backup, or none that was ever finished: it has no {SUMMARY}") from error


def _place(path: Path, name: str) -> Path:
    """Where a file of the backup that counts lies."""
    fresh = path / NEW
    return fresh / name if (fresh / SUMMARY).exists() and (fresh / name).exists() else path / name


def _is_ours(path: Path) -> bool:
    """Whether a folder without a backup holds nothing but what one has begun to write."""
    for name, ours in ((NEW, _FRESH), ("blobs", _FAN)):
        folder = path / name
        if folder.exists() and not (folder.is_dir() and all(ours.fullmatch(found.name) for found in folder.iterdir())):
            return False
    return True


def _move_up(path: Path) -> None:
    """Move the files of a backup that counts to where they belong, if that is not yet done."""
    fresh = path / NEW
    if not (fresh / SUMMARY).exists():
        return
    if (fresh / "log").exists():
        if (path / "log").exists():
            shutil.rmtree(path / "log")
        osfs.rename(fresh / "log", path / "log")
    for name in (FORMAT, SUMS):
        if (fresh / name).exists():
            osfs.rename(fresh / name, path / name)
    osfs.fsync_folder(path)
    osfs.fsync_folder(fresh)
    osfs.rename(fresh / SUMMARY, path / SUMMARY)
    osfs.fsync_folder(path)
    shutil.rmtree(fresh)


def _lock(path: Path, how: int) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise Conflict(f"{path} is in use by another backup or restore") from error
    except OSError:  # a file system without locks
        return fd
    return fd


def _file(name: str, file: IO[bytes]) -> File:
    found = os.fstat(file.fileno())
    if not stat.S_ISREG(found.st_mode):
        raise Corrupt(f"{name} of the backup is no plain file")
    return File(name, found.st_size, found.st_mtime_ns, file.read)


def _opened(path: Path, name: str) -> IO[bytes]:
    try:
        return os.fdopen(osfs.open_read(_place(path, name)), "rb")
    except FileNotFoundError as error:
        raise Corrupt(f"{name} is missing from the backup in {path}") from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Corrupt(f"{name} of the backup in {path} is a link, no plain file") from error
        raise


def _hash(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


@contextlib.contextmanager
def _closing(fd: int) -> Iterator[None]:
    try:
        yield
    finally:
        osfs.close(fd)

"""Stores with something in them, backups of them, and all that a store says of itself, to be compared."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from udfstore.backup import Folder, Restored, Stream, Taken, read_folder, read_stream, restore, take
from udfstore.client.base import BaseStore
from udfstore.errors import Gone
from udfstore.local import LocalStore
from udfstore.model import Claim
from udfstore.store import Store, StoreLimits, osfs

SMALL = StoreLimits(floor_bytes=0, reserve_bytes=4096, segment_bytes=6 << 10, group_bytes=2 << 10, record_bytes=1 << 10)
"""A store whose log fills a segment soon."""


def opened(root: Path) -> LocalStore:
    return LocalStore(Store(root, limits=SMALL), Claim())


def silent(_: int) -> Callable[[int], object]:
    return lambda _: None


def fill(store: BaseStore) -> None:
    """Tags moved, rolled back, deleted and held, links, a blob without a name, one that is gone, an empty one."""
    for number in range(40):
        store.save(b"model %d" % number * 50, tag=f"models/{number % 7}", note=f"the {number}th", labels={"n": "1"})
    store.rollback("models/3")
    store.untag("models/4")
    store.hold("models/5", "audit")
    store.save(b"manifest", tag="linking", links=[store.save(b"linked").id])
    store.save(b"no name")
    store.save(b"", tag="empty")
    store.delete(store.save(b"gone", tag="gone").id, force=True, now=True)


def everything(store: BaseStore) -> dict[str, Any]:
    """All tags with their history and content, and all blobs."""
    names = {entry.tag for entry in store.tags()} | {"models/4", "gone"}
    told: dict[str, Any] = {name: list(store.history(name)) for name in names}
    told["blobs"] = [(info.id, info.size, info.saved_ns) for info in store.blobs()]
    for id, _, _ in told["blobs"]:
        told[str(id)] = store.load(id)
    try:
        store.load("gone")
    except Gone as gone:
        told["error"] = gone.message
    return told


def to_folder(store: BaseStore, path: Path, *, verify: bool = False) -> Taken:
    with Folder(path, verify=verify) as folder:
        return take(store, folder, silent)


def to_bytes(store: BaseStore) -> bytes:
    out = io.BytesIO()
    take(store, Stream(out), silent)
    return out.getvalue()


def from_folder(path: Path, root: Path) -> Restored:
    return restore(read_folder(path), root, lambda _: None, lambda _: None)


def from_bytes(stream: bytes, root: Path) -> Restored:
    return restore(read_stream(io.BytesIO(stream)), root, lambda _: None, lambda _: None)


def files_of(folder: Path) -> dict[str, bytes]:
    """The files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Killed(BaseException):
    """The end of a process, as far as files are concerned."""


SEAM = ("create", "write_file", "rename", "fsync_folder", "syncfs")


def kill_at(patch: pytest.MonkeyPatch, number: int) -> None:
    """From now on the `number`th call of those that change files does not come about."""
    count = 0

    def wrap(real: Any) -> Any:
        def call(*arguments: Any) -> Any:
            nonlocal count
            count += 1
            if count == number:
                raise Killed
            return real(*arguments)

        return call

    for name in SEAM:
        patch.setattr(osfs, name, wrap(getattr(osfs, name)))


def damage(path: Path) -> None:
    """Turn a bit of a file, whose length and rights stay."""
    mode = path.stat().st_mode
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    path.chmod(mode)

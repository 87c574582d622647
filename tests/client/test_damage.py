"""Files that were altered or deleted under the store: an error that says so, never wrong bytes, and a way to heal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from udfstore import BlobId, Corrupt

Content = Callable[..., bytes]


@pytest.fixture(params=["altered", "cut", "deleted"])
def damage(request: pytest.FixtureRequest, store: Any) -> Callable[[BlobId], None]:
    """Do to a blob's file what a careless person would."""

    def damage(id: BlobId) -> None:
        file = Path(store.status().root, "blobs", id.hex[:2], id.hex)
        match request.param:
            case "deleted":
                file.unlink()
            case "cut":
                file.chmod(0o600)
                file.write_bytes(file.read_bytes()[:-1])
            case "altered":
                file.chmod(0o600)
                file.write_bytes(bytes(len(file.read_bytes())))

    return damage


def read_whole(store: Any, name: str) -> bytes:
    with store.open(name) as blob:
        data: bytes = blob.read()
        return data


def read_path(store: Any, name: str) -> bytes:
    with store.open(name) as blob:
        blob.verify()
        data: bytes = blob.path.read_bytes()
        return data


READERS: dict[str, Callable[[Any, str], object]] = {
    "load": lambda store, name: store.load(name),
    "open and read": read_whole,
    "open, verify and take the path": read_path,
    "verify": lambda store, name: store.verify(name),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_damaged_content_is_corrupt_until_it_is_saved_again(
    store: Any, unique: str, content: Content, damage: Callable[[BlobId], None], read: Callable[[Any, str], object]
) -> None:
    name = f"{unique}/x"
    id = store.save(content(), tag=name).id
    damage(id)
    with pytest.raises(Corrupt):
        read(store, name)
    # From here on nobody is told that it is there, nor that it never was.
    for again in (read, READERS["load"]):
        with pytest.raises(Corrupt):
            again(store, name)
    with pytest.raises(Corrupt):
        store.tag(f"{unique}/y", id)
    assert store.missing([id]) == [id]
    assert store.get_tag(name).version == 1

    healed = store.save(content(), id=id)
    assert not healed.existed
    assert store.load(name) == content()
    assert store.tag(f"{unique}/y", id).id == id


def test_healthy_content_verifies(store: Any, unique: str, content: Content) -> None:
    saved = store.save(content(), tag=f"{unique}/x")
    before = store.stat(saved.id).verified_ns
    assert store.verify(f"{unique}/x").verified_ns > before

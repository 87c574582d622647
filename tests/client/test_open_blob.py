"""Blobs that are read as files, by position, by name or by descriptor."""

from __future__ import annotations

import io
import mmap
import os
from collections.abc import Callable
from typing import Any

import pytest

from udfstore import Conflict, NotFound

MIB = 1 << 20
Content = Callable[..., bytes]


@pytest.fixture
def lines(store: Any, unique: str) -> tuple[str, bytes]:
    """A tag on 2.5 MiB of numbered lines: more than two chunks, more than two read-aheads."""
    data = b"".join(b"%s line %d\n" % (unique.encode(), number) for number in range(2_600_000 // (len(unique) + 12)))
    assert len(data) > 2 * MIB
    store.save(data, tag=f"{unique}/x")
    return f"{unique}/x", data


def test_an_open_blob_says_what_it_is(store: Any, unique: str, content: Content) -> None:
    saved = store.save(content(), tag=f"{unique}/x", note="why")
    with store.open(f"{unique}/x") as blob:
        assert (blob.id, blob.size, blob.tag, blob.version) == (saved.id, saved.size, f"{unique}/x", 1)
        assert blob.entry.note == "why"
    with store.open(saved.id) as blob:
        assert (blob.tag, blob.version, blob.entry) == (None, None, None)
    with pytest.raises(NotFound):
        store.open(f"{unique}/nothing")


def test_it_is_read_as_any_binary_file(store: Any, lines: tuple[str, bytes]) -> None:
    name, data = lines
    reference = io.BytesIO(data)
    with store.open(name) as blob:
        assert blob.readable()
        assert blob.seekable()
        assert not blob.writable()
        for offset, whence, length in [
            (0, 0, 10),
            (MIB - 5, 0, 10),
            (-100, 1, 50),
            (7, 1, 3),
            (-20, 2, 100),
            (5, 2, 1),
        ]:
            assert blob.seek(offset, whence) == reference.seek(offset, whence)
            assert blob.tell() == reference.tell()
            assert blob.read(length) == reference.read(length)
        blob.seek(reference.seek(MIB))
        assert [blob.readline(), blob.readline()] == [reference.readline(), reference.readline()]
        buffer = bytearray(MIB + 3)
        blob.seek(11)
        assert blob.readinto(buffer) == len(buffer)
        assert buffer == data[11 : 11 + len(buffer)]
        blob.seek(0)
        assert sum(1 for _ in blob) == data.count(b"\n")
        with pytest.raises(io.UnsupportedOperation, match="never changes"):
            blob.write(b"")


def test_it_is_read_whole_or_to_its_end(store: Any, lines: tuple[str, bytes]) -> None:
    name, data = lines
    with store.open(name) as blob:
        assert blob.read() == data
        assert blob.read() == b""
    with store.open(name) as blob:
        assert blob.read(100) + blob.read() == data


def test_path_and_descriptor_have_the_same_bytes(store: Any, lines: tuple[str, bytes]) -> None:
    name, data = lines
    with store.open(name) as blob:
        assert blob.path.read_bytes() == data
        with mmap.mmap(blob.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            assert mapped[:] == data
        with open(os.dup(blob.fileno()), "rb") as file:
            assert file.read() == data
        assert blob.read() == data


def test_an_empty_blob_has_a_path_too(store: Any, unique: str) -> None:
    store.save(b"", tag=f"{unique}/x")
    with store.open(f"{unique}/x") as blob:
        assert (blob.read(), blob.path.read_bytes(), blob.size) == (b"", b"", 0)


def test_verifying_does_not_move_the_reader(store: Any, lines: tuple[str, bytes]) -> None:
    name, data = lines
    with store.open(name) as blob:
        begun = blob.read(100)
        blob.verify()
        assert begun + blob.read() == data
        blob.verify()


def test_it_stays_the_same_blob_when_the_tag_moves(store: Any, lines: tuple[str, bytes], content: Content) -> None:
    name, data = lines
    with store.open(name) as blob:
        begun = blob.read(10)
        store.save(content("new"), tag=name)
        assert (blob.version, begun + blob.read()) == (1, data)
        assert blob.path.read_bytes() == data


def test_a_temporary_file_goes_with_the_blob(store: Any, unique: str, content: Content) -> None:
    store.save(content(), tag=f"{unique}/x")
    with store.open(f"{unique}/x") as blob:
        path = blob.path
    assert not path.exists() or path.is_relative_to(store.status().root)


def test_what_is_open_can_be_saved_again(store: Any, unique: str, lines: tuple[str, bytes]) -> None:
    name, data = lines
    with store.open(name) as blob:
        blob.read(10)
        assert store.save(blob).size == len(data) - 10


def test_a_version_that_is_open_may_be_removed_meanwhile(store: Any, unique: str, content: Content) -> None:
    """What was opened by name of a file or from the local store goes on; nothing is ever other bytes."""
    saved = store.save(content(), tag=f"{unique}/x")
    with store.open(f"{unique}/x") as blob:
        path = blob.path
        with pytest.raises(Conflict):
            store.delete(saved.id)
        if not path.is_relative_to(store.status().root):
            store.delete(saved.id, force=True)
            assert path.read_bytes() == content()

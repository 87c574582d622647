"""A server at its limits of descriptors, of the size of files and of memory: what needs more fails alone."""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kit import ServerProcess

import udfstore
from udfstore.errors import Busy, TooLarge, UdfstoreError

MIB = 1 << 20


@contextmanager
def limited(server: ServerProcess, what: int, most: int) -> Iterator[None]:
    """A server that may have no more of something, until the end of the block."""
    before = resource.prlimit(server.pid, what)
    resource.prlimit(server.pid, what, (most, before[1]))
    try:
        yield
    finally:
        resource.prlimit(server.pid, what, before)


@pytest.fixture
def store(own_server: ServerProcess) -> Iterator[udfstore.Store]:
    with udfstore.connect(own_server.socket, descriptors=False) as store:
        store.save(b"small", tag="small")
        store.save(os.urandom(MIB), tag="large")
        store.load("large")
        yield store


def test_no_descriptor_is_left(own_server: ServerProcess, store: udfstore.Store) -> None:
    large = os.urandom(MIB)
    taken = {int(path.name) for path in Path(f"/proc/{own_server.pid}/fd").iterdir()}
    free = min(set(range(len(taken) + 1)) - taken)
    with limited(own_server, resource.RLIMIT_NOFILE, free):
        for need in (lambda: store.save(large), lambda: store.load("large")):
            with pytest.raises(Busy):
                need()
        assert store.stat("large").size == MIB
        assert store.tag("again", "small").version == 1
        assert [entry.tag for entry in store.tags()] == ["again", "large", "small"]
    assert store.save(large).size == MIB
    assert store.load("again") == b"small"


def test_files_may_grow_no_further(own_server: ServerProcess, store: udfstore.Store) -> None:
    with limited(own_server, resource.RLIMIT_FSIZE, 16 * MIB):
        with pytest.raises(TooLarge):
            store.save(os.urandom(17 * MIB))
        assert store.save(b"another", tag="another").size == 7
        assert len(store.load("large")) == MIB
        store.delete("small", force=True)
    store.save(os.urandom(17 * MIB))
    assert not list((own_server.root / "staging").iterdir())


def address_space(pid: int) -> int:
    found = re.search(r"VmSize:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) << 10


def test_content_needs_no_memory_of_its_size(own_server: ServerProcess, store: udfstore.Store) -> None:
    content = os.urandom(200 * MIB)
    with limited(own_server, resource.RLIMIT_AS, address_space(own_server.pid) + 150 * MIB):
        assert store.load(store.save(content).id) == content


def test_no_memory_is_left(own_server: ServerProcess, store: udfstore.Store) -> None:
    """What was acknowledged is there, whatever else becomes of the server."""
    saved = []
    with limited(own_server, resource.RLIMIT_AS, address_space(own_server.pid)):
        for number in range(20):
            try:
                saved.append(store.save(bytes([number]) * MIB).id)
            except UdfstoreError:
                break
    own_server.restart()
    for id in saved:
        store.verify(id)
    assert store.save(b"goes on").size == 7

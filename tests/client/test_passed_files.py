"""Open files instead of content: what they are good for, and what happens where they cannot be passed."""

from __future__ import annotations

import gzip
import io
import mmap
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kit import Relay, ServerProcess

import udfstore
from udfstore import BlobId, Corrupt, Mismatch, calls
from udfstore.client import operations
from udfstore.client.conversation import Conversation
from udfstore.client.files import FileBlob
from udfstore.client.operations import Wait, Work
from udfstore.client.sources import HAND_OVER_FROM, Source
from udfstore.errors import Busy
from udfstore.model import Claim
from udfstore.session.events import Committed, Opened, Welcome
from udfstore.session.host import HostSession

Content = Callable[..., bytes]
PASSING = ("socket", "trio", "asyncio")


@pytest.fixture(params=PASSING)
def passing(request: pytest.FixtureRequest, own_server: ServerProcess, open_as: Callable[[str, Path], Any]) -> Any:
    """A store of every kind that passes descriptors, at a server of this test's own."""
    return open_as(request.param, own_server.socket)


@pytest.fixture
def large(folder: Path) -> Path:
    """A file that is handed over."""
    path = folder / "large"
    path.write_bytes(os.urandom(HAND_OVER_FROM))
    return path


def is_passed(blob: Any) -> bool:
    """Whether an open blob is the store's own file."""
    return type(blob.raw) is FileBlob


# --- what an open blob is good for ---


def test_an_open_blob_outlives_its_name_its_server_and_its_store(
    passing: Any, own_server: ServerProcess, content: Content
) -> None:
    id = passing.save(content()).id
    with passing.open(id) as blob:
        assert is_passed(blob)
        passing.delete(id, now=True)
        own_server.kill()
        passing.close()
        assert blob.read() == content()
        assert blob.path.read_bytes() == content()
        blob.verify()
        with mmap.mmap(blob.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            assert mapped[:] == content()
            blob.close()
            assert mapped[:] == content()


def test_another_program_can_open_the_path_while_the_blob_is_open(passing: Any, content: Content) -> None:
    with passing.open(passing.save(content()).id) as blob:
        assert subprocess.run(["cat", blob.path], capture_output=True, check=True).stdout == content()
        with pytest.raises(PermissionError if os.geteuid() else OSError):
            blob.path.open("r+b") if os.geteuid() else os.write(blob.fileno(), b"x")


def test_a_map_that_was_damaged_is_found_by_verifying_and_put_away(
    passing: Any, own_server: ServerProcess, content: Content
) -> None:
    id = passing.save(content()).id
    with passing.open(id) as blob:
        blob.verify()
        damage(own_server, id)
        with pytest.raises(Corrupt):
            blob.verify()
        with pytest.raises(Corrupt):
            blob.read()
    assert [path.name[:64] for path in (own_server.root / "quarantine").iterdir()] == [id.hex]
    with pytest.raises(Corrupt):
        passing.load(id)


def test_damage_is_found_without_the_server_too(passing: Any, own_server: ServerProcess, content: Content) -> None:
    id = passing.save(content()).id
    with passing.open(id) as blob:
        damage(own_server, id)
        own_server.kill()
        with pytest.raises(Corrupt, match="damaged"):
            blob.verify()


def damage(server: ServerProcess, id: BlobId) -> None:
    file = server.root / "blobs" / id.hex[:2] / id.hex
    file.chmod(0o600)
    with file.open("r+b") as opened:
        opened.write(b"damage")


def test_nothing_stays_open(passing: Any, own_server: ServerProcess, large: Path) -> None:
    def opened() -> list[str]:
        links = [*Path("/proc/self/fd").iterdir(), *Path(f"/proc/{own_server.pid}/fd").iterdir()]
        names = [str(link.readlink()) for link in links if link.is_symlink()]
        content = (f"{own_server.root}/blobs/", f"{own_server.root}/staging/")
        return [name for name in names if name.startswith(content) or name == str(large)]

    for _ in range(3):
        id = passing.save(large, tag="x").id
        passing.load("x")
        passing.open(id).close()
        list(passing.history("x"))  # what the server still had to say was read
    assert opened() == []


# --- where none can be passed ---


def test_none_are_passed_unless_wanted(own_server: ServerProcess, content: Content) -> None:
    with (
        udfstore.connect(own_server.socket, descriptors=False) as store,
        store.open(store.save(content()).id) as blob,
    ):
        assert not is_passed(blob)
        assert blob.path.read_bytes() == content()


def test_a_relay_that_passes_bytes_alone_is_no_hindrance(
    folder: Path, own_server: ServerProcess, large: Path, open_as: Callable[[str, Path], Any]
) -> None:
    with Relay(folder / "relay", own_server.socket, lambda data, went: False) as relay:
        for kind in PASSING:
            store = open_as(kind, relay.path)
            saved = store.save(large, tag=kind)
            assert saved.entry.version == 1
            with store.open(kind) as blob:
                assert not is_passed(blob)
                assert blob.read() == large.read_bytes()
            assert store.load(kind) == large.read_bytes()
            store.close()
            again = open_as(kind, relay.path)
            assert again.load(kind) == large.read_bytes()


@contextmanager
def nothing_more_to_open() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_process_that_may_open_no_more_files_gets_content(own_server: ServerProcess, large: Path) -> None:
    data = large.read_bytes()
    with udfstore.connect(own_server.socket) as store, large.open("rb") as file:
        id = store.save(data).id
        with nothing_more_to_open():
            assert store.load(id) == data
            with store.open(id) as blob:
                assert not is_passed(blob)
                assert blob.read() == data
            assert store.save(file).existed
        assert store.load(id) == data
    with udfstore.connect(own_server.socket) as store, store.open(id) as blob:
        assert is_passed(blob)


def test_a_server_with_its_hands_full_gets_content(large: Path) -> None:
    """The host says busy to the file, and then takes the chunks."""
    welcome = Welcome("test", bytes(16), 1, 0, chunk_bytes=1 << 20, calls=4, session=1, descriptors=True)
    host, talk = HostSession(welcome), Conversation(Claim(), descriptors=True)
    data, size = large.read_bytes(), HAND_OVER_FROM
    saved = calls.Saved(BlobId.of(data), size, existed=False)
    heard: list[Any] = []

    def exchange() -> None:
        carry(host, talk.receive)
        carry(talk.session, lambda data, tokens: heard.extend(host.receive(data, tokens)))
        while heard:
            event = heard.pop(0)
            if isinstance(event, Opened) and event.file is not None:
                assert os.pread(event.file.fileno(), size, 0) == data
                event.file.close()
                host.fault(event.call, Busy("later"))
            elif isinstance(event, Opened):
                host.grant(event.call, 2 * size)
            elif isinstance(event, Committed) and host.is_open(event.call):
                host.result(event.call, saved)

    def run(operation: operations.Operation) -> Any:
        value = None
        try:
            while True:
                step = operation.send(value)
                value = step.do() if isinstance(step, Work) else None
                while isinstance(step, Wait) and not step.ready():
                    exchange()
        except StopIteration as done:
            return done.value

    exchange()
    exchange()
    with large.open("rb") as file:
        source = Source.of(file)
        save = operations.save(talk, calls.Save(size=size), source.read, calls.Commit(size), source.handed)
        assert run(save) == saved


def carry(session: Any, receive: Callable[[bytes, list[Any]], object]) -> None:
    """What a session has to send, to another."""

    def send(buffers: list[memoryview], token: Any) -> int:
        data = b"".join(buffers)
        receive(data, [] if token is None else [io.FileIO(os.dup(token.fileno()))])
        return len(data)

    session.outbox.flush(send)


# --- what is handed over ---


def test_regular_files_are_handed_over_and_nothing_else(large: Path, folder: Path) -> None:
    class Counting(io.BufferedReader):
        """Reads something else than its descriptor has."""

    packed = folder / "packed"
    packed.write_bytes(os.urandom(2 * HAND_OVER_FROM))
    (folder / "gz").write_bytes(gzip.compress(large.read_bytes()))
    (folder / "small").write_bytes(b"small")
    with ExitStack() as stack:

        def handed(content: Any) -> bool:
            if hasattr(content, "close"):
                stack.enter_context(content)
            source = Source.of(content)
            stack.callback(source.close)
            return source.handed is not None

        assert handed(large)
        assert handed(large.open("rb"))
        assert handed(large.open("rb", buffering=0))
        assert handed(large.open("r+b"))
        assert not handed(folder / "small")
        assert not handed(gzip.GzipFile(folder / "gz"))
        assert not handed(Counting(io.FileIO(packed)))
        assert not handed(io.BytesIO(bytes(1 << 20)))
        assert not handed(bytes(1 << 20))


def test_what_was_written_and_not_flushed_belongs_to_the_file(store: Any, large: Path) -> None:
    with large.open("r+b") as file:
        file.seek(0, os.SEEK_END)
        file.write(b"more")
        file.seek(5)
        file.write(b"and here")
        saved = store.save(file)
        assert file.tell() == HAND_OVER_FROM + 4
    assert store.load(saved.id) == large.read_bytes()[13:]


@settings(derandomize=True, deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.integers(0, 3) | st.integers(HAND_OVER_FROM - 1, HAND_OVER_FROM + 1) | st.just((2 << 20) + 1),
    offset=st.integers(0, 3) | st.just(HAND_OVER_FROM),
    seed=st.integers(0, 255),
)
def test_both_ways_give_the_same(server: ServerProcess, folder: Path, size: int, offset: int, seed: int) -> None:
    data = bytes(seed ^ (number >> 8 & 255) ^ (number & 255) for number in range(1024)) * (size // 1024 + 1)
    (folder / "file").write_bytes(bytes(offset) + data[:size])
    told = []
    for descriptors in (True, False):
        with (
            udfstore.connect(server.socket, descriptors=descriptors) as store,
            (folder / "file").open("rb") as file,
        ):
            file.seek(offset)
            saved = store.save(file)
            with store.open(saved.id) as blob:
                told.append((saved.id, saved.size, file.tell(), store.load(saved.id), blob.read(), blob.size))
    assert told[0] == told[1]
    assert told[0][3] == data[:size]


def test_a_file_that_changes_is_stored_as_what_was_read(server: ServerProcess, folder: Path) -> None:
    """The ID is that of what was stored, whatever was in the file before, meanwhile and after."""
    size = 64 << 20
    writer = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os, sys\n"
            "file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)\n"
            f"os.truncate(file, {size})\n"
            "print(flush=True)\n"
            f"while True: os.pwrite(file, os.urandom(4096), int.from_bytes(os.urandom(4)) % {size - 4096})\n",
            str(folder / "changing"),
        ],
        stdout=subprocess.PIPE,
    )
    try:
        assert writer.stdout is not None
        writer.stdout.readline()
        with udfstore.connect(server.socket) as store:
            saved = store.save(folder / "changing")
            assert BlobId.of(store.load(saved.id)) == saved.id
            store.verify(saved.id)
    finally:
        writer.kill()
        writer.communicate()


def test_a_file_that_shrinks_is_said_to(server: ServerProcess, large: Path) -> None:
    with udfstore.connect(server.socket) as store, large.open("rb") as file:
        source = Source.of(file)
        os.truncate(large, 5)
        assert source.handed is not None
        with pytest.raises(Mismatch, match="shorter"):
            store._save(source, calls.Save(size=source.size), calls.Commit(0))

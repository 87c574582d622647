"""Descriptors over a live socket: what they bring, what is refused, and that none stays open."""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio
from inside import LIMITS, Inside, Peer
from live_server import LiveServer, until_gone
from raw_client import RawClient
from trio.testing import MockClock

from udfstore._pb import udfstore_pb2 as pb
from udfstore.server.handed import COPIES
from udfstore.server.transfers import DESCRIPTORS_WAITING
from udfstore.store import Store
from udfstore.wire import codec

MIB = 1 << 20


@pytest.fixture
def client(live: LiveServer) -> Iterator[RawClient]:
    """A client that passes descriptors. None of them is open at the server when it has left."""
    with RawClient(live.socket, descriptors=True) as client:
        before = live.held
        yield client
    until_gone(lambda: live.held - before, f"descriptors, of {before}")
    until_gone(lambda: live.staged, "files in staging")


@pytest.fixture
def file(tmp_path: Path) -> Iterator[tuple[int, bytes]]:
    """A file of a little more than two pieces, and its content."""
    content = os.urandom(2 * MIB + 5)
    (tmp_path / "file").write_bytes(content)
    with (tmp_path / "file").open("rb") as opened:
        yield opened.fileno(), content


def ended(client: RawClient) -> str:
    """What the server said when it ended the conversation."""
    fault = client.rest()[-1].fault
    assert (fault.call, fault.code) == (0, "usage")
    return fault.message


# --- loads ---


def test_a_load_is_answered_with_a_file_that_can_only_be_read(client: RawClient, file: tuple[int, bytes]) -> None:
    client.hand_over(1, file[0], len(file[1]))
    id = client.until("result").result.saved.id
    client.call(2, load=pb.Load(ref=id.hex(), descriptor_from=len(file[1])))
    head = client.next().head
    assert (head.call, head.blob.id, head.descriptor, head.length) == (2, id, True, len(file[1]))
    assert client.next().result == pb.Result(call=2, loaded=pb.Loaded(length=len(file[1])))
    (given,) = client.files
    assert fcntl.fcntl(given.fileno(), fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
    assert given.read() == file[1]


@pytest.mark.parametrize(
    "load",
    [{}, {"descriptor_from": 12}, {"descriptor_from": 0, "offset": 1}, {"descriptor_from": 0, "length": 10}],
    ids=["not asked for", "too small", "from an offset", "a part"],
)
def test_other_loads_are_answered_with_content(client: RawClient, load: dict[str, int]) -> None:
    id = client.save(1, b"the content").id
    client.call(2, load=pb.Load(ref=id.hex(), **load))  # type: ignore[arg-type]
    client.send(pb.Response(credit=pb.Credit(call=2, amount=100)))
    assert not client.until("head").head.descriptor
    assert client.until("chunk").chunk.data in b"the content"
    client.until("result")
    assert not client.files


def test_a_client_that_did_not_say_that_it_takes_them_gets_content(live: LiveServer) -> None:
    with RawClient(live.socket) as client:
        id = client.save(1, b"content").id
        client.call(2, load=pb.Load(ref=id.hex(), descriptor_from=0))
        client.send(pb.Response(credit=pb.Credit(call=2, amount=100)))
        assert client.until("chunk").chunk.data == b"content"
        client.until("result")
        assert not client.files


def test_what_is_not_there_is_a_fault_of_its_call(client: RawClient) -> None:
    client.call(1, load=pb.Load(ref="no/such", descriptor_from=0))
    assert client.next().fault.code == "not-found"
    client.call(2, status=pb.Status())
    client.until("result")


def test_a_client_that_does_not_read_holds_few_files_open(live: LiveServer, client: RawClient) -> None:
    id = client.save(1, b"content").id
    held = live.held.total()
    loads = b"".join(
        codec.encode(pb.Response(call=pb.Call(call=number, load=pb.Load(ref=id.hex(), descriptor_from=0))))
        for number in range(2, 1500)
    )
    client.send_bytes(loads)
    with RawClient(live.socket) as other:  # once it is answered, all that came before was taken
        other.call(1, status=pb.Status())
        other.until("result")
        most = live.held.total()
    assert most <= held + 1 + DESCRIPTORS_WAITING + 64
    left = 1498
    while left:
        message = client.next()
        if message.WhichOneof("message") in ("result", "fault"):
            left -= 1
        elif not message.head.descriptor:
            client.send(pb.Response(cancel=pb.Cancel(call=message.head.call)))
    assert len(client.files) >= DESCRIPTORS_WAITING
    assert all(file.read() == b"content" for file in client.files)


# --- saves ---


def test_a_save_is_what_the_file_holds_from_the_offset_on(client: RawClient, file: tuple[int, bytes]) -> None:
    number, content = file
    client.hand_over(1, number, MIB + 7, offset=11)
    saved = client.until("result").result.saved
    assert saved.id == hashlib.sha256(content[11 : 11 + MIB + 7]).digest()
    assert (saved.size, saved.existed) == (MIB + 7, False)
    client.hand_over(2, number, MIB + 7, offset=11)
    assert client.until("result").result.saved.existed
    client.hand_over(3, number, MIB + 7, offset=11, id=saved.id, commit=False)
    assert client.until("result").result.saved.existed


def test_a_tag_moves_with_it(client: RawClient, file: tuple[int, bytes]) -> None:
    frame = pb.Call(call=1, request=os.urandom(16), save=pb.Save(size=10, descriptor=True))
    client.send_bytes(codec.encode(pb.Response(call=frame)), [file[0]])
    client.send(pb.Response(commit=pb.Commit(call=1, size=10, target=pb.Target(tag="by/descriptor"))))
    assert client.until("result").result.saved.entry.tag == "by/descriptor"


def test_an_empty_one_and_one_without_a_name(client: RawClient) -> None:
    memory = os.memfd_create("content")
    try:
        client.hand_over(1, memory, 0)
        assert client.until("result").result.saved.id == hashlib.sha256().digest()
        os.write(memory, b"in memory")
        client.hand_over(2, memory, 9)
        assert client.until("result").result.saved.id == hashlib.sha256(b"in memory").digest()
    finally:
        os.close(memory)


def no_file(kind: str, folder: Path, stack: ExitStack) -> int:
    """A descriptor that nothing can be copied from."""
    path = folder / "x"
    match kind:
        case "FIFO":
            os.mkfifo(path)
            number = os.open(path, os.O_RDWR)
        case "folder":
            number = os.open(folder, os.O_RDONLY)
        case "device":
            number = os.open("/dev/zero", os.O_RDONLY)
        case "socket":
            return stack.enter_context(socket.socket(socket.AF_UNIX)).fileno()
        case "for writing alone":
            number = os.open(path, os.O_CREAT | os.O_WRONLY)
        case _:
            path.touch()
            number = os.open(path, os.O_PATH)
    stack.callback(os.close, number)
    return number


NO_FILES = {
    "FIFO": "usage",
    "folder": "usage",
    "device": "usage",
    "socket": "usage",
    "for writing alone": "unsupported",  # as is a file system of the client's own: its client sends chunks
    "a mere path": "unsupported",
}


@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize("size", [0, 10])
def test_anything_but_a_file_to_read_is_a_fault_of_its_call(
    client: RawClient, tmp_path: Path, kind: str, size: int
) -> None:
    with ExitStack() as stack:
        client.hand_over(1, no_file(kind, tmp_path, stack), size)
    fault = client.until("fault").fault
    assert (fault.call, fault.code) == (1, NO_FILES[kind])
    assert "handed over" in fault.message or "cannot read this file" in fault.message
    client.call(2, status=pb.Status())
    client.until("result")


def test_a_sparse_giant_is_judged_before_a_byte_is_read(client: RawClient, tmp_path: Path) -> None:
    with (tmp_path / "giant").open("wb+") as giant:
        giant.truncate(1 << 43)
        client.hand_over(1, giant.fileno(), 1 << 43)
        assert client.until("fault").fault.code == "no-space"
        client.hand_over(2, giant.fileno(), 3 * MIB, offset=1 << 42)
        assert client.until("result").result.saved.id == hashlib.sha256(bytes(3 * MIB)).digest()


def test_a_file_that_is_shorter_than_it_was_said_to_be(client: RawClient, file: tuple[int, bytes]) -> None:
    for number, offset in ((1, 1), (2, len(file[1]) + 1)):
        client.hand_over(number, file[0], len(file[1]), offset=offset)
        fault = client.until("fault").fault
        assert (fault.call, fault.code) == (number, "mismatch")
        assert "shorter" in fault.message


def test_a_file_that_is_truncated_while_it_is_read(live: LiveServer, client: RawClient, tmp_path: Path) -> None:
    size = 512 * MIB
    with (tmp_path / "file").open("wb+") as file:
        file.truncate(size)
        client.hand_over(1, file.fileno(), size)
        until_gone(lambda: not live.staged, "no file in staging")
        live.pause()
        try:
            file.truncate(MIB)
        finally:
            live.go_on()
        assert client.until("fault").fault.code == "mismatch"


def test_a_file_that_is_another_than_was_announced(client: RawClient, file: tuple[int, bytes]) -> None:
    client.hand_over(1, file[0], len(file[1]), id=hashlib.sha256(b"another").digest())
    assert client.until("fault").fault.code == "mismatch"


def test_a_client_that_leaves_in_mid_copy_leaves_nothing(live: LiveServer, tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb+") as file, RawClient(live.socket, descriptors=True) as client:
        before = live.held
        file.truncate(512 * MIB)
        client.hand_over(1, file.fileno(), 512 * MIB)
        until_gone(lambda: not live.staged, "no file in staging")
    until_gone(lambda: live.held - before, "descriptors")
    until_gone(lambda: live.staged, "files in staging")


# --- rules of the way ---


@pytest.mark.parametrize("count", [2, 16, 17, 253])
def test_more_than_one_with_a_frame_ends_the_conversation(
    client: RawClient, file: tuple[int, bytes], count: int
) -> None:
    save = pb.Call(call=1, save=pb.Save(size=10, descriptor=True))
    client.send_bytes(codec.encode(pb.Response(call=save)), [file[0]] * count)
    assert "descriptor" in ended(client)


def test_one_that_did_not_come_ends_the_conversation(client: RawClient) -> None:
    client.call(1, save=pb.Save(size=10, descriptor=True))
    assert "none came with it" in ended(client)


def test_one_that_was_not_agreed_on_ends_the_conversation(live: LiveServer, file: tuple[int, bytes]) -> None:
    with RawClient(live.socket) as client:
        before = live.held
        client.hand_over(1, file[0], 10, commit=False)
        assert "descriptor" in ended(client)
    until_gone(lambda: live.held - before, "descriptors")


def test_those_of_frames_that_come_a_byte_at_a_time_find_them(client: RawClient, file: tuple[int, bytes]) -> None:
    for number in (1, 2, 3):
        save = pb.Save(size=number, descriptor=True)
        data = codec.encode(pb.Response(call=pb.Call(call=number, save=save)))
        client.send_bytes(data[:1], [file[0]])
        for byte in data[1:]:
            client.send_bytes(bytes((byte,)))
        client.send(pb.Response(commit=pb.Commit(call=number, size=number)))
        assert client.until("result").result.saved.id == hashlib.sha256(file[1][:number]).digest()


def test_those_of_many_frames_at_once_find_them(client: RawClient, tmp_path: Path) -> None:
    ids = {}
    for number in range(1, COPIES + 1):
        path = tmp_path / str(number)
        path.write_bytes(b"%d" % number * number)
        ids[number] = hashlib.sha256(path.read_bytes()).digest()
        with path.open("rb") as file:
            client.hand_over(number, file.fileno(), path.stat().st_size)
    for _ in ids:
        result = client.until("result").result
        assert result.saved.id == ids[result.call]


# --- a file that hangs ---


@pytest.fixture
def reads_that_hang(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Semaphore]:
    """No read of a file that was handed over returns, as on a file system whose server is away. Counts them."""
    begun, over = threading.Semaphore(0), threading.Event()

    def preadv(number: int, buffers: list[memoryview], offset: int, flags: int = 0) -> int:
        begun.release()
        over.wait()
        return 0

    monkeypatch.setattr(os, "preadv", preadv)
    yield begun
    over.set()


async def hand_over(peer: Peer, number: int, descriptor: int, size: int) -> None:
    save = pb.Response(call=pb.Call(call=number, save=pb.Save(size=size, descriptor=True)))
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptor.to_bytes(4, sys.byteorder))
    await peer.socket.sendmsg([codec.encode(save)], [rights])
    await peer.send(pb.Response(commit=pb.Commit(call=number, size=size)))


async def test_files_that_hang_hold_up_nobody_else(
    tmp_path: Path, mock_clock: MockClock, reads_that_hang: threading.Semaphore
) -> None:
    hello = pb.Hello(protocol=1, credit=True, descriptors=True)
    (tmp_path / "file").write_bytes(b"content")
    with Store(tmp_path / "root", create=True) as store, (tmp_path / "file").open("rb") as file:
        async with trio.open_nursery() as nursery:
            inside = Inside(store, nursery)
            async with inside.connected(hello) as peer:
                for number in range(1, COPIES + 1):
                    await hand_over(peer, number, file.fileno(), 7)
                    await trio.to_thread.run_sync(reads_that_hang.acquire)
                await hand_over(peer, 20, file.fileno(), 7)
                fault = (await peer.until("fault")).fault
                assert (fault.call, fault.code) == (20, "busy")
                await peer.call(21, save=pb.Save())
                await peer.send(pb.Response(chunk=pb.Chunk(call=21, data=b"content")))
                await peer.send(pb.Response(commit=pb.Commit(call=21, size=7)))
                assert (await peer.until("result")).result.call == 21
                mock_clock.jump(LIMITS.progress_seconds)
                codes = [(await peer.until("fault")).fault.code for _ in range(COPIES)]
                assert codes == ["timeout"] * COPIES
                await peer.call(22, status=pb.Status())
                await peer.until("result")
            nursery.cancel_scope.cancel()
        assert list((store.root / "staging").iterdir()) == []

"""Clients of every kind. Each is a generator that does one thing, with all of its checks, between two `yield`s."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from queue import Queue
from typing import Any, TypeVar

import httpx
from anyio.from_thread import start_blocking_portal

import udfstore
from tests.client.client_kit import Awaited
from tests.kit import SECONDS
from tests.raw_client import RawClient
from tests.soak.book import LARGE_BYTES, Book
from udfstore._pb import udfstore_pb2 as pb
from udfstore.aio import connect
from udfstore.client.files import OpenBlob
from udfstore.client.retry import Retry
from udfstore.digest import BlobId
from udfstore.errors import CODES, Closing, Code, NoServer
from udfstore.tasks import Node

AWAY = (NoServer, Closing)
TASK = "soak"

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Place:
    """Where everything is."""

    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def socket(self) -> Path:
        return self.folder / "s"

    @property
    def http(self) -> Path:
        """The socket of HTTP: its place is the same after each restart."""
        return self.folder / "h"


Client = Callable[[Place, Book], Generator[None]]


def _patiently(do: Callable[[], _Value]) -> _Value:
    """Do it, and again while the server is away: the first connect of a client does not wait by itself."""
    retry, pause = Retry(time.monotonic), threading.Event()
    while True:
        try:
            return do()
        except AWAY as error:
            pause.wait(retry.delay(error))


def _connect(place: Place, *, descriptors: bool = True) -> udfstore.Store:
    return _patiently(lambda: udfstore.connect(place.socket, descriptors=descriptors))


# --- the library ---


def chunks(place: Place, book: Book) -> Generator[None]:
    with _connect(place, descriptors=False) as store:
        yield from _library(store, place, book)


def descriptors(place: Place, book: Book) -> Generator[None]:
    with _connect(place) as store:
        yield from _library(store, place, book)


def asyncio(place: Place, book: Book) -> Generator[None]:
    async def connected() -> Any:
        return await connect(place.socket)

    with start_blocking_portal("asyncio") as portal, ExitStack() as stack:
        store = Awaited(portal, _patiently(lambda: portal.call(connected)))
        stack.callback(store.close)
        yield from _library(store, place, book)


def _library(store: Any, place: Place, book: Book) -> Generator[None]:
    """Save, move, read back, roll back and delete; large content as a file."""
    file = place.folder / book.name
    while True:
        book.turn()
        page, given = book.page, {"expected_version": book.page.version}
        match book.chance.randrange(12):
            case 0:
                book.saved(store.save(book.content()).id)
            case 1 | 2 | 3 | 4:
                book.moved(store.save(book.content(), tag=page.tag, **given).entry)
            case 5 | 6 if page.version:
                version = book.chance.randint(1, page.version)
                book.moved(store.tag(page.tag, f"{page.tag}@{version}", **given))
            case 7 | 8 | 9 if page.version:
                version, id = book.chance.choice(list(page.ledger.moved.items()))
                assert BlobId.of(store.load(f"{page.tag}@{version}")) == id
                with store.open(id) as blob:
                    assert BlobId.of(blob.read()) == id
                    blob.verify()
            case 10:
                file.write_bytes(book.content(LARGE_BYTES))
                entry = store.save(file, tag=book.large_tag, expected_version=len(book.large)).entry
                book.large[entry.version] = entry.id
            case 11:
                id = store.save(book.content()).id
                page.ledger.remove(id)
                with suppress(udfstore.Gone, udfstore.NotFound):  # collected already
                    store.delete(id, now=book.chance.random() < 0.5)
                page.ledger.gone(id)
        yield


# --- HTTP ---


def http(place: Place, book: Book) -> Generator[None]:
    """Save and name, bring content in parts, look at events and go away in the middle of them."""
    headers = {"Authorization": f"Bearer {(place.root / 'http-token').read_text().strip()}"}
    transport = httpx.HTTPTransport(uds=str(place.http), verify=False)
    with httpx.Client(base_url="http://localhost/v1", transport=transport, headers=headers, timeout=SECONDS) as client:
        while True:
            book.turn()
            content = book.content()
            match book.chance.randrange(4):
                case 0:
                    book.saved(_in_parts(client, content))
                case 1:
                    with suppress(httpx.TransportError), client.stream("GET", "/events?prefix=kept/http/") as events:
                        next(events.iter_lines())
                case _:
                    _save_and_name(client, book, content)
            yield


def _save_and_name(client: httpx.Client, book: Book, content: bytes) -> None:
    page, id = book.page, BlobId.of(content)
    expected = {"If-Match": f'"{page.version}"'} if page.version else {"If-None-Match": "*"}
    key = {"Idempotency-Key": os.urandom(8).hex()}
    while True:
        assert _ask(client, "POST", "/blobs", content=content).json()["id"] == str(id)
        reply = _ask(client, "PUT", f"/tags/{page.tag}", json={"ref": str(id)}, headers=expected | key)
        if reply.status_code in (200, 201):
            break
        assert reply.status_code in (404, 410), reply.text  # collected before it got its name
    book.note(reply.json()["version"], id)
    assert _ask(client, "GET", f"/content/{page.tag}").content == content


def _in_parts(client: httpx.Client, content: bytes) -> BlobId:
    begin = {"Upload-Complete": "?0", "Upload-Length": str(len(content))}
    where = _ask(client, "POST", "/uploads", headers=begin).headers["Location"].removeprefix("/v1")
    while True:
        at = _ask(client, "HEAD", where).headers
        if "Upload-Complete" not in at:  # it expired while the server was away
            return _in_parts(client, content)
        if at["Upload-Complete"] == "?1":
            return BlobId.of(content)
        offset = int(at["Upload-Offset"])
        part = content[offset:] if offset else content[: len(content) // 2]
        last = "?1" if offset + len(part) == len(content) else "?0"
        headers = {"Upload-Offset": str(offset), "Upload-Complete": last, "Content-Type": "application/partial-upload"}
        with suppress(httpx.TransportError):
            client.patch(where, content=part, headers=headers)


def _ask(client: httpx.Client, method: str, url: str, **words: Any) -> httpx.Response:
    """An answer, asked for until the server is there."""

    def ask() -> httpx.Response:
        try:
            reply = client.request(method, url, **words)
        except httpx.TransportError as error:
            raise NoServer(repr(error)) from error
        if reply.status_code == 503:
            raise Closing(reply.text)
        return reply

    return _patiently(ask)


# --- followers and nodes ---


def follower(place: Place, book: Book) -> Generator[None]:
    """Move a tag, and see it move: as a value that is loaded, and as an event of a watch."""
    while True:
        book.turn()
        with _connect(place) as store:
            _move(store, book)
        with _connect(place) as store, _watched(place, book.page.tag) as events:
            loaded: Queue[bytes] = Queue()

            def load(blob: OpenBlob, loaded: Queue[bytes] = loaded) -> None:
                loaded.put(blob.read())

            with store.follow(book.page.tag, load):
                while book.page.version < 50 or book.chance.randrange(50):
                    content = _move(store, book)
                    while loaded.get(timeout=SECONDS) != content:
                        pass  # one before it
                    while events.get(timeout=SECONDS) != book.page.version:
                        pass
                    yield


def _move(store: udfstore.Store, book: Book) -> bytes:
    content = book.content(1000)
    book.moved(store.save(content, tag=book.page.tag, expected_version=book.page.version).entry)
    return content


@contextmanager
def _watched(place: Place, tag: str) -> Iterator[Queue[int]]:
    """The versions of a tag as a watch tells them, which leaves none out."""
    versions: Queue[int] = Queue()

    def watch() -> None:
        last = 0
        for event in store.watch(tag):
            for entry in event.entries:
                assert event.present or entry.version == last + 1, "a watch left a version out"
                last = entry.version
                versions.put(last)

    with _connect(place) as store:
        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield versions
        finally:
            store.close()
            thread.join(SECONDS)


def node(place: Place, book: Book) -> Generator[None]:
    """A node whose state is a number: it leaves, comes back, and is given no older one than was acknowledged."""
    count = kept = 0

    def snapshot() -> bytes:
        return b"%d" % count

    def restore(state: bytes) -> None:
        nonlocal count
        count = int(state or b"0")

    me = Node(TASK, book.name, interval=3600)
    with _connect(place) as store:
        while True:
            count = 0
            with store.join(me, snapshot=snapshot, restore=restore) as member:
                assert count >= kept, f"it was restored to {count}, and {kept} was acknowledged"
                for _ in range(20):
                    before = count = count + 1
                    with suppress(*AWAY):
                        if member.take().good:
                            kept = before
                    yield


# --- processes ---


def command_line(place: Place, book: Book) -> Generator[None]:
    """Commands, one process each; a tag that is held does not move until it is released."""
    file = place.folder / "file"
    while True:
        book.turn()
        tag = book.page.tag
        content = book.content()
        file.write_bytes(content)
        for words in (
            ("put", str(file), "--tag", tag, "--expect", str(book.page.version), "--json"),
            ("hold", tag, "--note", "soak", "--json"),
            ("tag", tag, f"{tag}@1"),
            ("release", tag, "--json"),
        ):
            held = words[0] == "tag"
            told = _run(place, *words, expected=(4,) if held else (0,))
            if not held:
                entry = json.loads(told)
                book.note((entry.get("entry") or entry)["version"], BlobId.of(content))
        _run(place, "get", tag, "-o", f"{file}.out")
        assert Path(f"{file}.out").read_bytes() == content
        yield


def operator(place: Place, book: Book) -> Generator[None]:
    """What looks at everything: it may be cut off by the end of the server, and finds nothing wrong."""
    while True:
        for words in (("backup", str(place.folder / "backup")), ("check",), ("gc", "--dry-run"), ("metrics",)):
            _run(place, *words, expected=(0, 5))
            yield


def _run(place: Place, *words: str, expected: tuple[int, ...] = (0,)) -> bytes:
    """A command's output. One that found no server is run again where that is not expected: it did nothing."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("UDFSTORE_", "XDG_"))}
    environment = kept | {"HOME": str(place.folder), "UDFSTORE_SOCKET": str(place.socket)}
    command = (sys.executable, "-m", "udfstore", *words)

    def run() -> bytes:
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True)
        if done.returncode in expected:
            return done.stdout
        said = f"udfstore {' '.join(words)}: status {done.returncode}: {done.stderr.decode()}"
        assert done.returncode == CODES[Code.NO_SERVER].exit, said
        raise NoServer(said)

    return _patiently(run)


def killed(place: Place, book: Book) -> Generator[None]:
    """Processes that are killed in the middle of a save, or of a load that they do not read."""
    processes = multiprocessing.get_context("forkserver")
    while True:
        told, theirs = processes.Pipe(duplex=False)
        process = processes.Process(target=_begin, args=(place.socket, book.chance.random() < 0.5, theirs))
        process.start()
        theirs.close()
        with told, suppress(EOFError):  # it met no server
            told.recv()
        process.kill()
        process.join()
        process.close()
        yield


def _begin(socket: Path, save: bool, told: Connection) -> None:
    with suppress(OSError, EOFError), RawClient(socket) as client:
        client.call(1, save=pb.Save())
        client.chunk(1, bytes(300_000))
        if not save:
            client.send(pb.Response(commit=pb.Commit(call=1, size=300_000)))
            client.call(2, load=pb.Load(ref=client.until("result").result.saved.id.hex()))
        told.send(None)
        signal.pause()


CLIENTS: dict[str, Client] = {
    "chunks": chunks,
    "descriptors": descriptors,
    "asyncio": asyncio,
    "http": http,
    "follower": follower,
    "node1": node,
    "node2": node,
    "command-line": command_line,
    "operator": operator,
    "killed": killed,
}

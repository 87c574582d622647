"""The floors: what the machine gives when there is no protocol and no store. A process of its own, as the server is.

    sink    takes a size (`SIZE_BYTES`, big-endian) and as many bytes, hashes them, writes them to a file whose space it
            reserved, as the store does, makes that durable, answers with the hash
    source  sends a file by sendfile(2)
    echo    a trio server: a request of `REQUEST_BYTES` says how many bytes to answer with

Each has a socket of that name in the folder given on the command line. `source` sends the file called `content` there.
"""

from __future__ import annotations

import hashlib
import os
import queue
import socket
import sys
import threading
from pathlib import Path

import trio

from udfstore.server.process import notify

BUFFER_BYTES = 1024 * 1024
BUFFERS = 4
REQUEST_BYTES = 64
SIZE_BYTES = 8


def receive(connection: socket.socket, path: Path) -> bytes:
    """Store what comes, durable under its name; gives its SHA-256. Receiving, hashing and writing overlap."""
    free: queue.SimpleQueue[bytearray] = queue.SimpleQueue()
    written: queue.SimpleQueue[memoryview] = queue.SimpleQueue()
    received: queue.SimpleQueue[memoryview] = queue.SimpleQueue()
    for _ in range(BUFFERS):
        free.put(bytearray(BUFFER_BYTES))
    digest = hashlib.sha256()
    staging = path.with_suffix(".part")
    fd = os.open(staging, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    os.posix_fallocate(fd, 0, int.from_bytes(connection.recv(SIZE_BYTES, socket.MSG_WAITALL), "big"))

    def write() -> None:
        while data := received.get():
            left = data
            while left:
                left = left[os.write(fd, left) :]
            written.put(data)
        written.put(data)

    def hash_() -> None:
        while data := written.get():
            digest.update(data)
            free.put(data.obj)  # type: ignore[arg-type]

    threads = [threading.Thread(target=write), threading.Thread(target=hash_)]
    for thread in threads:
        thread.start()
    while True:
        buffer = free.get()
        size = connection.recv_into(buffer, BUFFER_BYTES, socket.MSG_WAITALL)
        received.put(memoryview(buffer)[:size])
        if not size:
            break
    for thread in threads:
        thread.join()
    os.fdatasync(fd)
    os.close(fd)
    staging.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
    return digest.digest()


def sink(listener: socket.socket, folder: Path) -> None:
    """Store what each connection brings, and forget it again."""
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(receive(connection, folder / "sunk"))
        (folder / "sunk").unlink()


def source(listener: socket.socket, folder: Path) -> None:
    """Send the file to each connection."""
    while True:
        connection, _ = listener.accept()
        with connection, (folder / "content").open("rb") as file:
            size, sent = os.fstat(file.fileno()).st_size, 0
            while sent < size:
                sent += os.sendfile(connection.fileno(), file.fileno(), sent, size - sent)


async def echo(stream: trio.SocketStream) -> None:
    """Answer each request with as many bytes as it asks for."""
    waiting = b""
    async for data in stream:
        waiting += data
        while len(waiting) >= REQUEST_BYTES:
            asked, waiting = waiting[:REQUEST_BYTES], waiting[REQUEST_BYTES:]
            await stream.send_all(bytes(int.from_bytes(asked[:4], "big")))


async def main(folder: Path) -> None:
    """Offer all floors until the process is ended."""
    for serve in (sink, source):
        threading.Thread(target=serve, args=(listen(folder / serve.__name__), folder), daemon=True).start()
    listener = listen(folder / echo.__name__)
    listener.setblocking(False)
    await notify("READY=1")
    await trio.serve_listeners(echo, [trio.SocketListener(trio.socket.from_stdlib_socket(listener))])


def listen(path: Path) -> socket.socket:
    """A listening socket."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        listener.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
    listener.bind(str(path))
    listener.listen()
    return listener


def connect(path: Path) -> socket.socket:
    """A connection to a floor, with buffers as large as those of udfstore's clients."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        connection.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
    connection.connect(str(path))
    return connection


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]))

"""What tests of several rooms share: real server processes, a relay that cuts connections, and ways to wait."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Self, TypeVar

from udfstore.cli import main

SECONDS = 30.0
"""Nothing here takes as long: what has not happened by then never will."""

_Value = TypeVar("_Value")

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["udfstore.cli.app", "udfstore.cli.serve"])


def _serve(options: list[str], environment: dict[str, str], log: Connection) -> None:
    """The whole life of a server's process, from where the interpreter has imported what it needs."""
    with open(os.devnull, "r+b", buffering=0) as nowhere:
        for number in (0, 1):
            os.dup2(nowhere.fileno(), number)
    os.dup2(log.fileno(), 2)
    log.close()
    os.environ.clear()
    os.environ.update(environment)
    sys.exit(main(["serve", *options]))


class ServerProcess:
    """`udfstore serve` as a real process that can be stopped, killed and started again on the same root.

    It is forked from one that has done the imports, which saves half a second each time. `limits` are fields of
    `ServerLimits`.
    """

    def __init__(self, root: Path, socket: Path, **limits: float | str) -> None:
        self.root = root
        self._limits = [f"--{name.replace('_', '-')}={value}" for name, value in limits.items()]
        self.socket = socket
        self.said: list[str] = []
        """Lines of its log."""
        self._process: ForkServerProcess | None = None
        self._reader: threading.Thread | None = None

    def start(self) -> Self:
        """Start it; returns once it takes connections."""
        options = ["--root", str(self.root), *self._place(), *self._limits]
        unnamed = {name: value for name, value in os.environ.items() if not name.startswith(("UDFSTORE_", "XDG_"))}
        log, theirs = _FORKS.Pipe(duplex=False)
        environment = unnamed | {"HOME": str(self.root.parent)}
        self._process = _FORKS.Process(target=_serve, args=(options, environment, theirs))
        self._process.start()
        theirs.close()
        ready = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(log, ready), daemon=True)
        self._reader.start()
        if not ready.wait(SECONDS) or not self._process.is_alive():
            self.kill()
            raise AssertionError("the server did not get ready:\n" + "\n".join(self.said))
        return self

    def _place(self) -> list[str]:
        """The options that say where it listens."""
        return ["--socket", str(self.socket)]

    def stop(self) -> int:
        """SIGTERM, and its exit status once it has drained."""
        return self._end(ForkServerProcess.terminate)

    def kill(self) -> int:
        """SIGKILL, and its exit status."""
        return self._end(ForkServerProcess.kill)

    def restart(self) -> None:
        """Kill it and start it again."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: it stays, and answers nothing until `go_on`."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    @property
    def pid(self) -> int:
        """Of the process that runs now."""
        assert self._process is not None
        assert self._process.pid is not None
        return self._process.pid

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _read(self, log: Connection, ready: threading.Event) -> None:
        with log, open(log.fileno(), closefd=False) as lines:
            for line in lines:
                self.said.append(line.rstrip())
                if '"event": "ready"' in line:
                    ready.set()
        ready.set()

    def _end(self, end: Callable[[ForkServerProcess], None]) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        end(process)
        process.join(SECONDS)
        status = process.exitcode
        assert status is not None, "the server did not end"
        assert self._reader is not None
        self._reader.join(SECONDS)
        process.close()
        return status


class Relay:
    """A socket in front of a server's that passes bytes on, and cuts the connection where a test wants it.

    `cut` is asked before bytes go back to the client: True drops them and ends both connections, which is what a
    client sees when its request went through and the answer was lost. It is given the bytes that are about to go, and
    how many went before on this connection.
    """

    def __init__(self, path: Path, server: Path, cut: Callable[[bytes, int], bool]) -> None:
        self.path = path
        self.connections = 0
        """How many there have been."""
        self._server = server
        self._cut = cut
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(os.fspath(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(SECONDS)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        went = 0
        with client, socket.socket(socket.AF_UNIX) as server, contextlib.suppress(OSError):
            server.connect(os.fspath(self._server))
            while True:
                readable, _, _ = select.select([client, server], [], [])
                for source in readable:
                    data = source.recv(1 << 16)
                    if not data:
                        return
                    if source is client:
                        server.sendall(data)
                    elif self._cut(data, went):
                        return
                    else:
                        client.sendall(data)
                        went += len(data)


def eventually(look: Callable[[], _Value | None]) -> _Value:
    """Ask until the answer is true: for what another process does in its own time. `look` makes a call of its own."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
    raise AssertionError(f"did not happen within {SECONDS:g} s")


def in_thread(run: Callable[[], _Value]) -> Future[_Value]:
    """Run a function on a thread of its own; take what becomes of it with `result(SECONDS)`."""
    future: Future[_Value] = Future()

    def keep() -> None:
        try:
            future.set_result(run())
        except BaseException as error:  # noqa: BLE001 - raised again by whoever asks for the result
            future.set_exception(error)

    threading.Thread(target=keep, daemon=True).start()
    return future

"""What tests of several rooms share: real server processes, a relay that cuts connections, and ways to wait."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Self, TypeVar

SECONDS = 30.0
"""Nothing here takes as long: what has not happened by then never will."""

_Value = TypeVar("_Value")


class ServerProcess:
    """`udfstore serve` as a real process that can be stopped, killed and started again on the same root.

    `limits` are fields of `ServerLimits`.
    """

    def __init__(self, root: Path, socket: Path, **limits: float) -> None:
        self.root = root
        self._limits = [f"--{name.replace('_', '-')}={value}" for name, value in limits.items()]
        self.socket = socket
        self.said: list[str] = []
        """Lines of its log."""
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def start(self) -> Self:
        """Start it; returns once it takes connections."""
        place = ["--root", str(self.root), "--socket", str(self.socket)]
        unnamed = {name: value for name, value in os.environ.items() if not name.startswith(("UDFSTORE_", "XDG_"))}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "udfstore", "serve", *place, *self._limits],
            env=unnamed | {"HOME": str(self.root.parent)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        ready = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(self._process, ready), daemon=True)
        self._reader.start()
        if not ready.wait(SECONDS) or self._process.poll() is not None:
            self.kill()
            raise AssertionError("the server did not get ready:\n" + "\n".join(self.said))
        return self

    def stop(self) -> int:
        """SIGTERM, and its exit status once it has drained."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """SIGKILL, and its exit status."""
        return self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Kill it and start it again."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: it stays, and answers nothing until `go_on`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    @property
    def pid(self) -> int:
        """Of the process that runs now."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _read(self, process: subprocess.Popen[str], ready: threading.Event) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            self.said.append(line.rstrip())
            if '"event": "ready"' in line:
                ready.set()
        ready.set()

    def _end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        status = process.wait(SECONDS)
        assert self._reader is not None
        self._reader.join(SECONDS)
        assert process.stderr is not None
        process.stderr.close()
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

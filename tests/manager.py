"""A service manager in small: it opens sockets, keeps them, and starts servers on them (sd_listen_fds(3))."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from kit import SECONDS

_EXEC = """\
import os, sys
count = int(os.environ["LISTEN_FDS"])
for number in range(count):
    os.dup2(HIGH + number, 3 + number)
os.closerange(3 + count, HIGH + count)
os.environ["LISTEN_PID"] = os.environ.get("LISTEN_PID") or str(os.getpid())
program = [sys.executable, *sys.argv[1:]]
if trace := os.environ.pop("TRACE", ""):
    program = ["strace", "-D", "-f", "-qq", "-s0", "-o", trace, *program]
os.execvp(program[0], program)
"""
_HIGH = 200


class Manager:
    """Starts programs with `sockets`, as systemd does; it opened them, and they stay open whatever those do."""

    def __init__(self, home: Path, sockets: Sequence[socket.socket], names: str | None = None) -> None:
        kept = {name: text for name, text in os.environ.items() if not name.startswith(("UDFSTORE_", "XDG_", "LISTEN"))}
        self.environment = kept | {"HOME": str(home), "LISTEN_FDS": str(len(sockets))}
        if names is not None:
            self.environment["LISTEN_FDNAMES"] = names
        self._sockets = sockets
        self._process: subprocess.Popen[str] | None = None
        self.log: list[dict[str, object]] = []
        """What its servers said."""
        self._reader: threading.Thread | None = None

    def popen(self, *words: str, **more: str) -> subprocess.Popen[str]:
        """Start Python with `words`; its stderr is a pipe."""
        held = [fcntl.fcntl(one.fileno(), fcntl.F_DUPFD, _HIGH) for one in self._sockets]
        try:
            assert held == list(range(_HIGH, _HIGH + len(held)))
            return subprocess.Popen(
                [sys.executable, "-c", _EXEC.replace("HIGH", str(_HIGH)), *words],
                env=self.environment | more,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                pass_fds=held,
            )
        finally:
            for descriptor in held:
                os.close(descriptor)

    def start(self, *words: str, trace: Path | None = None) -> dict[str, object]:
        """Start `udfstore serve`; returns what it said when it was ready. `trace`: file for its system calls."""
        more = {} if trace is None else {"TRACE": str(trace)}
        self._process = process = self.popen("-m", "udfstore", "serve", *words, **more)
        before, ready = len(self.log), threading.Event()
        self._reader = threading.Thread(target=self._read, args=(process, ready), daemon=True)
        self._reader.start()
        assert ready.wait(SECONDS)
        told = self.log[-1]
        if told["event"] != "ready":
            self.stop(signal.SIGKILL)
            raise AssertionError(f"the server ended: {self.log[before:]}")
        return told

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask the server to end, and give its exit status."""
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        status = process.wait(SECONDS)
        assert self._reader is not None
        self._reader.join(SECONDS)
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()
        return status

    def _read(self, process: subprocess.Popen[str], ready: threading.Event) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            self.log.append(json.loads(line) if line.startswith("{") else {"event": line})
            if self.log[-1]["event"] == "ready":
                ready.set()
        ready.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(signal.SIGKILL)


def listening(path: Path, mode: int = 0o600) -> socket.socket:
    """A Unix socket as a socket unit opens it."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.fspath(path))
    path.chmod(mode)
    listener.listen(64)
    return listener

"""The test stand: a folder, the processes that are measured, and how much is asked of them."""

from __future__ import annotations

import os
import select
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Self

SERVE = (sys.executable, "-m", "udfstore", "serve")
WITHOUT = (sys.executable, "-m", "tests.bench.without")
FLOORS = (sys.executable, "-m", "tests.bench.floors")
FOLDER = ".bench"
START_SECONDS = 600
"""A catalog that is made anew from a million blobs takes a minute or two."""
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much one round asks for. The quick form shows that everything runs; its figures are not to be quoted."""

    rounds: int = 5
    big_bytes: int = 1024 * MIB
    saves: int = 400
    reads: int = 4000
    moves: int = 1000
    watched_moves: int = 20
    watchers: int = 1000
    memory_bytes: int = 2048 * MIB
    commands: int = 5
    points: int = 40_000
    trips: int = 4000
    huge_bytes: int = 4096 * MIB
    opens: int = 2000
    keepalives: int = 200
    aged: int = 1_000_000
    snapshots: int = 20_000

    @classmethod
    def quick(cls) -> Self:
        """Some seconds instead of some minutes."""
        return cls(
            rounds=2,
            big_bytes=128 * MIB,
            saves=100,
            reads=1000,
            moves=250,
            watched_moves=5,
            watchers=100,
            memory_bytes=256 * MIB,
            commands=2,
            points=10_000,
            trips=1000,
            huge_bytes=256 * MIB,
            opens=200,
            keepalives=20,
            aged=10_000,
            snapshots=500,
        )


@dataclass(frozen=True, slots=True)
class Served:
    """A running server."""

    socket: Path
    pid: int
    root: Path
    start_seconds: float
    """From starting the process until it took connections."""

    def memory_mib(self, kind: str) -> float:
        """`VmRSS` (now) or `VmHWM` (the most so far) as the kernel counts it (proc_pid_status(5), in kB)."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == kind:
                return int(value.split()[0]) / 1024
        raise LookupError(f"the kernel tells no {kind} of process {self.pid}")

    def forget_peak(self) -> None:
        """Count `VmHWM` from now on (proc_pid_clear_refs(5)): what starting took would hide what serving takes."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")


class Stand:
    """A folder for everything that is measured; gone, like the processes, when the stand is left.

    `beside` is given the process of each server, and is open for as long as that runs.
    """

    def __init__(
        self, folder: Path, sizes: Sizes, beside: Callable[[int], AbstractContextManager[object]] = nullcontext
    ) -> None:
        self.folder = folder.resolve()
        self.sizes = sizes
        self._beside = beside
        self._started = 0

    def __enter__(self) -> Self:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder)

    @contextmanager
    def server(self, *flags: str, root: Path | None = None, without: Sequence[str] = ()) -> Iterator[Served]:
        """A fresh store and its server; or a server on the store at `root`, which is kept.

        `without`: optimisations that are taken out of it, as `tests.bench.without` names them.
        """
        serve = (*WITHOUT, *without, "serve") if without else SERVE
        fresh, path = self.folder / f"root{self._started}", self.folder / f"{self._started}.sock"
        place = root or fresh
        begun = perf_counter()
        try:
            with self._process(*serve, "--root", str(place), "--socket", str(path), *flags) as pid:
                seconds = perf_counter() - begun
                with self._beside(pid):
                    yield Served(path, pid, place, seconds)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    @contextmanager
    def floors(self) -> Iterator[Path]:
        """The process of the floors; gives the folder of its sockets."""
        folder = self.folder / f"floors{self._started}"
        folder.mkdir()
        try:
            with self._process(*FLOORS, str(folder)):
                yield folder
        finally:
            shutil.rmtree(folder)

    @contextmanager
    def peer(self, address: str | tuple[str, int], *command: str) -> Iterator[int]:
        """Another program, from when it answers at a socket's path or a port of this machine; gives its process."""
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder)
            try:
                _wait_answering(process, address, command)
                yield process.pid
            finally:
                process.terminate()
                process.wait()

    @contextmanager
    def _process(self, *command: str) -> Iterator[int]:
        """Run a command, from when it says that it is ready (sd_notify(3)) until the body ends."""
        self._started += 1
        address = self.folder / f"notify{self._started}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready, (self.folder / "log").open("ab") as log:
            ready.bind(str(address))
            environment = {**os.environ, "NOTIFY_SOCKET": str(address)}
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
            try:
                self._wait_ready(process, ready, command)
                yield process.pid
            finally:
                process.terminate()
                process.wait()

    def _wait_ready(self, process: subprocess.Popen[bytes], ready: socket.socket, command: tuple[str, ...]) -> None:
        ended = os.pidfd_open(process.pid)
        try:
            heard, _, _ = select.select([ready.fileno(), ended], [], [], START_SECONDS)
        finally:
            os.close(ended)
        if ready.fileno() not in heard:
            said = (self.folder / "log").read_text(errors="replace")[-2000:]
            raise SystemExit(f"{' '.join(command)} did not become ready; it said:\n{said}")


def free_port() -> int:
    """A port of the loopback address that nobody has at present."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _wait_answering(process: subprocess.Popen[bytes], address: str | tuple[str, int], command: tuple[str, ...]) -> None:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    ended = os.pidfd_open(process.pid)
    try:
        for _ in range(START_SECONDS * 50):
            with socket.socket(family, socket.SOCK_STREAM) as connection:
                if connection.connect_ex(address) == 0:
                    return
            if select.select([ended], [], [], 0.02)[0]:
                break
    finally:
        os.close(ended)
    raise SystemExit(f"{' '.join(command)} does not answer at {address}")

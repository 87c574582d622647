"""`udfstore serve` as a process, and how a command ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


def clean_environment(home: Path) -> dict[str, str]:
    """This environment without anything that leads to somebody's store."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("UDFSTORE_", "XDG_", "_UDFSTORE"))}
    return kept | {"HOME": str(home), "TZ": "UTC", "COLUMNS": "100", "PYTHONWARNINGS": "error"}


@contextmanager
def configured(folder: Path, environment: dict[str, str]) -> Iterator[Path]:
    """A server by the `config.toml` of a folder; gives its socket, beside which that of its HTTP is, `http`."""
    words = "--socket", str(folder / "s"), "--http", f"unix:{folder / 'http'}"
    serving = Serving(environment, "--config", str(folder / "config.toml"), *words)
    try:
        yield folder / "s"
    finally:
        assert serving.stop() == 0


class Serving:
    """`udfstore serve` as a process, ready."""

    def __init__(self, environment: dict[str, str], *words: str) -> None:
        command = [sys.executable, "-m", "udfstore", "serve", *words]
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        self.log: list[dict[str, object]] = []
        for line in self.process.stderr:
            self.log.append(json.loads(line))
            if self.log[-1]["event"] == "ready":
                return
        raise AssertionError(f"the server ended: {self.process.wait()}")

    @property
    def ready(self) -> dict[str, object]:
        return self.log[-1]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end, and give its exit status; the log then has the rest."""
        self.process.send_signal(number)
        _, rest = self.process.communicate(timeout=30)
        self.log += [json.loads(line) for line in rest.splitlines()]
        return self.process.returncode


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def json(self) -> dict[str, object]:
        value: dict[str, object] = json.loads(self.out)
        return value


Run = Callable[..., Done]
Ended = subprocess.CompletedProcess[bytes]
Process = Callable[..., Ended]

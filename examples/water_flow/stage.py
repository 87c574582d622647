"""What the demo runs on: its processes, the commands that it shows, and a place where both leave nothing behind."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from data import line
from model import Reading

CHECKOUT = Path(__file__).resolve().parent.parent.parent

PATIENCE = 30.0
"""Seconds until something that should have happened is given up."""


class DemoError(Exception):
    """The demo cannot go on; the text says why."""


class Child:
    """A process that runs beside the demo. Its lines are kept as they come, so that one can wait for them."""

    def __init__(self, words: list[str], env: dict[str, str]) -> None:
        show(words)
        self.name = " ".join(words[:2])
        self.out: list[tuple[float, str]] = []
        self.err: list[tuple[float, str]] = []
        self._changed = threading.Condition()
        self._open = 2
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            real(words), cwd=CHECKOUT, env=env, text=True, stdin=pipe, stdout=pipe, stderr=pipe
        )
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self.out), daemon=True),
            threading.Thread(target=self._read, args=(self.process.stderr, self.err), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, lines: Iterator[str], kept: list[tuple[float, str]]) -> None:
        for text in lines:
            with self._changed:
                kept.append((time.monotonic(), text.rstrip("\n")))
                self._changed.notify_all()
        with self._changed:
            self._open -= 1
            self._changed.notify_all()

    def wait_for(self, ready: Callable[[], bool], what: str) -> None:
        """Until `ready()` is true, asked after each line. `DemoError` when it never is or no line can come."""
        with self._changed:
            self._changed.wait_for(lambda: ready() or not self._open, timeout=PATIENCE)
            if not ready():
                raise DemoError(f"{self.name}: no {what}; {self._last_words()}")

    def finish(self) -> None:
        """Wait for its end. `DemoError` when it ends badly or not at all."""
        try:
            status = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise DemoError(f"{self.name} did not end within {PATIENCE:.0f} s") from None
        for reader in self._readers:
            reader.join()
        if status:
            raise DemoError(f"{self.name} ended with exit status {status}; {self._last_words()}")

    def _last_words(self) -> str:
        return "it said last:\n" + "\n".join(line for _, line in self.err[-10:])

    def stop(self) -> None:
        """End it if it still runs: first asked, then made to."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for reader in self._readers:
            reader.join()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            with suppress(BrokenPipeError):  # a reading that the process did not take any more
                if stream:
                    stream.close()


class Feed(threading.Thread):
    """Gives the UDF `pace` readings a second, evenly, as a sensor would: it never waits for the UDF."""

    def __init__(self, udf: Child, series: list[Reading], pace: int) -> None:
        super().__init__(daemon=True)
        self._udf = udf
        self._series = series
        self._pace = pace
        self._halt = threading.Event()
        self.sent: list[float] = []
        self.problem = ""

    def run(self) -> None:
        stdin = self._udf.process.stdin
        assert stdin is not None
        begun = time.monotonic()
        try:
            for number, reading in enumerate(self._series):
                if self._halt.wait(max(0.0, begun + number / self._pace - time.monotonic())):
                    return
                self.sent.append(time.monotonic())
                stdin.write(f"{line(reading)}\n")
                stdin.flush()
            stdin.close()
        except OSError as error:
            self.problem = f"the UDF takes no readings any more: {error}"

    def finish(self) -> None:
        """Wait for the last reading. `DemoError` when the UDF took no more of them."""
        self.join(len(self._series) / self._pace + PATIENCE)
        if self.problem or self.is_alive():
            raise DemoError(self.problem or "the UDF has stopped reading")

    def stop(self) -> None:
        """Feed no more. The UDF is asked to end first: a feed that waits for it to read would not end itself."""
        self._halt.set()
        self._udf.process.terminate()
        self.join()


def show(words: list[str]) -> None:
    """The command as one would type it."""
    print(f"$ {shlex.join(words)}", flush=True)


def real(words: list[str]) -> list[str]:
    """The same command with this interpreter, so that nothing needs to be on the search path."""
    words = [sys.executable if word == "python" else word for word in words]
    return [sys.executable, "-m", *words] if words[0] == "udfstore" else words


def run(words: list[str], env: dict[str, str]) -> None:
    """Show a command, run it, show what it said. `DemoError` when it fails."""
    for text in output(words, env, both=True):
        print(f"  {text}", flush=True)


def output(words: list[str], env: dict[str, str], *, both: bool = False) -> list[str]:
    """Show a command and run it; the lines of its stdout, and of its stderr where `both` are wanted."""
    show(words)
    pipe = subprocess.PIPE
    error = subprocess.STDOUT if both else pipe
    try:
        done = subprocess.run(
            real(words), cwd=CHECKOUT, env=env, stdout=pipe, stderr=error, text=True, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        raise DemoError(f"{shlex.join(words)}: no end after {PATIENCE:.0f} s") from None
    lines = done.stdout.splitlines()
    if done.returncode:
        said = "\n".join(lines if both else done.stderr.splitlines()[-10:])
        raise DemoError(f"{shlex.join(words)}: exit status {done.returncode}; it said:\n{said}")
    return lines


def environment(folder: str, author: str) -> dict[str, str]:
    """The environment of a command: this one, with the demo's own store and nobody's settings for another."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("UDFSTORE_")}
    return env | {
        "UDFSTORE_SOCKET": f"{folder}/udfstore.sock",
        "UDFSTORE_CONFIG": f"{folder}/config.toml",
        "UDFSTORE_STATE": f"{folder}/state",
        "UDFSTORE_AUTHOR": author,
        "COLUMNS": "110",
    }


@contextmanager
def workplace() -> Iterator[str]:
    """A folder of the demo's own, named as seen from the checkout."""
    folder = Path(tempfile.mkdtemp(prefix=".demo-", dir=CHECKOUT))
    try:
        (folder / "config.toml").touch()
        yield folder.name
    finally:
        shutil.rmtree(folder)

"""The command that keeps a file on the newest version of a tag, and a program on that file."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from udfstore.cli.files import to_path
from udfstore.cli.output import put, tell
from udfstore.cli.stores import opened
from udfstore.cli.words import Json, Root, Socket, TagWord
from udfstore.errors import UdfstoreError, UsageError

if TYPE_CHECKING:
    from udfstore.client.base import BaseStore
    from udfstore.client.files import OpenBlob
    from udfstore.model import Entry

WAYS = ("restart", "write", "ignore")

STOP_SECONDS = 10.0
"""What a program is given to end by itself before it is killed."""

EARLY_SECONDS = 60.0
"""A program that fails so soon after a move is taken not to like the new file."""

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
FORWARDED = (*ENDING, signal.SIGUSR1, signal.SIGUSR2)


def follow(
    tag: TagWord,
    out: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="The file to keep current.", show_default=False)
    ],
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="-- COMMAND…", help="A program to run on it.", show_default=False),
    ] = None,
    on_move: Annotated[
        str, typer.Option("--on-move", metavar="|".join(WAYS), help="What becomes of FILE and the program then.")
    ] = WAYS[0],
    json: Json = False,
    root: Root = None,
    socket: Socket = None,
) -> None:
    """Keep a file on the newest version of a tag: whole, checked, and replaced in one step. With a program, run it.

    The program starts when FILE is there; when the tag moves it is restarted on the new file. It gets the signals that
    this command gets, and its exit status is that of this command.
    """
    if on_move not in WAYS:
        raise UsageError("no such way to meet a move", expected=", ".join(WAYS), got=repr(on_move))
    if command and json:
        raise UsageError("stdout belongs to the program: --json is for a follow without one")
    if on_move == "ignore" and not command:
        raise UsageError("--on-move ignore is about a program; for a file alone: udfstore get")
    with opened(root, socket) as store:
        if not command:
            _keep(store, tag, out, json)
        elif on_move == "ignore":
            raise typer.Exit(_run_once(store, tag, out, command))
        else:
            raise typer.Exit(_run(store, tag, out, command, restart=on_move == "restart"))


def _keep(store: BaseStore, tag: str, out: Path, json: bool) -> None:
    def write(blob: OpenBlob) -> None:
        to_path(store, str(blob.id), out)
        assert blob.entry is not None
        put(blob.entry) if json else tell(f"{blob.entry.ref} -> {out}")
        sys.stdout.flush()

    with store.follow(tag, write) as follower:
        follower.wait()
        if follower.error is not None:
            raise follower.error


def _run_once(store: BaseStore, tag: str, out: Path, command: list[str]) -> int:
    entry = store.get_tag(tag)
    to_path(store, entry.ref, out)
    assert entry.id is not None, "a tag without content is not found"
    program = Program(command)
    with program.runs():
        store.used(tag, entry.version, entry.id)
        return program.wait()


def _run(store: BaseStore, tag: str, out: Path, command: list[str], *, restart: bool) -> int:
    program = Program(command)
    written: list[Entry] = []
    """What FILE holds, last."""

    def write(blob: OpenBlob) -> None:
        to_path(store, str(blob.id), out)
        assert blob.entry is not None
        if written:
            tell(f"{blob.entry.ref} -> {out}" + ("; the program is restarted" if restart else ""))
        written.append(blob.entry)
        if restart:
            program.restart()

    good: Entry | None = None
    with store.follow(tag, write), program.runs():
        while True:
            entry = written[-1]
            status = program.wait()
            early = program.lived < EARLY_SECONDS
            if program.begins_anew():
                good = good if good is not None and early else entry
            elif good is not None and good.id != entry.id and status and early and not program.ended:
                if not _back(store, entry, good, out, status):
                    return status
                written.append(good)
                program.start()
            else:
                return status


def _back(store: BaseStore, entry: Entry, good: Entry, out: Path, status: int) -> bool:
    """Give the program the file back that it lived with, and record that it could not live with the new one."""
    error = f"the program ended with status {status} within its first minute"
    tell(f"{entry.ref}: {error}; {out} is {good.ref} again")
    assert entry.id is not None
    assert good.id is not None
    try:
        to_path(store, str(good.id), out)
        store.used(good.tag, good.version, good.id)
        store.used(entry.tag, entry.version, entry.id, error=error)
    except UdfstoreError as failure:
        tell(f"udfstore: {failure}")
        return False
    return True


class Program:
    """A program that is started, restarted and waited for, and gets the signals that this process gets."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._anew = False
        self.ended = False
        """Whether it was told to end from outside."""
        self.started_at = 0.0
        self.lived = 0.0
        """Seconds, the last time."""

    @contextmanager
    def runs(self) -> Iterator[None]:
        """Start it; at the end it is gone, and signals are as before."""
        before = {number: signal.signal(number, self._forward) for number in FORWARDED}
        try:
            self.start()
            yield
        finally:
            self._stop()
            for number, handler in before.items():
                signal.signal(number, handler)

    def start(self) -> None:
        """Start it."""
        self.started_at = time.monotonic()
        self._process = subprocess.Popen(self._command)

    def wait(self) -> int:
        """Its exit status once it has ended; 128 + N if signal N ended it, as shells have it."""
        assert self._process is not None
        status = self._process.wait()
        self.lived = time.monotonic() - self.started_at
        return status if status >= 0 else 128 - status

    def restart(self) -> None:
        """Have it end; whoever waits for it starts it anew."""
        if self._process is not None and not self.ended:
            self._anew = True
            self._stop()

    def begins_anew(self) -> bool:
        """Start it if it ended because it is to be restarted."""
        if not self._anew or self.ended:
            return False
        self._anew = False
        self.start()
        return True

    def _forward(self, number: int, frame: object) -> None:
        if number in ENDING:
            self.ended = True
        by_terminal = number == signal.SIGINT and sys.stdin.isatty()  # which tells everybody on it by itself
        if self._process is not None and not by_terminal:
            self._process.send_signal(number)

    def _stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

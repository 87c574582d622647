"""The user's files: those that are read, and the file or stream that is written."""

from __future__ import annotations

import codecs
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from udfstore.calls import Loading
from udfstore.cli.progress import Advance, progress
from udfstore.errors import NoServer, UsageError

if TYPE_CHECKING:
    from udfstore.client.base import BaseStore

Write = Callable[[memoryview], object]


@contextmanager
def source(name: str) -> Iterator[BinaryIO]:
    """The file to save, `-` for stdin, read through a progress bar."""
    with nullcontext(sys.stdin.buffer) if name == "-" else open(name, "rb") as file:
        status = os.fstat(file.fileno())
        total = status.st_size - file.tell() if stat.S_ISREG(status.st_mode) else None
        with progress(f"saving {Path(name).name}", total) as advance:
            yield cast(BinaryIO, _Told(file, advance))


def read_dag(path: Path) -> bytes:
    """The DAG in a file as JSON. JSON begins with a brace; anything else is Kapacitor's dot. Raises `UsageError`."""
    from udfstore.snapshots import Dag, parse_dot

    text = path.read_bytes()
    is_json = text.lstrip().startswith(b"{")
    return (Dag.from_json(text) if is_json else parse_dot(text.decode(errors="replace"))).to_json().encode()


class _Told:
    """A file that tells how far it was read."""

    def __init__(self, file: Any, advance: Advance) -> None:
        self._file, self._advance, self._done = file, advance, 0
        self.seekable, self.tell, self.fileno = file.seekable, file.tell, file.fileno

    def read(self, most: int, /) -> bytes:
        data: bytes = self._file.read(most)
        self._done += len(data)
        self._advance(self._done)
        return data

    def seek(self, to: int, /) -> None:
        self._done = 0
        self._file.seek(to)


def to_path(store: BaseStore, ref: str, path: Path) -> Loading:
    """Write a blob to a file: beside it first, then, complete, checked and on disk, in its place.

    What is not an ordinary file (a pipe, a device) is written to as it is.
    """
    try:
        ordinary = stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        ordinary = True
    if not ordinary:
        with path.open("wb") as stream:
            return _load(store, ref, stream.write, None)
    path = path.resolve()  # through a symbolic link: it shall go on pointing there
    beside = path.with_name(f".udfstore-{os.urandom(8).hex()}")
    try:
        with _created(beside, path) as file:
            head = _load(store, ref, file.write, file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return head


def _created(beside: Path, path: Path) -> BinaryIO:
    try:
        return beside.open("xb")
    except OSError as error:  # told of the file that the user knows
        raise OSError(error.errno, error.strerror, str(path)) from error


def to_stdout(store: BaseStore, ref: str) -> Loading:
    """Write a blob to stdout; to a terminal only while it is text.

    The last piece is written once the whole was checked: of damaged content a reader gets no end, of a small blob
    nothing at all.
    """
    out = sys.stdout.buffer
    terminal = sys.stdout.isatty()
    write: Write = _text_only(out, ref) if terminal else out.write
    held = memoryview(b"")

    def write_behind(data: memoryview) -> None:
        nonlocal held
        write(held)
        held = data

    head = _load(store, ref, write_behind, None, bar=not terminal)
    write(held)
    out.flush()
    return head


def _load(store: BaseStore, ref: str, write: Write, again: BinaryIO | None, *, bar: bool = True) -> Loading:
    """Load a blob. When a lost connection begins it anew, `again` is emptied; a stream cannot be."""
    done = 0
    with ExitStack() as stack:

        def begin(head: Loading) -> Write:
            nonlocal done
            if done and again is None:
                raise NoServer(f"the connection to the server was lost after {done} bytes of {ref}; run it again")
            if done and again is not None:
                again.seek(0)
                again.truncate()
            done = 0
            stack.close()
            advance = stack.enter_context(progress(f"loading {ref}", head.length if bar else 0))

            def take(data: memoryview) -> None:
                nonlocal done
                write(data)
                done += len(data)
                advance(done)

            return take

        return store.load_into(ref, begin)


def _text_only(out: BinaryIO, ref: str) -> Write:
    """Write text on, and refuse what a terminal would take for commands or show as rubbish."""
    decoder = codecs.getincrementaldecoder("utf-8")()

    def write(data: memoryview) -> None:
        try:
            text = decoder.decode(data)
        except UnicodeDecodeError:
            text = "\0"
        if not all(part.isprintable() for part in text.split()):
            raise UsageError(f"{ref} is binary, and stdout is a terminal; use -o FILE or a pipe")
        out.write(data)

    return write

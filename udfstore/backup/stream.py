"""A backup as one stream: a tar archive (POSIX.1-2001, pax) that is written and read in one pass.

The reader takes nothing but what the writer makes: plain files with a time and, above 8 GiB, a size in a pax header.
Which names may come, and in what order, is judged by whoever reads the files.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import IO

from udfstore.admin import BackupBlob, BackupHead
from udfstore.backup.form import SUMMARY, File, Summary, blob_name
from udfstore.backup.take import Write
from udfstore.errors import Corrupt

BLOCK = 512
PIECE_BYTES = 1 << 20
PAX_BYTES = 4096
"""More than all that the writer puts into a pax header."""

RECORD_BYTES = 20 * BLOCK
"""What other programs fill an archive up to with zeros."""

_PAX = re.compile(rb"[0-9]{1,4} (mtime|size)=([0-9.]{1,40})\n")
_NS = 1_000_000_000


class Stream:
    """A backup that is being written to a stream."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._time_ns = 0

    def begin(self, head: BackupHead) -> None:
        """Nothing was here before."""
        self._time_ns = head.time_ns

    def file(self, name: str, content: IO[bytes], size: int) -> None:
        """Write a file that is no blob."""
        self._out.write(_header(name, size, self._time_ns, 0o600))
        while data := content.read(PIECE_BYTES):
            self._out.write(data)
        self._out.write(_fill(size))

    def has(self, blob: BackupBlob) -> bool:
        """A stream is always whole."""
        return False

    def open(self, blob: BackupBlob) -> _Writing:
        """Write a blob."""
        self._out.write(_header(blob_name(blob.id), blob.size, blob.saved_ns, 0o444))
        return _Writing(self._out, blob.size)

    def finish(self, summary: Summary) -> int:
        """Write the end."""
        text = summary.encode()
        self._out.write(_header(SUMMARY, len(text), self._time_ns, 0o600) + text + _fill(len(text)) + bytes(2 * BLOCK))
        self._out.flush()
        return 0


class _Writing:
    """A blob whose header is written."""

    def __init__(self, out: IO[bytes], size: int) -> None:
        self._out, self._size = out, size
        self._done = 0

    def begin(self) -> Write:
        came = 0

        def write(data: memoryview) -> None:
            nonlocal came
            fresh = data[max(0, self._done - came) :]  # when it comes again, what went out already is passed over
            came += len(data)
            self._out.write(fresh)
            self._done += len(fresh)

        return write

    def keep(self) -> None:
        self._out.write(_fill(self._size))

    def drop(self) -> None:
        """What is in a stream stays there: SHA256SUMS does not name it."""
        while self._done < self._size:
            zeros = bytes(min(PIECE_BYTES, self._size - self._done))
            self._out.write(zeros)
            self._done += len(zeros)
        self._out.write(_fill(self._size))

    def leave(self) -> None:
        """A stream that ends here says by that alone that it is no backup."""


def read_stream(stream: IO[bytes]) -> Iterator[File]:
    """The files of a stream. Each has to be read to its end before the next is asked for. Raises `Corrupt`."""
    while any(block := _exactly(stream, BLOCK)):
        header, extra = _parse(block), {}
        if header.type == tarfile.XHDTYPE:
            extra = _pax(stream, header.size)
            header = _parse(_exactly(stream, BLOCK))
        if header.type != tarfile.REGTYPE:
            raise Corrupt("the stream holds something that is no plain file", got=f"{header.name[:100]!r}")
        size, time_ns = int(extra.get("size", header.size)), int(extra.get("mtime", Decimal(header.mtime)) * _NS)
        if size < 0 or not 0 <= time_ns < 1 << 63:
            raise Corrupt("the stream has a header that is not ours", got=f"size {size}, time {time_ns}")
        content = _Content(stream, size)
        yield File(header.name, size, time_ns, content.read)
        if content.left:
            raise AssertionError("the file before was not read to its end")
        _exactly(stream, -size % BLOCK)
    if any(_exactly(stream, BLOCK) + stream.read(RECORD_BYTES)) or stream.read(1):
        raise Corrupt("something follows the end of the backup")


class _Content:
    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream = stream
        self.left = size

    def read(self, most: int) -> bytes:
        data = _exactly(self._stream, min(most, self.left))
        self.left -= len(data)
        return data


def _header(name: str, size: int, time_ns: int, mode: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, mode
    seconds, ns = divmod(time_ns, _NS)
    info.pax_headers = {"mtime": f"{seconds}.{ns:09d}"}
    return info.tobuf(tarfile.PAX_FORMAT)


def _fill(size: int) -> bytes:
    return bytes(-size % BLOCK)


def _parse(block: bytes) -> tarfile.TarInfo:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise Corrupt(f"this is no backup, or it is damaged here: {error}") from error


def _pax(stream: IO[bytes], size: int) -> dict[str, Decimal]:
    if size > PAX_BYTES:
        raise Corrupt("the stream has a header that is not ours", expected=f"at most {PAX_BYTES} bytes", got=size)
    text = _exactly(stream, size + -size % BLOCK)[:size]
    if _PAX.sub(b"", text):
        raise Corrupt("the stream has a header that is not ours", got=repr(text[:100]))
    try:
        return {key.decode(): Decimal(value.decode()) for key, value in _PAX.findall(text)}
    except InvalidOperation as error:
        raise Corrupt("the stream has a header that is damaged", got=repr(text[:100])) from error


def _exactly(stream: IO[bytes], size: int) -> bytes:
    """The next `size` bytes. Raises `Corrupt` where there are fewer."""
    data = stream.read(size)
    while len(data) < size:
        more = stream.read(size - len(data))
        if not more:
            raise Corrupt("the backup is cut off: it ends before its end")
        data += more
    return data

"""Content as an answer: whole, or the ranges that were asked for (RFC 9110, 13 and 14), read as it is sent."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass

import trio
from starlette.requests import Request
from starlette.responses import Response
from werkzeug.http import parse_etags, parse_range_header, unquote_etag

from udfstore.digest import BlobId
from udfstore.errors import UsageError
from udfstore.http.guard import Receive, Scope, Send, end_with_reader
from udfstore.http.house import House
from udfstore.http.problems import problem
from udfstore.store import BlobFile

PIECE_BYTES = 1024 * 1024
"""Read and sent at a time: a thread's hop for each is little beside it, and as much is held for each download."""

RANGES = 32
"""More in one request are ignored, as are those that together ask for more than the blob: the whole is sent then."""

FOREVER = "private, max-age=31536000, immutable"
"""For content by its ID, which cannot change (RFC 8246)."""

ASK_AGAIN = "private, no-cache"
"""For content by a name that may move."""


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes `start` to `stop` of a blob, the last one not among them."""

    start: int
    stop: int

    def of(self, size: int) -> str:
        """As Content-Range has it."""
        return f"bytes {self.start}-{self.stop - 1}/{size}"


def digest_of(id: BlobId) -> str:
    """The Repr-Digest of content (RFC 9530)."""
    return f"sha-256=:{base64.b64encode(id.raw).decode()}:"


def etag_of(id: BlobId) -> str:
    """The entity tag of content: its ID."""
    return f'"{id}"'


def headers_of(id: BlobId, name: str, caching: str) -> dict[str, str]:
    """What is said of content, however much of it is sent. It is never shown in a browser, only saved."""
    plain = "".join(c if c.isalnum() or c in "._-" else "-" for c in name)
    return {
        "ETag": etag_of(id),
        "Repr-Digest": digest_of(id),
        "Cache-Control": caching,
        "Accept-Ranges": "bytes",
        "Content-Disposition": f'attachment; filename="{plain}"',
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }


def condition(request: Request, id: BlobId, headers: dict[str, str]) -> Response | None:
    """The answer where the request's conditions stand in the way of content: 412, 304, else None."""
    given = request.headers.get("if-match")
    if given is not None and not parse_etags(given).contains(str(id)):
        return problem(UsageError("the content is another one", expected=given, got=str(id)), status=412)
    given = request.headers.get("if-none-match")
    if given is not None and parse_etags(given).contains_weak(str(id)):
        return Response(status_code=304, headers=headers)
    return None


def spans(request: Request, id: BlobId, size: int) -> list[Span] | None:
    """The ranges that are asked for and there; [] where none of those asked for is; None: the whole is to be sent."""
    given = request.headers.get("range")
    if given is None or request.method != "GET":
        return None
    bound = request.headers.get("if-range")
    if bound is not None and unquote_etag(bound) != (str(id), False):
        return None
    asked = parse_range_header(given)
    if asked is None or asked.units != "bytes" or len(asked.ranges) > RANGES:
        return None
    found = []
    for start, stop in asked.ranges:
        if start < 0:
            start, stop = max(0, size + start), size
        stop = size if stop is None else min(stop, size)
        if start < stop:
            found.append(Span(start, stop))
    if sum(span.stop - span.start for span in found) > size:
        return None
    return found


def sending(request: Request, house: House, file: BlobFile, headers: dict[str, str]) -> Response:
    """The answer with a file's content, or the ranges of it that are asked for. The file is closed at its end."""
    size, id = file.size, file.id
    wanted = spans(request, id, size)
    if wanted is None:
        headers |= {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        return _Sending(200, headers, house, file, [(b"", Span(0, size))], b"")
    if not wanted:
        file.close()
        error = UsageError(
            "no range that is asked for lies within the blob", expected=f"0 to {size - 1}", got=request.headers["range"]
        )
        return problem(error, status=416, headers={"Content-Range": f"bytes */{size}"})
    if len(wanted) == 1:
        span = wanted[0]
        headers |= {
            "Content-Length": str(span.stop - span.start),
            "Content-Type": "application/octet-stream",
            "Content-Range": span.of(size),
        }
        return _Sending(206, headers, house, file, [(b"", span)], b"")
    boundary = secrets.token_hex(16)
    parts = [(_head(boundary, span, size, first=number == 0), span) for number, span in enumerate(wanted)]
    end = f"\r\n--{boundary}--\r\n".encode()
    length = sum(len(head) + span.stop - span.start for head, span in parts) + len(end)
    headers |= {"Content-Length": str(length), "Content-Type": f"multipart/byteranges; boundary={boundary}"}
    return _Sending(206, headers, house, file, parts, end)


def _head(boundary: str, span: Span, size: int, *, first: bool) -> bytes:
    before = "" if first else "\r\n"
    lines = (
        f"{before}--{boundary}",
        "Content-Type: application/octet-stream",
        f"Content-Range: {span.of(size)}",
        "",
        "",
    )
    return "\r\n".join(lines).encode()


class _Sending(Response):
    """An answer whose body is read from a file in threads while it is sent; it ends when its reader leaves."""

    def __init__(
        self,
        status: int,
        headers: dict[str, str],
        house: House,
        file: BlobFile,
        parts: list[tuple[bytes, Span]],
        end: bytes,
    ) -> None:
        self.status_code = status
        self.background = None
        self.init_headers(headers)
        self._house, self._file, self._parts, self._end = house, file, parts, end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._file:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(end_with_reader, receive, nursery.cancel_scope)
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                if scope["method"] != "HEAD":
                    await self._send_parts(send, nursery)
                with trio.CancelScope(shield=True):  # Hypercorn says "disconnect" in the middle of it
                    await send({"type": "http.response.body", "body": self._end, "more_body": False})
                nursery.cancel_scope.cancel()

    async def _send_parts(self, send: Send, nursery: trio.Nursery) -> None:
        """Send all parts; the next piece is read while one is sent."""
        ahead, pieces = trio.open_memory_channel[bytes](0)
        nursery.start_soon(self._read_parts, ahead)
        async for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})

    async def _read_parts(self, ahead: trio.MemorySendChannel[bytes]) -> None:
        meters = self._house.service.meters
        for head, span in self._parts:
            if head:
                await ahead.send(head)
            for offset in range(span.start, span.stop, PIECE_BYTES):
                wanted = min(PIECE_BYTES, span.stop - offset)
                await ahead.send(await self._house.reading(self._file.pread, offset, wanted))
                meters.sent("http", wanted)
        ahead.close()  # not after an error, which would look like the end
